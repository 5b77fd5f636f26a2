package vmimport

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// ExportAPI is what ExportImage needs of EC2.
type ExportAPI interface {
	ExportImage(context.Context, *ec2.ExportImageInput, ...func(*ec2.Options)) (*ec2.ExportImageOutput, error)
	DescribeExportImageTasks(context.Context, *ec2.DescribeExportImageTasksInput, ...func(*ec2.Options)) (*ec2.DescribeExportImageTasksOutput, error)
	CancelExportTask(context.Context, *ec2.CancelExportTaskInput, ...func(*ec2.Options)) (*ec2.CancelExportTaskOutput, error)
}

// ExportOptions say what is written into a bucket.
type ExportOptions struct {
	ImageID     string
	Format      string // VMDK, RAW, VHD
	Bucket      string // in the image's region
	Prefix      string // of the object's key, with the / at its end where one is meant
	Description string
	RoleName    string // default DefaultRole
	Tags        map[string]string

	Record       Record
	Progress     func(percent int, message string)
	Poll, Limit  time.Duration // default 5 s and 12 h
	CancelOnStop bool
}

// Exported is a file that was written.
type Exported struct{ TaskID, Key string }

// ExportImage writes an AMI's disk into a bucket (EC2 ExportImage). The error is a *TaskError if AWS refuses it or gives it up.
func ExportImage(ctx context.Context, client ExportAPI, o ExportOptions) (*Exported, error) {
	format := strings.ToUpper(o.Format)
	in := &ec2.ExportImageInput{
		ImageId: &o.ImageID, DiskImageFormat: types.DiskImageFormat(format), Description: optional(o.Description),
		RoleName: optional(cmp.Or(o.RoleName, DefaultRole)), TagSpecifications: tagged(types.ResourceTypeExportImageTask, o.Tags),
		S3ExportLocation: &types.ExportTaskS3LocationRequest{S3Bucket: &o.Bucket, S3Prefix: optional(o.Prefix)},
	}
	t := &task[string]{
		action: "export image", key: short(fmt.Sprintf("vmimport/export/%s/%s/%s/%s", o.ImageID, format, o.Bucket, o.Prefix)), request: in,
		record: o.Record, progress: o.Progress, poll: cmp.Or(o.Poll, pollInterval), limit: cmp.Or(o.Limit, exportLimit), abandon: o.CancelOnStop,
		start: func(ctx context.Context, token string) (string, error) {
			in := *in
			in.ClientToken = &token
			out, err := client.ExportImage(ctx, &in)
			if err != nil {
				return "", err
			}
			return taskID(out.ExportImageTaskId)
		},
		describe: func(ctx context.Context, id string) (*state[string], error) {
			out, err := client.DescribeExportImageTasks(ctx, &ec2.DescribeExportImageTasksInput{ExportImageTaskIds: []string{id}})
			if err != nil || len(out.ExportImageTasks) == 0 {
				return nil, err
			}
			task := out.ExportImageTasks[0]
			return &state[string]{status: task.Status, message: task.StatusMessage, progress: task.Progress}, nil
		},
		cancel: func(ctx context.Context, id string) error {
			_, err := client.CancelExportTask(ctx, &ec2.CancelExportTaskInput{ExportTaskId: &id})
			return err
		},
	}
	id, _, err := t.run(ctx)
	if err != nil {
		return nil, err
	}
	// The object's key is the prefix, the task's id and the format (VM Import/Export User Guide, "Exporting a VM directly from an AMI").
	return &Exported{TaskID: id, Key: strings.TrimSpace(o.Prefix) + id + "." + strings.ToLower(format)}, nil
}

// short keeps the key of a record below what a file may be called.
func short(key string) string {
	const longest = 80
	if len(key) <= longest {
		return key
	}
	digest := sha256.Sum256([]byte(key))
	return key[:longest-34] + "-" + hex.EncodeToString(digest[:16])
}
