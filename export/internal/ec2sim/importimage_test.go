package ec2sim

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/ingot-image/ingot/export/internal/ec2sim/guest"
)

// sample is a disk that ImportImage takes, in a format.
func sample(t *testing.T, name string, change func(map[string]string)) []byte {
	t.Helper()
	raw, err := os.ReadFile(guest.Sample(t, change))
	if err != nil {
		t.Fatal(err)
	}
	return inFormat(t, raw, name)
}

// followImage asks for a task of ImportImage until it ends, and gives that and the messages it had while it was active.
func followImage(t *testing.T, client *ec2.Client, id string) (last types.ImportImageTask, messages []string) {
	t.Helper()
	until(t, id, func() bool {
		d, err := client.DescribeImportImageTasks(t.Context(), &ec2.DescribeImportImageTasksInput{ImportTaskIds: []string{id}})
		if err != nil {
			t.Fatal(err)
		}
		last = d.ImportImageTasks[0]
		if m := aws.ToString(last.StatusMessage); *last.Status == "active" && !slices.Contains(messages, m) {
			messages = append(messages, m)
		}
		return *last.Status != "active" && *last.Status != "deleting"
	})
	return last, messages
}

func TestImportImageMakesAnImage(t *testing.T) {
	s, client, store := newAccount(t, Options{Step: 100 * time.Millisecond})
	putObject(t, store, "images", "disk.ova", sample(t, "disk.ova", nil))
	input := &ec2.ImportImageInput{Description: aws.String("web"), BootMode: types.BootModeValuesUefi, LicenseType: aws.String("BYOL"),
		DiskContainers: []types.ImageDiskContainer{{Format: aws.String("ova"), UserBucket: &types.UserBucket{S3Bucket: aws.String("images"), S3Key: aws.String("disk.ova")}}}}
	started, err := client.ImportImage(t.Context(), input)
	if err != nil {
		t.Fatal(err)
	}
	last, messages := followImage(t, client, *started.ImportTaskId)
	if *last.Status != "completed" || last.ImageId == nil || len(last.SnapshotDetails) != 1 || last.StatusMessage != nil {
		t.Fatalf("%+v", last)
	}
	stages := []string{"", "pending", "validating", "validated", "converting", "updating", "preparing to boot", "booting", "preparing ami"}
	place := func(m string) int { return slices.Index(stages, m) }
	if !slices.IsSortedFunc(messages, func(a, b string) int { return place(a) - place(b) }) || len(messages) < 3 || place(messages[0]) < 0 {
		t.Errorf("shown were %q", messages)
	}
	i := describe(t, client, *last.ImageId)
	if *i.Name != *started.ImportTaskId || i.BootMode != types.BootModeValuesUefi || *i.BlockDeviceMappings[0].Ebs.SnapshotId != *last.SnapshotDetails[0].SnapshotId {
		t.Errorf("image %+v", i)
	}
	if disk, err := s.Snapshot(*last.SnapshotDetails[0].SnapshotId); err != nil || disk.Size() != 1<<30 {
		t.Errorf("disk %v, %v", disk, err)
	}
}

func TestImportImageLooksInside(t *testing.T) {
	_, client, store := newAccount(t, Options{})
	putObject(t, store, "images", "trixie.vmdk", sample(t, "disk.vmdk", func(f map[string]string) {
		f["usr/lib/os-release"] = strings.ReplaceAll(f["usr/lib/os-release"], "12", "13")
	}))
	putObject(t, store, "images", "nothing.raw", rawDisk())
	run := func(format, key string, change func(*ec2.ImportImageInput)) (types.ImportImageTask, error) {
		t.Helper()
		input := &ec2.ImportImageInput{DiskContainers: []types.ImageDiskContainer{{Format: &format, UserBucket: &types.UserBucket{S3Bucket: aws.String("images"), S3Key: &key}}}}
		if change != nil {
			change(input)
		}
		started, err := client.ImportImage(t.Context(), input)
		if err != nil {
			return types.ImportImageTask{}, err
		}
		last, _ := followImage(t, client, *started.ImportTaskId)
		return last, nil
	}
	for key, want := range map[string]string{"trixie.vmdk": "ClientError: Unsupported kernel version 6.1.0-25-cloud-amd64", "nothing.raw": "ClientError: No valid partitions. Not a valid volume."} {
		_, format, _ := strings.Cut(key, ".")
		last, err := run(format, key, nil)
		if err != nil || *last.Status != "deleted" || *last.StatusMessage != want || last.ImageId != nil {
			t.Errorf("%s: %+v, %v", key, last, err)
		}
	}
	for name, change := range map[string]func(*ec2.ImportImageInput){
		"arm64":          func(i *ec2.ImportImageInput) { i.Architecture = aws.String("arm64") },
		"uefi-preferred": func(i *ec2.ImportImageInput) { i.BootMode = types.BootModeValuesUefiPreferred },
		"no disks":       func(i *ec2.ImportImageInput) { i.DiskContainers = nil },
	} {
		if _, err := run("RAW", "nothing.raw", change); code(err) != "InvalidParameter" && code(err) != "MissingParameter" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
