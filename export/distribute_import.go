package export

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/export/account"
	"github.com/ingot-image/ingot/export/distribution"
	direct "github.com/ingot-image/ingot/export/ebs"
	"github.com/ingot-image/ingot/export/s3"
	"github.com/ingot-image/ingot/export/vmimport"
)

// imported is what an import has come to.
type imported struct {
	SnapshotID    string   `json:"snapshotId,omitempty"`
	VolumeSizeGiB int64    `json:"volumeSizeGiB,omitempty"`
	ImageID       string   `json:"imageId,omitempty"`     // by ImportImage, or the AMI that took the place of the one that was imported
	SnapshotIDs   []string `json:"snapshotIds,omitempty"` // of ImportImage's
	// Sources are all AMIs that copies in other regions may be of.
	Sources []string `json:"sources,omitempty"`
	// Served are the regions that have their copies, where ImageID is not fit to be copied to more: it is encrypted for its own region.
	Served []string `json:"served,omitempty"`
	// Spares are being taken away.
	Spares []spare `json:"spares,omitempty"`
}

// imported gives the import of this very image by this path, the one there is or a new one. What it came to is recorded before anything else is done, so
// that neither a kill nor a failure after it can lose it.
func (r *release) imported(ctx context.Context) (*imported, error) {
	var done imported
	if found, err := r.Book.Get(r.key(), &done); err != nil {
		return nil, err
	} else if found {
		there, err := r.there(ctx, &done)
		if err != nil {
			return nil, err
		}
		if there { // else what it took the place of is all that is left of the image
			r.discard(ctx, &done)
		}
		if there && r.serves(&done) {
			r.clear(ctx) // what a run that was killed after the import has left
			return &done, nil
		}
		r.before, r.lost = done, done.lost()
	}
	var err error
	var now *imported
	switch r.path() {
	case distribution.EBSDirect:
		now, err = r.ebsDirect(ctx)
	case distribution.ImportImage:
		now, err = r.importImage(ctx)
	default:
		now, err = r.importSnapshot(ctx)
	}
	if err != nil {
		return nil, err
	}
	r.clear(ctx)
	return now, nil
}

// there tells whether what was imported once has not been deleted since.
func (r *release) there(ctx context.Context, done *imported) (bool, error) {
	var err error
	switch {
	case done.ImageID != "":
		var out *ec2.DescribeImagesOutput
		if out, err = r.ec2.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{done.ImageID}}); err == nil {
			return len(out.Images) == 1 && (out.Images[0].State == types.ImageStateAvailable || out.Images[0].State == types.ImageStatePending), nil
		}
	default:
		var out *ec2.DescribeSnapshotsOutput
		if out, err = r.ec2.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{done.SnapshotID}}); err == nil {
			return len(out.Snapshots) == 1 && (out.Snapshots[0].State == types.SnapshotStateCompleted || out.Snapshots[0].State == types.SnapshotStatePending), nil
		}
	}
	switch account.Code(err) {
	case "InvalidSnapshot.NotFound", "InvalidAMIID.NotFound", "InvalidAMIID.Unavailable":
		return false, nil
	}
	return false, account.Explain(err)
}

// importSnapshot uploads the disk as a stream-optimized VMDK and has VM Import make a snapshot of it.
func (r *release) importSnapshot(ctx context.Context) (*imported, error) {
	in := r.config.Import
	return r.throughBucket(ctx, func(o s3.Object, content string, size int64) (*imported, error) {
		out, err := vmimport.ImportSnapshot(ctx, r.ec2, vmimport.SnapshotOptions{
			Bucket: o.Bucket, Key: o.Key, Format: "VMDK", Content: content, Description: r.image.Name + " " + r.image.Version, RoleName: in.RoleName,
			KMSKeyID: in.KMSKeyID, Encrypted: in.Encrypt || in.KMSKeyID != "", Tags: r.image.Tags, Record: r.Book, Poll: r.Poll, Progress: r.importing,
		})
		if err != nil {
			return nil, err
		}
		return &imported{SnapshotID: out.SnapshotID, VolumeSizeGiB: gib(size)}, nil
	})
}

// importImage has VM Import look into the disk, adapt and boot it, and make the AMI.
func (r *release) importImage(ctx context.Context) (*imported, error) {
	in := r.config.Import
	return r.throughBucket(ctx, func(o s3.Object, content string, _ int64) (*imported, error) {
		out, err := vmimport.ImportImage(ctx, r.ec2, vmimport.ImageOptions{
			Disks: []vmimport.DiskObject{{Bucket: o.Bucket, Key: o.Key, Format: "VMDK"}}, Content: content, Description: r.image.Name + " " + r.image.Version,
			BootMode: r.image.BootMode, Architecture: r.image.Architecture, LicenseType: in.LicenseType, UsageOperation: in.UsageOperation, Platform: in.Platform,
			RoleName: in.RoleName, KMSKeyID: in.KMSKeyID, Encrypted: in.Encrypt || in.KMSKeyID != "", Tags: r.image.Tags,
			Record: r.Book, Poll: r.Poll, Progress: r.importing,
		})
		if err != nil {
			return nil, err
		}
		// AWS names this image import-ami-…, and the copy with the right name does not replace it: it must tell what it is, and whether it was tested.
		return &imported{ImageID: out.ImageID, SnapshotIDs: out.SnapshotIDs}, r.tag(ctx, append([]string{out.ImageID}, out.SnapshotIDs...))
	})
}

// tag gives resources the image's tags.
func (r *release) tag(ctx context.Context, resources []string) error {
	in := &ec2.CreateTagsInput{Resources: slices.DeleteFunc(resources, func(id string) bool { return id == "" })}
	for _, k := range slices.Sorted(maps.Keys(r.image.Tags)) {
		in.Tags = append(in.Tags, types.Tag{Key: sdk.String(k), Value: sdk.String(r.image.Tags[k])})
	}
	if len(in.Tags) == 0 {
		return nil
	}
	if _, err := r.ec2.CreateTags(ctx, in); err != nil {
		return fmt.Errorf("tag %s: %w", strings.Join(in.Resources, ", "), account.Explain(err))
	}
	return nil
}

func (r *release) importing(percent int, message string) {
	doing := "import"
	if message != "" {
		doing += ": " + message
	}
	r.event(Event{Region: r.region, Doing: doing, Done: int64(percent), Total: 100})
}

// vmdk gives the image's disk as a stream-optimized VMDK, which is the smallest file that VM Import takes: the image's own or one that is written now, and the
// disk's size.
func (r *release) vmdk(ctx context.Context) (*ImageFile, int64, error) {
	for i, f := range r.image.Files {
		if f.Format != disk.VMDK {
			continue
		}
		info, err := disk.Probe(f.Path)
		if err != nil {
			return nil, 0, err
		}
		if strings.EqualFold(info.Variant, "streamOptimized") {
			return &r.image.Files[i], info.VirtualSize, nil
		}
	}
	d, err := r.open(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer d.Close()
	path, err := r.Temp(r.image.Name + disk.VMDK.Extension())
	if err != nil {
		return nil, 0, err
	}
	used, _, err := disk.Unused(ctx, d)
	if err != nil {
		return nil, 0, err
	}
	err = disk.Write(ctx, used, disk.WriteOptions{Progress: func(done, total int64) {
		r.event(Event{Region: r.region, Doing: "convert", Done: done, Total: total, Bytes: true})
	}}, disk.Output{Path: path, Format: disk.VMDK, Unsynced: true})
	if err != nil {
		return nil, 0, err
	}
	sum, size, err := disk.Digest(ctx, path)
	if err != nil {
		return nil, 0, err
	}
	return &ImageFile{Path: path, Format: disk.VMDK, SHA256: sum, Size: size}, d.Size(), nil
}

// open opens the image's disk, which is the one that was checked. Changes after this its readers notice.
func (r *release) open(ctx context.Context) (*disk.Disk, error) {
	d, err := disk.Open(ctx, r.image.Files[0].Path, disk.OpenOptions{TempDir: r.TempDir})
	if err != nil {
		return nil, err
	}
	if err := r.image.Files[0].unchanged(); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// ebsDirect writes the disk's blocks into a snapshot.
func (r *release) ebsDirect(ctx context.Context) (*imported, error) {
	d, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	used, _, err := disk.Unused(ctx, d)
	if err != nil {
		return nil, err
	}
	in := r.config.Import
	parent, err := r.parent()
	if err != nil {
		r.warn(fmt.Errorf("the upload is whole: %w", err))
	}
	out, err := direct.Upload(ctx, direct.NewClient(r.home), used, direct.Options{
		Parent: parent, WriteZeros: in.WriteZeros, Encrypted: in.Encrypt || in.KMSKeyID != "", KMSKeyID: in.KMSKeyID, Description: r.image.Name + " " + r.image.Version, Tags: r.image.Tags,
		Record: r.Book, Describe: r.ec2, Keys: kms.NewFromConfig(r.home), Poll: r.Poll, Progress: func(done, total int64) {
			r.event(Event{Region: r.region, Doing: "upload", Done: done, Total: total, Bytes: true})
		},
	})
	if changed := r.image.Files[0].unchanged(); changed != nil {
		if err == nil { // one that is not complete AWS gives up by itself
			changed = errors.Join(changed, r.deleteSnapshot(context.WithoutCancel(ctx), out.ID, ""))
		}
		return nil, changed
	}
	if err != nil {
		return nil, err
	}
	done := &imported{SnapshotID: out.ID, VolumeSizeGiB: out.VolumeSizeGiB}
	// In this order: with itself as its parent the same upload would be another one, and begin anew.
	if err := r.keep(done); err != nil {
		return nil, err
	}
	if err := r.becomeParent(ctx, out); err != nil {
		r.warn(fmt.Errorf("the next build will be uploaded as a whole: %w", err))
	}
	return done, nil
}

// gib rounds bytes up to GiB, the unit of volumes.
func gib(size int64) int64 { return (size + 1<<30 - 1) >> 30 }

// maxUEFIData bounds the variable store that RegisterImage takes, in characters of base64 (ec2 RegisterImage, UefiData).
const maxUEFIData = 64000

func readUEFIData(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxUEFIData+1))
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(data))
	if _, err := base64.StdEncoding.DecodeString(text); err != nil || len(text) > maxUEFIData {
		return "", fmt.Errorf("%s is not at most %d characters of base64, as python-uefivars -o aws writes", path, maxUEFIData)
	}
	return text, nil
}
