package ec2sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ingot-image/ingot/disk/image"
	"github.com/ingot-image/ingot/export/internal/ec2sim/ebs"
)

// blocks is where a place's snapshots are, whoever made them.
func (s *Server) blocks(p place) *ebs.Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stores[p] == nil {
		s.stores[p] = ebs.New(ebs.Options{
			Dir:                 s.dir,
			AccountID:           p.account,
			NewID:               func(sizeGiB int64) (string, error) { return s.motoSnapshot(p, sizeGiB) },
			EncryptionByDefault: func() (bool, string) { return s.encryptedByDefault(p) },
			Settle:              s.options.Step,
		})
	}
	return s.stores[p]
}

// Snapshot gives the bytes of a completed snapshot, in whatever place it is, as a disk of its volume's size.
func (s *Server) Snapshot(id string) (image.Source, error) {
	s.mu.Lock()
	stores := make([]*ebs.Store, 0, len(s.stores))
	for _, store := range s.stores {
		stores = append(stores, store)
	}
	s.mu.Unlock()
	for _, store := range stores {
		if _, found := store.Snapshot(id); found {
			return store.Bytes(id)
		}
	}
	return nil, fmt.Errorf("there is no snapshot %s", id)
}

// newSnapshot makes a snapshot of a disk. It is completed, unless made.State says otherwise.
func (s *Server) newSnapshot(p place, made ebs.Snapshot, disk image.Source) (id string, err error) {
	if made.ID, err = s.motoSnapshot(p, made.VolumeSizeGiB); err != nil {
		return "", err
	}
	if err := s.tag(p, made.ID, made.Tags); err != nil {
		return "", err
	}
	return made.ID, s.blocks(p).Adopt(made, disk)
}

// snapshotPermission is who besides its owner may make volumes of a snapshot.
func (s *Server) snapshotShared(id, account string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.shared[id], account) || slices.Contains(s.shared[id], "all")
}

func (s *Server) describeSnapshots(c *call) ([]element, error) {
	tags, err := s.tagged(c.place())
	if err != nil {
		return nil, err
	}
	ids, owners := c.form.list("SnapshotId"), c.form.list("Owner")
	found := map[string]bool{}
	var items [][]element
	for _, snapshot := range s.blocks(c.place()).Snapshots() {
		item := snapshotItem(snapshot, tags[snapshot.ID])
		fits, err := filter(c.form.subs("Filter"), item, snapshotFilters)
		if err != nil {
			return nil, err
		}
		found[snapshot.ID] = true
		if fits && (len(ids) == 0 || slices.Contains(ids, snapshot.ID)) && ownedBy(owners, snapshot.OwnerID, c.Account) {
			items = append(items, item)
		}
	}
	for _, id := range ids {
		if !strings.HasPrefix(id, "snap-") {
			return nil, refuse("InvalidParameterValue", "Value (%s) for parameter snapshotId is invalid. Expected: 'snap-...'.", id)
		}
		if !found[id] {
			return nil, refuse("InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", id)
		}
	}
	return page(c, "snapshotSet", items)
}

// ownedBy tells whether a resource is one of the owners' that were asked for.
func ownedBy(owners []string, owner, self string) bool {
	return len(owners) == 0 || slices.Contains(owners, owner) || owner == self && slices.Contains(owners, "self")
}

func snapshotItem(n ebs.Snapshot, tags map[string]string) []element {
	progress := "100%"
	if n.State == ebs.Pending {
		progress = ""
	}
	all := map[string]string{}
	for _, from := range []map[string]string{n.Tags, tags} {
		for key, value := range from {
			all[key] = value
		}
	}
	return []element{text("snapshotId", n.ID), text("volumeId", "vol-ffffffff"), text("status", n.State), text("statusMessage", n.Message),
		text("startTime", stamp(n.Started)), text("progress", progress), text("ownerId", n.OwnerID), number("volumeSize", n.VolumeSizeGiB),
		text("description", n.Description), flag("encrypted", n.Encrypted), text("kmsKeyId", n.KMSKeyARN), text("storageTier", "standard"), tagSet(all)}
}

// stamp writes a time as EC2 does.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func (s *Server) deleteSnapshot(c *call) ([]element, error) {
	id := c.form.get("SnapshotId")
	store := s.blocks(c.place())
	if _, found := store.Snapshot(id); !found {
		return nil, refuse("InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", id)
	}
	s.mu.Lock()
	for _, i := range s.images {
		if slices.ContainsFunc(i.devices, func(d device) bool { return d.snapshot == id }) {
			s.mu.Unlock()
			return nil, refuse("InvalidSnapshot.InUse", "The snapshot %s is currently in use by %s", id, i.id)
		}
	}
	s.mu.Unlock()
	store.Delete(id)
	return []element{flag("return", true)}, nil
}

// modifySnapshotAttribute shares a snapshot, or ends that.
func (s *Server) modifySnapshotAttribute(c *call) ([]element, error) {
	id := c.form.get("SnapshotId")
	snapshot, found := s.blocks(c.place()).Snapshot(id)
	if !found {
		return nil, refuse("InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", id)
	}
	add, remove := c.form.sub("CreateVolumePermission").subs("Add"), c.form.sub("CreateVolumePermission").subs("Remove")
	with, without := who(add, "UserId", "Group"), who(remove, "UserId", "Group")
	if named := append(c.form.list("UserId"), c.form.list("UserGroup")...); c.form.get("OperationType") == "remove" {
		without = append(without, named...)
	} else {
		with = append(with, named...)
	}
	if len(with) > 0 && snapshot.KMSKeyARN == defaultKey(c.place()) {
		return nil, refuse("InvalidParameter", "Snapshot %s is encrypted with the default key and cannot be shared", id)
	}
	if slices.Contains(with, "all") && snapshot.Encrypted {
		return nil, refuse("InvalidParameter", "Encrypted snapshots cannot be made public")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shared[id] = slices.DeleteFunc(append(s.shared[id], with...), func(w string) bool { return slices.Contains(without, w) })
	return []element{flag("return", true)}, nil
}

// who are those that permissions name, in any of the fields.
func who(permissions []form, fields ...string) []string {
	var named []string
	for _, p := range permissions {
		for _, field := range fields {
			if value := p.get(field); value != "" {
				named = append(named, value)
			}
		}
	}
	return named
}
