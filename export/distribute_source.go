package export

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ingot-image/ingot/export/account"
	"github.com/ingot-image/ingot/export/ami"
)

// An AMI is there only to be copied within its own region when ImportImage made it, which gives it a name of AWS's own, or when the region's is to be encrypted
// with a key that the import was not. Once all copies are there the one in its region takes its place, and it goes with its snapshots.

// spare is an AMI, with its snapshots, that another has taken the place of.
type spare struct {
	ImageID     string   `json:"imageId"`
	SnapshotIDs []string `json:"snapshotIds,omitempty"`
}

// keep records an import. It is the next one after one that is gone, whose copies are as good as its own, and what is still to be taken away of that.
func (r *release) keep(done *imported) error {
	done.Sources, done.Spares = r.before.Sources, r.before.Spares
	return r.Book.Put(r.key(), done)
}

// remember records the AMI that copies will be of.
func (r *release) remember(done *imported) error {
	if slices.Contains(done.Sources, done.ImageID) {
		return nil
	}
	done.Sources = append(done.Sources, done.ImageID)
	recorded := *done
	if recorded.SnapshotID != "" {
		recorded.ImageID = "" // it is registered from its snapshot again if it is lost
	}
	return r.Book.Put(r.key(), recorded)
}

// lost is what tells an import that is gone, or is not fit any more, from every other one.
func (i *imported) lost() string {
	if len(i.Served) > 0 {
		return fmt.Sprintf("%s after %d", i.ImageID, len(i.Sources))
	}
	return i.SnapshotID + i.ImageID
}

// serves tells whether the import is good for all regions.
func (r *release) serves(done *imported) bool {
	return len(done.Served) == 0 || !slices.ContainsFunc(r.config.Regions(), func(region string) bool { return !slices.Contains(done.Served, region) })
}

// replace has the copy in the import's own region take the place of the AMI that it is a copy of, once all regions have theirs. That it fails harms no AMI, and
// the next run does it.
func (r *release) replace(ctx context.Context, done *imported, results []ami.Result) {
	own := map[string]string{} // by region
	for _, result := range results {
		if result.AccountID == r.AccountID {
			own[result.Region] = result.ImageID
		}
	}
	if id := own[r.region]; ctx.Err() != nil || id == "" || id == done.ImageID || len(own) < len(r.config.Regions()) {
		return
	}
	if done.SnapshotID == "" && len(done.SnapshotIDs) == 0 { // it took an import's place itself, under another name: somebody may use it
		return
	}
	old := spare{done.ImageID, done.SnapshotIDs}
	if done.SnapshotID != "" { // and not those of the recipe's other volumes, which are somebody's
		old.SnapshotIDs = []string{done.SnapshotID}
	}
	now := imported{ImageID: own[r.region], Sources: done.Sources, Spares: append(slices.Clone(done.Spares), old)}
	if first := r.regions()[0].AMI; first != nil && first.KMSKeyID != r.config.Import.KMSKeyID && first.KMSKeyID != "" {
		now.Served = r.config.Regions()
	}
	if err := r.Book.Put(r.key(), now); err != nil {
		r.warn(fmt.Errorf("%s stays: %w", done.ImageID, err))
		return
	}
	r.discard(ctx, &now)
}

// discard takes spare AMIs away, and their snapshots but for one that the next build's upload is based on. What fails stays for the next run.
func (r *release) discard(ctx context.Context, done *imported) {
	if len(done.Spares) == 0 {
		return
	}
	var left []spare
	for _, s := range done.Spares {
		if err := r.discardOne(ctx, s); err != nil {
			r.warn(fmt.Errorf("%s was there only to be copied, and it or its snapshots stay and cost until the next run takes them away: %w", s.ImageID, err))
			left = append(left, s)
		}
	}
	done.Spares = left
	if err := r.Book.Put(r.key(), done); err != nil {
		r.warn(fmt.Errorf("record what was taken away: %w", err))
	}
}

func (r *release) discardOne(ctx context.Context, s spare) error {
	_, err := r.ec2.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: &s.ImageID})
	if err != nil && !strings.HasPrefix(account.Code(err), "InvalidAMIID.") {
		return account.Explain(err)
	}
	for _, id := range s.SnapshotIDs {
		if base, err := r.leaveAsParent(id); err != nil {
			return err
		} else if base {
			continue
		}
		if err := r.deleteSnapshot(ctx, id, s.ImageID); err != nil {
			return err
		}
	}
	return nil
}

// deleteSnapshot deletes a snapshot of an AMI that was deregistered, which EC2 may not have noticed yet. One that somebody has made another AMI of stays.
func (r *release) deleteSnapshot(ctx context.Context, id, of string) error {
	ctx, stop := context.WithTimeoutCause(ctx, clearLimit, errors.New("EC2 took too long to free it"))
	defer stop()
	for {
		_, err := r.ec2.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: &id})
		switch account.Code(err) {
		case "InvalidSnapshot.NotFound":
			return nil
		case "InvalidSnapshot.InUse":
		default:
			if err != nil {
				err = fmt.Errorf("delete %s: %w", id, account.Explain(err))
			}
			return err
		}
		used, err := r.ec2.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"},
			Filters: []types.Filter{{Name: sdk.String("block-device-mapping.snapshot-id"), Values: []string{id}}}})
		if err == nil && slices.ContainsFunc(used.Images, func(i types.Image) bool { return sdk.ToString(i.ImageId) != of }) {
			return nil
		}
		select {
		case <-time.After(max(r.Poll, 100*time.Millisecond)):
		case <-ctx.Done():
			return fmt.Errorf("delete %s: %w", id, context.Cause(ctx))
		}
	}
}
