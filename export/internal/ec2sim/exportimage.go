package ec2sim

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/ingot-image/ingot/disk"
)

func (s *Server) exportImage(c *call) ([]element, error) {
	f := c.form
	location := f.sub("S3ExportLocation")
	format := strings.ToUpper(f.get("DiskImageFormat"))
	if !slices.Contains([]string{"VMDK", "RAW", "VHD"}, format) {
		return nil, refuse("InvalidParameter", "The value (%s) of parameter DiskImageFormat is not valid: VMDK, RAW or VHD", format)
	}
	i, err := s.image(c, f.get("ImageId"))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	state, root := i.state, slices.IndexFunc(i.devices, func(d device) bool { return d.name == i.rootDevice })
	s.mu.Unlock()
	bucket := location.get("S3Bucket")
	switch {
	case state != "available" || root < 0:
		return nil, refuse("IncorrectState", "The image %s is not in a valid state: %s", i.id, state)
	case bucket == "":
		return nil, refuse("MissingParameter", "The request must contain the parameter S3ExportLocation.S3Bucket")
	}
	if err := s.assume(c.place(), f.get("RoleName"), exportNeeds(bucket, location.get("S3Prefix")+exportImage)); err != nil {
		return nil, err
	}
	if err := s.localBucket(c.place(), bucket); err != nil {
		return nil, err
	}
	t := &task{kind: exportImage, image: i.id, disks: []*taskDisk{{format: format, object: object{bucket, location.get("S3Prefix")}, snapshot: i.devices[root].snapshot}}}
	if t, err = s.begin(c, t, s.runExportImage); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(t.exportItem(), text("diskImageFormat", strings.ToLower(format)), text("roleName", f.get("RoleName"))), nil
}

// runExportImage writes the root volume as PREFIX + task id + extension (VM Import/Export User Guide, "Exporting an instance as a VM").
func (s *Server) runExportImage(ctx context.Context, t *task) error {
	if err := s.through(ctx, t, stage{}, stage{"validating", "5"}, stage{"converting", "30"}); err != nil {
		return err
	}
	d := t.disks[0]
	src, err := s.blocks(t.place).Bytes(d.snapshot)
	if err != nil {
		return err
	}
	extension := strings.ToLower(d.format)
	path := filepath.Join(s.dir, t.id+"."+extension)
	defer os.Remove(path)
	format, _ := disk.FormatToWrite(path)
	if err := disk.Write(ctx, src, disk.WriteOptions{}, disk.Output{Path: path, Format: format}); err != nil {
		return fmt.Errorf("write %s: %w", extension, err)
	}
	if err := s.through(ctx, t, stage{"uploading", "80"}); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	key := d.key + t.id + "." + extension
	_, err = s.store(t.place).PutObject(ctx, &s3.PutObjectInput{Bucket: &d.bucket, Key: &key, Body: f})
	return err
}

// exportItem describes a task of ExportImage.
func (t *task) exportItem() []element {
	return []element{text("exportImageTaskId", t.id), text("description", t.request.get("Description")), text("imageId", t.image), text("progress", t.progress),
		el("s3ExportLocation", text("s3Bucket", t.disks[0].bucket), text("s3Prefix", t.disks[0].key)), text("status", t.status),
		text("statusMessage", t.message), tagSet(t.tags)}
}
