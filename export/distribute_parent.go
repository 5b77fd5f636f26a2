package export

import (
	"context"
	"fmt"
	"strings"

	"github.com/ingot-image/ingot/export/distribution"
	direct "github.com/ingot-image/ingot/export/ebs"
	"github.com/ingot-image/ingot/export/record"
)

// By EBS direct the snapshot of one build is the base of the next one's upload, which sends only what has changed. The book of parents has it by the image's name.

// parentRecord is what the book of parents has for an image's name.
type parentRecord struct {
	direct.Parent
	// Spare tells that the snapshot is no AMI's: it goes when the next one takes its place. Gone are those that are going.
	Spare bool     `json:"spare,omitempty"`
	Gone  []string `json:"gone,omitempty"`
}

// parentKey is of the image's name, in the book of parents.
func (r *release) parentKey() string {
	return strings.Join([]string{r.AccountID, r.region, r.image.Name}, "/")
}

// parent is the newest snapshot of the image's name, nil for none.
func (r *release) parent() (*direct.Parent, error) {
	if r.Parents == nil {
		return nil, nil
	}
	book, err := r.Parents()
	if err != nil {
		return nil, err
	}
	defer book.Close()
	var p parentRecord
	found, err := book.Get(r.parentKey(), &p)
	if err != nil || !found {
		return nil, err
	}
	return &p.Parent, nil
}

// changeParent changes the record of the name's parent; change tells whether it is to be written.
func (r *release) changeParent(change func(book *record.Book, p *parentRecord) (bool, error)) error {
	if r.Parents == nil {
		return nil
	}
	book, err := r.Parents()
	if err != nil {
		return err
	}
	defer book.Close()
	var p parentRecord
	if _, err := book.Get(r.parentKey(), &p); err != nil {
		return err
	}
	if write, err := change(book, &p); err != nil || !write {
		return err
	}
	return book.Put(r.parentKey(), p)
}

// leaveAsParent tells whether a snapshot is the one that the next upload is based on. From now on it is there for that alone.
func (r *release) leaveAsParent(snapshot string) (is bool, err error) {
	if r.path() != distribution.EBSDirect {
		return false, nil
	}
	err = r.changeParent(func(_ *record.Book, p *parentRecord) (bool, error) {
		is = p.SnapshotID == snapshot
		p.Spare = is
		return is, nil
	})
	return is, err
}

// becomeParent makes a snapshot the one that the next upload is based on, and takes those away that were there for that alone.
func (r *release) becomeParent(ctx context.Context, s *direct.Snapshot) error {
	return r.changeParent(func(book *record.Book, p *parentRecord) (bool, error) {
		now := parentRecord{Parent: direct.Parent{SnapshotID: s.ID, Digests: s.Digests}, Gone: p.Gone}
		if p.Spare && p.SnapshotID != s.ID {
			now.Gone = append(now.Gone, p.SnapshotID)
		}
		if err := book.Put(r.parentKey(), now); err != nil {
			return false, err
		}
		*p, p.Gone = now, nil
		for _, id := range now.Gone {
			if err := r.deleteSnapshot(ctx, id, ""); err != nil {
				p.Gone = append(p.Gone, id)
				r.warn(fmt.Errorf("%s was there only as the base of later uploads, and stays and costs until that of the next build takes it away: %w", id, err))
			}
		}
		return len(now.Gone) > 0, nil
	})
}
