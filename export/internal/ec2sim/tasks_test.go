package ec2sim

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/ingot-image/ingot/disk"
)

const (
	trust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"vmie.amazonaws.com"},"Action":"sts:AssumeRole",
		"Condition":{"StringEquals":{"sts:Externalid":"vmimport"}}}]}`
	rights = `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["s3:GetBucketLocation","s3:GetObject","s3:ListBucket","s3:PutObject","s3:GetBucketAcl"],"Resource":["arn:aws:s3:::images","arn:aws:s3:::images/*"]},
		{"Effect":"Allow","Action":["ec2:ModifySnapshotAttribute","ec2:CopySnapshot","ec2:RegisterImage","ec2:Describe*"],"Resource":"*"}]}`
)

// newRole makes the role vmimport.
func newRole(t *testing.T, s *Server, trust, policy string) {
	t.Helper()
	client := iam.NewFromConfig(s.Config(t, Region))
	if _, err := client.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("vmimport"), AssumeRolePolicyDocument: &trust}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: aws.String("vmimport"), PolicyName: aws.String("vmimport"), PolicyDocument: &policy}); err != nil {
		t.Fatal(err)
	}
}

// newAccount is a simulator with the role and a bucket called images.
func newAccount(t *testing.T, o Options) (*Server, *ec2.Client, *s3.Client) {
	t.Helper()
	s := Start(t, o)
	newRole(t, s, trust, rights)
	store := s3Client(s.Config(t, Region))
	newBucket(t, store, "images", Region)
	return s, ec2.NewFromConfig(s.Config(t, Region)), store
}

// rawDisk is 3 MiB of anything with a hole.
func rawDisk() []byte {
	b := make([]byte, 3<<20)
	random := rand.NewChaCha8([32]byte{2})
	random.Read(b[:1<<20])
	random.Read(b[len(b)-512:])
	return b
}

// inFormat writes a raw disk in another format.
func inFormat(t *testing.T, raw []byte, name string) []byte {
	t.Helper()
	dir := t.TempDir()
	src := filepath.Join(dir, "src.raw")
	if err := os.WriteFile(src, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := disk.Open(t.Context(), src, disk.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	path := filepath.Join(dir, name)
	format, _ := disk.FormatToWrite(path)
	if err := disk.Write(t.Context(), d, disk.WriteOptions{}, disk.Output{Path: path, Format: format}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func diskIn(format, key string) *types.SnapshotDiskContainer {
	return &types.SnapshotDiskContainer{Format: &format, UserBucket: &types.UserBucket{S3Bucket: aws.String("images"), S3Key: &key}}
}

// follow asks for a task until it is no longer active or deleting, and gives all that it showed of itself.
func follow(t *testing.T, client *ec2.Client, id string) (seen []types.SnapshotTaskDetail) {
	t.Helper()
	until(t, id, func() bool {
		d, err := client.DescribeImportSnapshotTasks(t.Context(), &ec2.DescribeImportSnapshotTasksInput{ImportTaskIds: []string{id}})
		if code(err) == "InvalidConversionTaskId" {
			return false
		}
		if err != nil {
			t.Fatal(err)
		}
		detail := *d.ImportSnapshotTasks[0].SnapshotTaskDetail
		seen = append(seen, detail)
		return *detail.Status != "active" && *detail.Status != "deleting"
	})
	return seen
}

func TestImportSnapshotMakesTheDiskThatWasUploaded(t *testing.T) {
	s, client, store := newAccount(t, Options{Lag: 20 * time.Millisecond, Step: 100 * time.Millisecond})
	raw := rawDisk()
	putObject(t, store, "images", "disk.vmdk", inFormat(t, raw, "disk.vmdk"))
	putObject(t, store, "images", "disk.vhd", inFormat(t, raw, "disk.vhd"))
	putObject(t, store, "images", "disk.raw", raw)
	for _, format := range []string{"VMDK", "vhd", "RAW"} {
		input := &ec2.ImportSnapshotInput{DiskContainer: diskIn(format, "disk."+strings.ToLower(format)), Description: aws.String("web"), ClientToken: aws.String(format),
			TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeImportSnapshotTask, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}}}
		started, err := client.ImportSnapshot(t.Context(), input)
		if err != nil {
			t.Fatal(err)
		}
		again, err := client.ImportSnapshot(t.Context(), input)
		if err != nil || *again.ImportTaskId != *started.ImportTaskId || !strings.HasPrefix(*started.ImportTaskId, "import-snap-") || len(started.Tags) != 1 {
			t.Errorf("%s: started %+v, again %+v, %v", format, started, again, err)
		}
		seen := follow(t, client, *started.ImportTaskId)
		last := seen[len(seen)-1]
		if *last.Status != "completed" || last.SnapshotId == nil || last.StatusMessage != nil || *last.UserBucket.S3Bucket != "images" || *last.DiskImageSize <= 0 {
			t.Fatalf("%s: %+v", format, last)
		}
		if !slices.ContainsFunc(seen, func(d types.SnapshotTaskDetail) bool { return d.Progress == nil }) || !slices.ContainsFunc(seen, func(d types.SnapshotTaskDetail) bool { return d.Progress != nil }) {
			t.Errorf("%s: progress was never or always there: %d states", format, len(seen))
		}
		got, err := s.Snapshot(*last.SnapshotId)
		if err != nil {
			t.Fatal(err)
		}
		head := make([]byte, len(raw))
		if _, err := got.ReadAt(head, 0); err != nil || !bytes.Equal(head, raw) || got.Size() != 1<<30 {
			t.Errorf("%s: other bytes, or %d of them; %v", format, got.Size(), err)
		}
		registered, err := client.RegisterImage(t.Context(), registration("web from "+format, *last.SnapshotId))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
		available(t, client, *registered.ImageId)
	}
	d, err := client.DescribeImportSnapshotTasks(t.Context(), &ec2.DescribeImportSnapshotTasksInput{Filters: []types.Filter{{Name: aws.String("task-state"), Values: []string{"completed"}}}})
	if err != nil || len(d.ImportSnapshotTasks) != 3 {
		t.Errorf("%d tasks, %v", len(d.ImportSnapshotTasks), err)
	}
	if _, err := client.DescribeImportSnapshotTasks(t.Context(), &ec2.DescribeImportSnapshotTasksInput{ImportTaskIds: []string{"import-snap-0"}}); code(err) != "InvalidConversionTaskId" {
		t.Errorf("an unknown task: %v", err)
	}
}

func TestImportsThatAWSRefusesAtOnce(t *testing.T) {
	const role = "The service role vmimport does not exist or does not have sufficient permissions for the service to continue"
	for name, c := range map[string]struct{ trust, policy, bucketRegion, object, want string }{
		"no role":          {"", "", Region, "x", role},
		"other trust":      {strings.Replace(trust, "vmie", "ec2", 1), rights, Region, "x", role},
		"other id":         {strings.Replace(trust, `"vmimport"`, `"other"`, 1), rights, Region, "x", role},
		"other bucket":     {trust, strings.ReplaceAll(rights, "s3:::images", "s3:::others"), Region, "x", role},
		"no objects":       {trust, strings.Replace(rights, `,"arn:aws:s3:::images/*"`, "", 1), Region, "x", role},
		"no ec2":           {trust, strings.Replace(rights, "ec2:Describe*", "ec2:StartInstances", 1), Region, "x", role},
		"bucket elsewhere": {trust, rights, "eu-central-1", "x", "The given S3 bucket is not local to the Region"},
		"no object":        {trust, rights, Region, "", "Invalid S3 source location"},
		"no bucket":        {trust, rights, "", "", "Invalid S3 source location"},
	} {
		t.Run(name, func(t *testing.T) {
			s := Start(t, Options{})
			if c.trust != "" {
				newRole(t, s, c.trust, c.policy)
			}
			if c.bucketRegion != "" {
				store := s3Client(s.Config(t, c.bucketRegion))
				newBucket(t, store, "images", c.bucketRegion)
				if c.object != "" {
					putObject(t, store, "images", "disk.vmdk", []byte(c.object))
				}
			}
			_, err := ec2.NewFromConfig(s.Config(t, Region)).ImportSnapshot(t.Context(), &ec2.ImportSnapshotInput{DiskContainer: diskIn("VMDK", "disk.vmdk")})
			if code(err) != "InvalidParameter" || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

func TestPoliciesMayBeAttached(t *testing.T) {
	s := Start(t, Options{})
	newRole(t, s, trust, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:*","Resource":"*"}]}`)
	client := iam.NewFromConfig(s.Config(t, Region))
	made, err := client.CreatePolicy(t.Context(), &iam.CreatePolicyInput{PolicyName: aws.String("import"),
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`)})
	if err != nil {
		t.Fatal(err)
	}
	needs := importNeeds("images", "disk.vmdk", "")
	here := place{Account, Region}
	if s.assume(here, "", needs) == nil {
		t.Error("the role may without the policy")
	}
	if _, err := client.AttachRolePolicy(t.Context(), &iam.AttachRolePolicyInput{RoleName: aws.String("vmimport"), PolicyArn: made.Policy.Arn}); err != nil {
		t.Fatal(err)
	}
	if err := s.assume(here, "vmimport", needs); err != nil {
		t.Error(err)
	}
}

func TestTasksFailWithAWSsMessages(t *testing.T) {
	s, client, store := newAccount(t, Options{})
	vmdk := inFormat(t, rawDisk(), "disk.vmdk")
	putObject(t, store, "images", "disk.vmdk", vmdk)
	putObject(t, store, "images", "cut.vmdk", vmdk[:len(vmdk)/2])
	end := func(key string) types.SnapshotTaskDetail {
		t.Helper()
		started, err := client.ImportSnapshot(t.Context(), &ec2.ImportSnapshotInput{DiskContainer: diskIn("VMDK", key)})
		if err != nil {
			t.Fatal(err)
		}
		seen := follow(t, client, *started.ImportTaskId)
		return seen[len(seen)-1]
	}
	if d := end("cut.vmdk"); *d.Status != "deleted" || *d.StatusMessage != "ClientError: Disk validation failed [Unsupported VMDK File Format]" || d.SnapshotId != nil {
		t.Errorf("cut: %s %s", *d.Status, *d.StatusMessage)
	}
	const message = "ClientError: Unknown OS / Missing OS files."
	for _, status := range []string{"deleted", "error"} {
		f := FailTask("ImportSnapshot", message)
		f.TaskStatus = status
		s.Faults.Add(f)
		if d := end("disk.vmdk"); *d.Status != status || *d.StatusMessage != message {
			t.Errorf("%s: %s %s", status, *d.Status, *d.StatusMessage)
		}
	}
	s.Faults.Add(SlowTask("ImportSnapshot", time.Hour))
	slow, err := client.ImportSnapshot(t.Context(), &ec2.ImportSnapshotInput{DiskContainer: diskIn("VMDK", "disk.vmdk")})
	if err != nil {
		t.Fatal(err)
	}
	cancelled, err := client.CancelImportTask(t.Context(), &ec2.CancelImportTaskInput{ImportTaskId: slow.ImportTaskId})
	if err != nil || *cancelled.PreviousState != "active" || *cancelled.State != "deleting" {
		t.Errorf("cancelled: %+v, %v", cancelled, err)
	}
	if d := end("disk.vmdk"); *d.Status != "completed" {
		t.Errorf("after all faults: %+v", d)
	}
}

func TestTaskQuota(t *testing.T) {
	s, client, store := newAccount(t, Options{})
	putObject(t, store, "images", "disk.raw", rawDisk())
	s.Faults.Add(Times(-1, SlowTask("ImportSnapshot", time.Hour)))
	for i := range taskQuota + 1 {
		_, err := client.ImportSnapshot(t.Context(), &ec2.ImportSnapshotInput{DiskContainer: diskIn("RAW", "disk.raw")})
		if want := map[bool]string{true: "ResourceCountExceeded"}[i == taskQuota]; code(err) != want {
			t.Fatalf("task %d: %v", i, err)
		}
	}
}

func TestExportImageWritesTheDiskIntoTheBucket(t *testing.T) {
	s, client, store := newAccount(t, Options{})
	config := s.Config(t, Region)
	registered, err := client.RegisterImage(t.Context(), registration("web", newSnapshot(t, config, 'a')))
	if err != nil {
		t.Fatal(err)
	}
	available(t, client, *registered.ImageId)
	// A raw one is 1 GiB, for which moto takes half a minute.
	for _, format := range []types.DiskImageFormat{types.DiskImageFormatVmdk, types.DiskImageFormatVhd} {
		started, err := client.ExportImage(t.Context(), &ec2.ExportImageInput{ImageId: registered.ImageId, DiskImageFormat: format,
			S3ExportLocation: &types.ExportTaskS3LocationRequest{S3Bucket: aws.String("images"), S3Prefix: aws.String("exported/")}})
		if err != nil {
			t.Fatal(err)
		}
		until(t, "export", func() bool {
			d, err := client.DescribeExportImageTasks(t.Context(), &ec2.DescribeExportImageTasksInput{ExportImageTaskIds: []string{*started.ExportImageTaskId}})
			if err != nil || *d.ExportImageTasks[0].Status == "deleted" {
				t.Fatalf("%+v, %v", d, err)
			}
			return *d.ExportImageTasks[0].Status == "completed"
		})
		key := fmt.Sprintf("exported/%s.%s", *started.ExportImageTaskId, strings.ToLower(string(format)))
		got, err := store.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("images"), Key: &key})
		if err != nil {
			t.Fatal(err)
		}
		first := make([]byte, 4)
		io.ReadFull(got.Body, first)
		got.Body.Close()
		if want := map[types.DiskImageFormat]string{"VMDK": "KDMV", "VHD": "cone"}[format]; string(first) != want {
			t.Errorf("%s begins with %q", format, first)
		}
	}
}
