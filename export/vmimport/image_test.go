package vmimport_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ingot-image/ingot/export/vmimport"
)

// images is EC2 with one task to import and one to export, each in the state that is given.
type images struct {
	tasks
	imported types.ImportImageTask
	exported types.ExportImageTask
	asked    *ec2.ImportImageInput
}

func (f *images) ImportImage(_ context.Context, in *ec2.ImportImageInput, _ ...func(*ec2.Options)) (*ec2.ImportImageOutput, error) {
	f.asked = in
	return &ec2.ImportImageOutput{ImportTaskId: aws.String("import-ami-1")}, nil
}

func (f *images) DescribeImportImageTasks(context.Context, *ec2.DescribeImportImageTasksInput, ...func(*ec2.Options)) (*ec2.DescribeImportImageTasksOutput, error) {
	return &ec2.DescribeImportImageTasksOutput{ImportImageTasks: []types.ImportImageTask{f.imported}}, nil
}

func (f *images) ExportImage(context.Context, *ec2.ExportImageInput, ...func(*ec2.Options)) (*ec2.ExportImageOutput, error) {
	return &ec2.ExportImageOutput{ExportImageTaskId: aws.String("export-ami-1")}, nil
}

func (f *images) DescribeExportImageTasks(context.Context, *ec2.DescribeExportImageTasksInput, ...func(*ec2.Options)) (*ec2.DescribeExportImageTasksOutput, error) {
	return &ec2.DescribeExportImageTasksOutput{ExportImageTasks: []types.ExportImageTask{f.exported}}, nil
}

func (f *images) CancelExportTask(context.Context, *ec2.CancelExportTaskInput, ...func(*ec2.Options)) (*ec2.CancelExportTaskOutput, error) {
	return &ec2.CancelExportTaskOutput{}, nil
}

func TestImportImage(t *testing.T) {
	f := &images{imported: types.ImportImageTask{Status: aws.String("completed"), ImageId: aws.String("ami-1"), SnapshotDetails: []types.SnapshotDetail{{SnapshotId: aws.String("snap-1")}, {SnapshotId: aws.String("snap-2")}}}}
	o := vmimport.ImageOptions{Disks: []vmimport.DiskObject{{Bucket: "images", Key: "a.vmdk", Format: "vmdk"}, {SnapshotID: "snap-0"}}, BootMode: "uefi", LicenseType: "BYOL", Poll: time.Millisecond}
	got, err := vmimport.ImportImage(t.Context(), f, o)
	if err != nil || got.ImageID != "ami-1" || len(got.SnapshotIDs) != 2 || got.SnapshotIDs[1] != "snap-2" {
		t.Fatalf("%+v, %v", got, err)
	}
	if in := f.asked; *in.RoleName != "vmimport" || *in.DiskContainers[0].Format != "VMDK" || in.DiskContainers[1].UserBucket != nil || in.BootMode != types.BootModeValuesUefi || in.Encrypted != nil || in.ClientToken == nil {
		t.Errorf("asked for %+v", in)
	}
	// The reason may be with a disk only.
	f.imported = types.ImportImageTask{Status: aws.String("deleted"), SnapshotDetails: []types.SnapshotDetail{{StatusMessage: aws.String("ClientError: Footers not identical")}}}
	var failed *vmimport.TaskError
	if _, err := vmimport.ImportImage(t.Context(), f, o); !errors.As(err, &failed) || failed.StatusMessage != "ClientError: Footers not identical" || failed.Remedy == "" {
		t.Errorf("%v", err)
	}
}

func TestExportImage(t *testing.T) {
	f := &images{exported: types.ExportImageTask{Status: aws.String("completed")}}
	o := vmimport.ExportOptions{ImageID: "ami-1", Format: "vmdk", Bucket: "images", Prefix: "exports/", Poll: time.Millisecond}
	if got, err := vmimport.ExportImage(t.Context(), f, o); err != nil || got.Key != "exports/export-ami-1.vmdk" {
		t.Fatalf("%+v, %v", got, err)
	}
	f.exported = types.ExportImageTask{Status: aws.String("deleted"), StatusMessage: aws.String("ServerError: an internal error has occurred during export")}
	var failed *vmimport.TaskError
	if _, err := vmimport.ExportImage(t.Context(), f, o); !errors.As(err, &failed) || failed.StatusMessage != *f.exported.StatusMessage || failed.TaskID != "export-ami-1" {
		t.Errorf("%v", err)
	}
}
