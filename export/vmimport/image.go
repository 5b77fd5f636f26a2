package vmimport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// ImageAPI is what ImportImage needs of EC2.
type ImageAPI interface {
	ImportImage(context.Context, *ec2.ImportImageInput, ...func(*ec2.Options)) (*ec2.ImportImageOutput, error)
	DescribeImportImageTasks(context.Context, *ec2.DescribeImportImageTasksInput, ...func(*ec2.Options)) (*ec2.DescribeImportImageTasksOutput, error)
	CancelImportTask(context.Context, *ec2.CancelImportTaskInput, ...func(*ec2.Options)) (*ec2.CancelImportTaskOutput, error)
}

// DiskObject is a disk, or an OVA with several, of an image: a file in S3, or a snapshot that is there already.
type DiskObject struct {
	Bucket, Key string
	SnapshotID  string // instead of them
	Format      string // OVA, VMDK, VHD, VHDX, RAW
	DeviceName  string // "" : AWS's choice
}

// ImageOptions say what becomes an AMI.
type ImageOptions struct {
	Disks []DiskObject // the one that boots first
	// Content tells one content of the files from another, see [SnapshotOptions].
	Content        string
	Description    string
	Architecture   string // x86_64 (default); ImportImage takes no other
	BootMode       string // legacy-bios, uefi; "": AWS decides
	Platform       string // Linux, Windows
	LicenseType    string // AWS, BYOL
	UsageOperation string
	RoleName       string // default DefaultRole
	Encrypted      bool
	KMSKeyID       string
	Tags           map[string]string

	Record       Record
	Progress     func(percent int, message string)
	Poll, Limit  time.Duration // default 5 s and 12 h
	CancelOnStop bool
}

// ImportedImage is an AMI that was made. AWS names it import-ami-….
type ImportedImage struct {
	TaskID, ImageID string
	SnapshotIDs     []string // in the order of the disks
}

// ImportImage makes an AMI of files (EC2 ImportImage): AWS looks for an operating system that it knows, changes it to run on EC2, and boots it.
// The error is a *TaskError if AWS refuses them or gives up.
func ImportImage(ctx context.Context, client ImageAPI, o ImageOptions) (*ImportedImage, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("import image: %w", err)
	}
	in := &ec2.ImportImageInput{
		Description: optional(o.Description), RoleName: optional(cmp.Or(o.RoleName, DefaultRole)), KmsKeyId: optional(o.KMSKeyID),
		Architecture: optional(o.Architecture), BootMode: types.BootModeValues(o.BootMode), Platform: optional(o.Platform),
		LicenseType: optional(o.LicenseType), UsageOperation: optional(o.UsageOperation), TagSpecifications: tagged(types.ResourceTypeImportImageTask, o.Tags),
	}
	if encrypted := o.Encrypted || o.KMSKeyID != ""; encrypted {
		in.Encrypted = &encrypted
	}
	key := "vmimport/image"
	for _, d := range o.Disks {
		c := types.ImageDiskContainer{Format: optional(strings.ToUpper(d.Format)), DeviceName: optional(d.DeviceName), SnapshotId: optional(d.SnapshotID)}
		if d.SnapshotID == "" {
			c.UserBucket = &types.UserBucket{S3Bucket: optional(d.Bucket), S3Key: optional(d.Key)}
			key += "/" + d.Bucket + "/" + d.Key
		}
		in.DiskContainers = append(in.DiskContainers, c)
	}
	t := &task[types.ImportImageTask]{
		action: "import image", key: short(key), request: []any{in, o.Content}, record: o.Record, progress: o.Progress,
		poll: cmp.Or(o.Poll, pollInterval), limit: cmp.Or(o.Limit, imageLimit), abandon: o.CancelOnStop, cancel: cancelImport(client),
		start: func(ctx context.Context, token string) (string, error) {
			in := *in
			in.ClientToken = &token
			out, err := client.ImportImage(ctx, &in)
			if err != nil {
				return "", err
			}
			return taskID(out.ImportTaskId)
		},
		describe: func(ctx context.Context, id string) (*state[types.ImportImageTask], error) {
			out, err := client.DescribeImportImageTasks(ctx, &ec2.DescribeImportImageTasksInput{ImportTaskIds: []string{id}})
			if err != nil || len(out.ImportImageTasks) == 0 {
				return nil, err
			}
			task := out.ImportImageTasks[0]
			return &state[types.ImportImageTask]{task.Status, diskMessage(task), task.Progress, task}, nil
		},
	}
	id, task, err := t.run(ctx)
	if err != nil {
		return nil, err
	}
	image := &ImportedImage{TaskID: id, ImageID: value(task.ImageId)}
	if image.ImageID == "" {
		return nil, fmt.Errorf("import image: task %s is complete, but AWS names no image", id)
	}
	for _, d := range task.SnapshotDetails {
		image.SnapshotIDs = append(image.SnapshotIDs, value(d.SnapshotId))
	}
	return image, nil
}

// check refuses what AWS would refuse after the upload.
func (o ImageOptions) check() error {
	var errs []error
	if len(o.Disks) == 0 {
		errs = append(errs, errors.New("there is no disk"))
	}
	if len(o.Disks) > maxDisks {
		errs = append(errs, fmt.Errorf("%d disks; AWS takes at most %d", len(o.Disks), maxDisks))
	}
	if o.BootMode != "" && o.BootMode != "legacy-bios" && o.BootMode != "uefi" {
		errs = append(errs, fmt.Errorf("boot mode %s: ImportImage takes legacy-bios and uefi only; import a snapshot to register the AMI with another", o.BootMode))
	}
	if o.Architecture != "" && o.Architecture != "x86_64" {
		errs = append(errs, fmt.Errorf("architecture %s: ImportImage takes x86_64 only; import a snapshot instead", o.Architecture))
	}
	return errors.Join(errs...)
}

// maxDisks is how many volumes an import may have (VM Import/Export User Guide, "Limitations").
const maxDisks = 21

// diskMessage is the task's message, or where it has none that of a disk.
func diskMessage(task types.ImportImageTask) *string {
	if value(task.StatusMessage) != "" {
		return task.StatusMessage
	}
	for _, d := range task.SnapshotDetails {
		if value(d.StatusMessage) != "" {
			return d.StatusMessage
		}
	}
	return nil
}
