package ec2sim

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/ingot-image/ingot/disk/image"
	"github.com/ingot-image/ingot/export/internal/ec2sim/container"
	"github.com/ingot-image/ingot/export/internal/ec2sim/ebs"
)

func (s *Server) importSnapshot(c *call) ([]element, error) {
	disk := c.form.sub("DiskContainer")
	d := &taskDisk{format: strings.ToUpper(disk.get("Format")), description: disk.get("Description")}
	if !slices.Contains([]string{container.VMDK, container.VHD, container.VHDX, container.RAW}, d.format) {
		return nil, refuse("InvalidParameter", "The value (%s) of parameter Format is not valid: VMDK, VHD, VHDX or RAW", disk.get("Format"))
	}
	t := &task{kind: importSnapshot, disks: []*taskDisk{d}}
	if err := s.prepare(c, t, []form{disk}); err != nil {
		return nil, err
	}
	t, err := s.begin(c, t, s.runImportSnapshot)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return t.snapshotItem(), nil
}

// prepare refuses at once what AWS refuses at once: files that are not there, roles that may not read them, keys that there are not.
func (s *Server) prepare(c *call, t *task, containers []form) (err error) {
	byDefault, _ := s.encryptedByDefault(c.place())
	key := c.form.get("KmsKeyId")
	if t.encrypted = c.form.flag("Encrypted") || byDefault; key != "" && !t.encrypted {
		return refuse("InvalidParameter", "The parameter KmsKeyId requires the parameter Encrypted to be set")
	}
	if key != "" {
		if t.kmsKey, err = s.keyARN(c.place(), key); err != nil {
			return refuse("InvalidParameter", "The KMS key %s is not accessible", key)
		}
	}
	for i, disk := range containers {
		d := t.disks[i]
		if d.snapshot != "" {
			continue
		}
		if d.object, err = newObject(disk); err != nil {
			return err
		}
		if err := s.assume(c.place(), c.form.get("RoleName"), importNeeds(d.bucket, d.key, t.kmsKey)); err != nil {
			return err
		}
		if err := s.localBucket(c.place(), d.bucket); err != nil {
			return err
		}
		var objectKey string
		if d.size, objectKey, err = s.look(c.place(), d.object); err != nil {
			return err
		}
		if err := s.assume(c.place(), c.form.get("RoleName"), keyNeeds(objectKey)); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) runImportSnapshot(ctx context.Context, t *task) error {
	if err := s.through(ctx, t, stage{}, stage{"pending", "3"}); err != nil {
		return err
	}
	disks, err := s.convert(ctx, t, t.disks[0])
	if err != nil {
		return err
	}
	if err := s.through(ctx, t, stage{"converting", "19"}, stage{"converting", "43"}, stage{"", "76"}); err != nil {
		return err
	}
	return s.keep(t, t.disks[0], disks[0])
}

// convert fetches a disk's file and expands it.
func (s *Server) convert(ctx context.Context, t *task, d *taskDisk) ([]container.Disk, error) {
	f, err := s.fetch(ctx, t.place, d.object)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return container.Expand(ctx, d.format, f, st.Size(), s.dir)
}

// keep makes a snapshot of a disk that was converted. The file stays open for as long as the simulator.
func (s *Server) keep(t *task, d *taskDisk, converted container.Disk) error {
	raw, err := image.NewFile(converted.File)
	if err != nil {
		return err
	}
	made := ebs.Snapshot{VolumeSizeGiB: (converted.Size + 1<<30 - 1) >> 30, OwnerID: t.account, Encrypted: t.encrypted,
		Description: cmp.Or(t.request.get("Description"), "Created by AWS-VMImport service for "+t.id)}
	if t.encrypted {
		made.KMSKeyARN = cmp.Or(t.kmsKey, defaultKey(t.place))
	}
	id, err := s.newSnapshot(t.place, made, raw)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d.snapshot = id
	return nil
}

// snapshotItem describes a task of ImportSnapshot.
func (t *task) snapshotItem() []element {
	d := t.disks[0]
	return []element{text("importTaskId", t.id), text("description", t.request.get("Description")), el("snapshotTaskDetail",
		text("description", d.description), text("diskImageSize", strconv.FormatFloat(float64(d.size), 'f', 1, 64)), flag("encrypted", t.encrypted),
		text("kmsKeyId", t.kmsKey), text("format", d.format), text("progress", t.progress), text("snapshotId", d.snapshot), text("status", t.status),
		text("statusMessage", t.message), text("url", t.request.sub("DiskContainer").get("Url")), d.userBucket()), tagSet(t.tags)}
}

func (d *taskDisk) userBucket() element {
	if d.bucket == "" {
		return el("userBucket")
	}
	return el("userBucket", text("s3Bucket", d.bucket), text("s3Key", d.key))
}
