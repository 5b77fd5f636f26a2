package vmimport

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// SnapshotAPI is what ImportSnapshot needs of EC2.
type SnapshotAPI interface {
	ImportSnapshot(context.Context, *ec2.ImportSnapshotInput, ...func(*ec2.Options)) (*ec2.ImportSnapshotOutput, error)
	DescribeImportSnapshotTasks(context.Context, *ec2.DescribeImportSnapshotTasksInput, ...func(*ec2.Options)) (*ec2.DescribeImportSnapshotTasksOutput, error)
	CancelImportTask(context.Context, *ec2.CancelImportTaskInput, ...func(*ec2.Options)) (*ec2.CancelImportTaskOutput, error)
}

// SnapshotOptions say what becomes a snapshot.
type SnapshotOptions struct {
	Bucket, Key string // the file
	Format      string // VMDK, VHD, VHDX, RAW
	// Content tells one content of the file from another, such as its digest or ETag: a record of a task for another is not gone on with.
	Content     string
	Description string
	RoleName    string // default DefaultRole
	Encrypted   bool
	KMSKeyID    string // "" with Encrypted: the account's default for EBS
	Tags        map[string]string

	Record   Record
	Progress func(percent int, message string) // message is AWS's StatusMessage, or its Status
	Poll     time.Duration                     // base interval of asking, default 5 s
	Limit    time.Duration                     // default 6 h
	// CancelOnStop cancels the task when ctx ends, instead of letting it go on at AWS.
	CancelOnStop bool
}

// Imported is a snapshot that was made.
type Imported struct{ TaskID, SnapshotID string }

// ImportSnapshot makes a snapshot of a file (EC2 ImportSnapshot). The error is a *TaskError if AWS refuses the file or gives it up.
func ImportSnapshot(ctx context.Context, client SnapshotAPI, o SnapshotOptions) (*Imported, error) {
	format := strings.ToUpper(o.Format)
	in := &ec2.ImportSnapshotInput{
		Description: optional(o.Description), RoleName: optional(cmp.Or(o.RoleName, DefaultRole)), KmsKeyId: optional(o.KMSKeyID),
		TagSpecifications: tagged(types.ResourceTypeImportSnapshotTask, o.Tags),
		DiskContainer: &types.SnapshotDiskContainer{
			Description: optional(o.Description), Format: &format, UserBucket: &types.UserBucket{S3Bucket: &o.Bucket, S3Key: &o.Key},
		},
	}
	if encrypted := o.Encrypted || o.KMSKeyID != ""; encrypted {
		in.Encrypted = &encrypted
	}
	t := &task[string]{
		action: "import snapshot", key: short(fmt.Sprintf("vmimport/snapshot/%s/%s", o.Bucket, o.Key)),
		request: []any{in, o.Content}, record: o.Record, progress: o.Progress, poll: cmp.Or(o.Poll, pollInterval), limit: cmp.Or(o.Limit, snapshotLimit),
		abandon: o.CancelOnStop, cancel: cancelImport(client),
		start: func(ctx context.Context, token string) (string, error) {
			in := *in
			in.ClientToken = &token
			out, err := client.ImportSnapshot(ctx, &in)
			if err != nil {
				return "", err
			}
			return taskID(out.ImportTaskId)
		},
		describe: func(ctx context.Context, id string) (*state[string], error) {
			out, err := client.DescribeImportSnapshotTasks(ctx, &ec2.DescribeImportSnapshotTasksInput{ImportTaskIds: []string{id}})
			if err != nil || len(out.ImportSnapshotTasks) == 0 || out.ImportSnapshotTasks[0].SnapshotTaskDetail == nil {
				return nil, err
			}
			d := out.ImportSnapshotTasks[0].SnapshotTaskDetail
			return &state[string]{d.Status, d.StatusMessage, d.Progress, value(d.SnapshotId)}, nil
		},
	}
	id, snapshot, err := t.run(ctx)
	if err != nil {
		return nil, err
	}
	if snapshot == "" {
		return nil, fmt.Errorf("import snapshot: task %s is complete, but AWS names no snapshot", id)
	}
	return &Imported{TaskID: id, SnapshotID: snapshot}, nil
}

// canceller cancels imports.
type canceller interface {
	CancelImportTask(context.Context, *ec2.CancelImportTaskInput, ...func(*ec2.Options)) (*ec2.CancelImportTaskOutput, error)
}

func cancelImport(client canceller) func(context.Context, string) error {
	return func(ctx context.Context, id string) error {
		_, err := client.CancelImportTask(ctx, &ec2.CancelImportTaskInput{ImportTaskId: &id, CancelReason: optional("ingot was interrupted")})
		return err
	}
}

func taskID(id *string) (string, error) {
	if value(id) == "" {
		return "", fmt.Errorf("AWS answered without a task id")
	}
	return *id, nil
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
