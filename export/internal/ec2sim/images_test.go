package ec2sim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// until asks until something is so, or the test fails.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

// newSnapshot writes a snapshot of 1 GiB whose first block is full of a byte.
func newSnapshot(t *testing.T, c aws.Config, fill byte) string {
	t.Helper()
	client := ebs.NewFromConfig(c)
	started, err := client.StartSnapshot(t.Context(), &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1)})
	if err != nil {
		t.Fatal(err)
	}
	block := bytes.Repeat([]byte{fill}, 512<<10)
	sum := sha256.Sum256(block)
	if _, err := client.PutSnapshotBlock(t.Context(), &ebs.PutSnapshotBlockInput{SnapshotId: started.SnapshotId, BlockIndex: aws.Int32(0), BlockData: bytes.NewReader(block),
		DataLength: aws.Int32(512 << 10), Checksum: aws.String(base64.StdEncoding.EncodeToString(sum[:])), ChecksumAlgorithm: ebstypes.ChecksumAlgorithmChecksumAlgorithmSha256}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CompleteSnapshot(t.Context(), &ebs.CompleteSnapshotInput{SnapshotId: started.SnapshotId, ChangedBlocksCount: aws.Int32(1)}); err != nil {
		t.Fatal(err)
	}
	until(t, "snapshot "+*started.SnapshotId, func() bool {
		d, err := ec2.NewFromConfig(c).DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{*started.SnapshotId}})
		if err != nil {
			t.Fatal(err)
		}
		return d.Snapshots[0].State == types.SnapshotStateCompleted
	})
	return *started.SnapshotId
}

func registration(name, snapshot string) *ec2.RegisterImageInput {
	return &ec2.RegisterImageInput{Name: &name, Architecture: types.ArchitectureValuesX8664, RootDeviceName: aws.String("/dev/xvda"), VirtualizationType: aws.String("hvm"),
		EnaSupport: aws.Bool(true), BootMode: types.BootModeValuesUefi, TpmSupport: types.TpmSupportValuesV20, ImdsSupport: types.ImdsSupportValuesV20,
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsBlockDevice{SnapshotId: &snapshot, VolumeType: types.VolumeTypeGp3, VolumeSize: aws.Int32(8)}}},
		TagSpecifications:   []types.TagSpecification{{ResourceType: types.ResourceTypeImage, Tags: []types.Tag{{Key: aws.String("Build"), Value: aws.String("7")}}}}}
}

func describe(t *testing.T, client *ec2.Client, id string) types.Image {
	t.Helper()
	d, err := client.DescribeImages(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{id}})
	if err != nil || len(d.Images) != 1 {
		t.Fatalf("describe %s: %v, %v", id, d, err)
	}
	return d.Images[0]
}

func available(t *testing.T, client *ec2.Client, id string) types.Image {
	t.Helper()
	until(t, id, func() bool { return describe(t, client, id).State == types.ImageStateAvailable })
	return describe(t, client, id)
}

func TestImagesAreWhatTheyWereRegisteredAs(t *testing.T) {
	s := Start(t, Options{Lag: time.Second})
	config := s.Config(t, Region)
	client := ec2.NewFromConfig(config)
	snapshot := newSnapshot(t, config, 'a')
	registered, err := client.RegisterImage(t.Context(), registration("web 1", snapshot))
	if err != nil {
		t.Fatal(err)
	}
	id := *registered.ImageId
	if _, err := client.DescribeImages(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{id}}); code(err) != "InvalidAMIID.NotFound" {
		t.Errorf("seen at once: %v", err)
	}
	time.Sleep(time.Second)
	i := available(t, client, id)
	root := i.BlockDeviceMappings[0].Ebs
	got := fmt.Sprint(*i.Name, i.Architecture, i.BootMode, i.TpmSupport, i.ImdsSupport, *i.EnaSupport, *i.RootDeviceName, *root.SnapshotId == snapshot, *root.VolumeSize, root.VolumeType,
		*root.DeleteOnTermination, *i.OwnerId, *i.Tags[0].Key, *i.Tags[0].Value)
	if want := fmt.Sprint("web 1", "x86_64", "uefi", "v2.0", "v2.0", true, "/dev/xvda", true, 8, "gp3", true, Account, "Build", "7"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for name, filters := range map[string][]types.Filter{
		"name":  {{Name: aws.String("name"), Values: []string{"web*"}}},
		"tag":   {{Name: aws.String("tag:Build"), Values: []string{"6", "7"}}, {Name: aws.String("state"), Values: []string{"available"}}},
		"other": {{Name: aws.String("name"), Values: []string{"db*"}}},
	} {
		d, err := client.DescribeImages(t.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: filters})
		if err != nil || (len(d.Images) == 1) != (name != "other") {
			t.Errorf("filter %s: %d images, %v", name, len(d.Images), err)
		}
	}
	if _, err := client.DeleteSnapshot(t.Context(), &ec2.DeleteSnapshotInput{SnapshotId: &snapshot}); code(err) != "InvalidSnapshot.InUse" {
		t.Errorf("delete a snapshot in use: %v", err)
	}
}

func TestWrongRegistrationsAreRefused(t *testing.T) {
	s := Start(t, Options{})
	config := s.Config(t, Region)
	client := ec2.NewFromConfig(config)
	snapshot := newSnapshot(t, config, 'a')
	if _, err := client.RegisterImage(t.Context(), registration("taken", snapshot)); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*ec2.RegisterImageInput){
		"InvalidAMIName.Duplicate":    func(r *ec2.RegisterImageInput) { r.Name = aws.String("taken") },
		"InvalidAMIName.Malformed":    func(r *ec2.RegisterImageInput) { r.Name = aws.String("a:b") },
		"InvalidSnapshot.NotFound":    func(r *ec2.RegisterImageInput) { r.BlockDeviceMappings[0].Ebs.SnapshotId = aws.String("snap-0") },
		"InvalidBlockDeviceMapping":   func(r *ec2.RegisterImageInput) { r.RootDeviceName = aws.String("/dev/sda1") },
		"InvalidParameterCombination": func(r *ec2.RegisterImageInput) { r.BootMode = types.BootModeValuesLegacyBios },
		"InvalidParameterValue":       func(r *ec2.RegisterImageInput) { r.UefiData = aws.String("?") },
		"DryRunOperation":             func(r *ec2.RegisterImageInput) { r.DryRun = aws.Bool(true) },
	} {
		r := registration("new", snapshot)
		change(r)
		if _, err := client.RegisterImage(t.Context(), r); code(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestCopiesHaveTheBytesAndMaySitInOtherAccounts(t *testing.T) {
	s := Start(t, Options{})
	const other, there = "210987654321", "us-east-1"
	config := s.Config(t, Region)
	client, far := ec2.NewFromConfig(config), ec2.NewFromConfig(s.Config(t, there))
	snapshot := newSnapshot(t, config, 'a')
	registered, err := client.RegisterImage(t.Context(), registration("web", snapshot))
	if err != nil {
		t.Fatal(err)
	}
	input := &ec2.CopyImageInput{Name: aws.String("web"), SourceImageId: registered.ImageId, SourceRegion: aws.String(Region), ClientToken: aws.String("once"), CopyImageTags: aws.Bool(true)}
	available(t, client, *registered.ImageId)
	key, err := kms.NewFromConfig(s.Config(t, there)).CreateKey(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	input.Encrypted, input.KmsKeyId = aws.Bool(true), key.KeyMetadata.Arn
	copied, err := far.CopyImage(t.Context(), input)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := far.CopyImage(t.Context(), input); err != nil || *again.ImageId != *copied.ImageId {
		t.Errorf("the same client token: %v, %v; want %s", again, err, *copied.ImageId)
	}
	i := available(t, far, *copied.ImageId)
	root := i.BlockDeviceMappings[0].Ebs
	if *i.SourceImageId != *registered.ImageId || !*root.Encrypted || *root.KmsKeyId != *key.KeyMetadata.Arn || len(i.Tags) != 1 || *root.SnapshotId == snapshot {
		t.Errorf("copied: %+v %+v", i, root)
	}
	disk, err := s.Snapshot(*root.SnapshotId)
	if err != nil {
		t.Fatal(err)
	}
	var first [2]byte
	if _, err := disk.ReadAt(first[:], 512<<10-1); err != nil || first != [2]byte{'a', 0} || disk.Size() != 1<<30 {
		t.Errorf("the copy's bytes: %q, %v", first, err)
	}

	input = &ec2.CopyImageInput{Name: aws.String("broken"), SourceImageId: registered.ImageId, SourceRegion: aws.String(Region), Encrypted: aws.Bool(true), KmsKeyId: aws.String("alias/none")}
	if copied, err = far.CopyImage(t.Context(), input); err != nil {
		t.Fatal(err)
	}
	until(t, "failure", func() bool { return describe(t, far, *copied.ImageId).State == types.ImageStateFailed })
	if describe(t, far, *copied.ImageId).StateReason == nil {
		t.Error("no reason")
	}
	again := &ec2.CopyImageInput{Name: aws.String("again"), SourceImageId: copied.ImageId, SourceRegion: aws.String(there)}
	if _, err := far.CopyImage(t.Context(), again); code(err) != "IncorrectState" {
		t.Errorf("copy of an image that failed: %v", err)
	}

	them := ec2.NewFromConfig(s.AccountConfig(t, there, other))
	share := &ec2.CopyImageInput{Name: aws.String("theirs"), SourceImageId: registered.ImageId, SourceRegion: aws.String(Region)}
	if _, err := them.CopyImage(t.Context(), share); code(err) != "InvalidAMIID.NotFound" {
		t.Errorf("copy of another account's image: %v", err)
	}
	if _, err := client.ModifyImageAttribute(t.Context(), &ec2.ModifyImageAttributeInput{ImageId: registered.ImageId, LaunchPermission: &types.LaunchPermissionModifications{
		Add: []types.LaunchPermission{{UserId: aws.String(other)}}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := them.CopyImage(t.Context(), share); code(err) != "InvalidRequest" {
		t.Errorf("copy without its storage: %v", err)
	}
	if _, err := client.ModifySnapshotAttribute(t.Context(), &ec2.ModifySnapshotAttributeInput{SnapshotId: &snapshot, Attribute: types.SnapshotAttributeNameCreateVolumePermission,
		OperationType: types.OperationTypeAdd, UserIds: []string{other}}); err != nil {
		t.Fatal(err)
	}
	if copied, err = them.CopyImage(t.Context(), share); err != nil {
		t.Fatal(err)
	}
	if i := available(t, them, *copied.ImageId); *i.OwnerId != other {
		t.Errorf("their copy is %s's", *i.OwnerId)
	}
}

func TestAttributesOfImages(t *testing.T) {
	s := Start(t, Options{})
	config := s.Config(t, Region)
	client := ec2.NewFromConfig(config)
	registered, err := client.RegisterImage(t.Context(), registration("web", newSnapshot(t, config, 'a')))
	if err != nil {
		t.Fatal(err)
	}
	id := registered.ImageId
	available(t, client, *id)
	share := func(p types.LaunchPermission) error {
		_, err := client.ModifyImageAttribute(t.Context(), &ec2.ModifyImageAttributeInput{ImageId: id, LaunchPermission: &types.LaunchPermissionModifications{Add: []types.LaunchPermission{p}}})
		return err
	}
	organization := "arn:aws:organizations::123456789012:organization/o-abcdefghij"
	if err := share(types.LaunchPermission{OrganizationArn: &organization}); err != nil {
		t.Error(err)
	}
	if err := share(types.LaunchPermission{UserId: aws.String("12")}); code(err) != "InvalidAMIAttributeItemValue" {
		t.Errorf("a wrong account: %v", err)
	}
	// The form of the request that has lists.
	if _, err := client.ModifyImageAttribute(t.Context(), &ec2.ModifyImageAttributeInput{ImageId: id, Attribute: aws.String("launchPermission"),
		OperationType: types.OperationTypeAdd, UserGroups: []string{"all"}}); err != nil {
		t.Error(err)
	}
	attribute, err := client.DescribeImageAttribute(t.Context(), &ec2.DescribeImageAttributeInput{ImageId: id, Attribute: types.ImageAttributeNameLaunchPermission})
	if err != nil || len(attribute.LaunchPermissions) != 2 || *attribute.LaunchPermissions[0].OrganizationArn != organization || attribute.LaunchPermissions[1].Group != "all" {
		t.Errorf("permissions: %+v, %v", attribute, err)
	}
	when := time.Now().AddDate(0, 0, 90)
	if _, err := client.EnableImageDeprecation(t.Context(), &ec2.EnableImageDeprecationInput{ImageId: id, DeprecateAt: &when}); err != nil {
		t.Error(err)
	}
	past := time.Now().AddDate(0, 0, -1)
	if _, err := client.EnableImageDeprecation(t.Context(), &ec2.EnableImageDeprecationInput{ImageId: id, DeprecateAt: &past}); code(err) != "InvalidParameterValue" {
		t.Errorf("deprecation in the past: %v", err)
	}
	if _, err := client.EnableImageDeregistrationProtection(t.Context(), &ec2.EnableImageDeregistrationProtectionInput{ImageId: id}); err != nil {
		t.Error(err)
	}
	i := describe(t, client, *id)
	at, err := time.Parse(time.RFC3339, aws.ToString(i.DeprecationTime))
	if err != nil || at.Sub(when).Abs() > time.Minute || !*i.Public || aws.ToString(i.DeregistrationProtection) != "enabled-without-cooldown" {
		t.Errorf("image %+v, deprecated at %v, %v", i, at, err)
	}
	if _, err := client.DeregisterImage(t.Context(), &ec2.DeregisterImageInput{ImageId: id}); code(err) != "OperationNotPermitted" {
		t.Errorf("deregister a protected image: %v", err)
	}
}

func TestVersionsOfLaunchTemplatesInheritTheirSources(t *testing.T) {
	s := Start(t, Options{})
	client := ec2.NewFromConfig(s.Config(t, Region))
	made, err := client.CreateLaunchTemplate(t.Context(), &ec2.CreateLaunchTemplateInput{LaunchTemplateName: aws.String("web"),
		LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: aws.String("ami-1"), InstanceType: types.InstanceTypeT3Micro, SecurityGroupIds: []string{"sg-1", "sg-2"}}})
	if err != nil {
		t.Fatal(err)
	}
	var numbers []int64
	for range 2 {
		version, err := client.CreateLaunchTemplateVersion(context.Background(), &ec2.CreateLaunchTemplateVersionInput{LaunchTemplateId: made.LaunchTemplate.LaunchTemplateId,
			SourceVersion: aws.String("1"), ClientToken: aws.String("once"), LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: aws.String("ami-2")}})
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, *version.LaunchTemplateVersion.VersionNumber)
	}
	versions, err := client.DescribeLaunchTemplateVersions(t.Context(), &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: made.LaunchTemplate.LaunchTemplateId, Versions: []string{"2"}})
	if err != nil {
		t.Fatal(err)
	}
	data := versions.LaunchTemplateVersions[0].LaunchTemplateData
	if *data.ImageId != "ami-2" || data.InstanceType != types.InstanceTypeT3Micro || !slices.Equal(data.SecurityGroupIds, []string{"sg-1", "sg-2"}) || !slices.Equal(numbers, []int64{2, 2}) {
		t.Errorf("version %v: %+v", numbers, data)
	}
}
