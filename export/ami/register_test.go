package ami

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/ingot-image/ingot/export/distribution"
)

// region answers as EC2 does to what Register asks: names are there once.
type region struct {
	images []types.Image
	tagged map[string][]types.Tag
	calls  []string
	last   *ec2.RegisterImageInput
	// lost makes RegisterImage do its work and lose the answer, as a request does that is sent again.
	lost bool
}

func (r *region) RegisterImage(_ context.Context, in *ec2.RegisterImageInput, _ ...func(*ec2.Options)) (*ec2.RegisterImageOutput, error) {
	r.calls, r.last = append(r.calls, "RegisterImage"), in
	for _, i := range r.images {
		if *i.Name == *in.Name {
			return nil, &smithy.GenericAPIError{Code: duplicateName, Message: "AMI name web is already in use by AMI ami-1"}
		}
	}
	i := types.Image{ImageId: sdk.String(fmt.Sprintf("ami-%d", len(r.images)+1)), Name: in.Name, State: types.ImageStateAvailable,
		BlockDeviceMappings: in.BlockDeviceMappings}
	for _, s := range in.TagSpecifications {
		i.Tags = append(i.Tags, s.Tags...)
	}
	r.images = append(r.images, i)
	if r.lost {
		return nil, &smithy.GenericAPIError{Code: duplicateName}
	}
	return &ec2.RegisterImageOutput{ImageId: i.ImageId}, nil
}

func (r *region) DescribeImages(_ context.Context, in *ec2.DescribeImagesInput, _ ...func(*ec2.Options)) (*ec2.DescribeImagesOutput, error) {
	out := &ec2.DescribeImagesOutput{}
	for _, i := range r.images {
		if slices.Contains(in.ImageIds, *i.ImageId) || len(in.Filters) == 1 && in.Filters[0].Values[0] == *i.Name {
			out.Images = append(out.Images, i)
		}
	}
	return out, nil
}

func (r *region) DescribeSnapshots(_ context.Context, in *ec2.DescribeSnapshotsInput, _ ...func(*ec2.Options)) (*ec2.DescribeSnapshotsOutput, error) {
	out := &ec2.DescribeSnapshotsOutput{}
	for _, id := range in.SnapshotIds {
		out.Snapshots = append(out.Snapshots, types.Snapshot{SnapshotId: &id, Tags: r.tagged[id]})
	}
	return out, nil
}

func (r *region) CreateTags(_ context.Context, in *ec2.CreateTagsInput, _ ...func(*ec2.Options)) (*ec2.CreateTagsOutput, error) {
	r.calls = append(r.calls, "CreateTags "+strings.Join(in.Resources, " "))
	if r.tagged == nil {
		r.tagged = map[string][]types.Tag{}
	}
	for _, id := range in.Resources {
		r.tagged[id] = append(r.tagged[id], in.Tags...)
	}
	return &ec2.CreateTagsOutput{}, nil
}

// memory is a record that is lost with the process.
type memory map[string]string

func (m memory) Get(key string, v any) (bool, error) {
	text, found := m[key]
	if !found {
		return false, nil
	}
	return true, json.Unmarshal([]byte(text), v)
}

func (m memory) Put(key string, v any) error {
	data, err := json.Marshal(v)
	m[key] = string(data)
	return err
}

func (m memory) Delete(key string) error { delete(m, key); return nil }

func web() RegisterOptions {
	return RegisterOptions{Name: "web", SnapshotID: "snap-1", VolumeSizeGiB: 4, Tags: map[string]string{"Team": "web"},
		Registration: distribution.Registration{Architecture: "x86_64", BootMode: "uefi", TPMSupport: "v2.0"},
		UEFIData:     base64.StdEncoding.EncodeToString([]byte("AMZNUEFI")),
		BlockDevices: []BlockDevice{
			{DeviceName: "/dev/sda", EBS: &EBS{VolumeSize: 20, IOPS: 4000, Throughput: 500, Encrypted: sdk.Bool(true)}},
			{DeviceName: "/dev/sdb", EBS: &EBS{VolumeSize: 100, VolumeType: "io2", IOPS: 1000, Encrypted: sdk.Bool(true), DeleteOnTermination: sdk.Bool(false)}},
			{DeviceName: "/dev/sdc", EBS: &EBS{SnapshotID: "snap-2"}},
			{DeviceName: "/dev/sdd", VirtualName: "ephemeral0"},
			{DeviceName: "/dev/sde"},
		}}
}

func TestRegister(t *testing.T) {
	r, o := &region{}, web()
	o.Record = memory{}
	id, err := Register(t.Context(), r, o)
	if err != nil || id != "ami-1" {
		t.Fatalf("%s, %v", id, err)
	}
	sent, err := json.Marshal(r.last)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"Name":"web"`, `"Architecture":"x86_64"`, `"BootMode":"uefi"`, `"EnaSupport":true`, `"ImdsSupport":"v2.0"`, `"TpmSupport":"v2.0"`,
		`"RootDeviceName":"/dev/xvda"`, `"VirtualizationType":"hvm"`, `"UefiData":"QU1aTlVFRkk="`,
	} {
		if !strings.Contains(string(sent), want) {
			t.Errorf("%s is not in %s", want, sent)
		}
	}
	yes, no := sdk.Bool(true), sdk.Bool(false)
	want, _ := json.Marshal([]types.BlockDeviceMapping{
		{DeviceName: sdk.String("/dev/xvda"), Ebs: &types.EbsBlockDevice{SnapshotId: sdk.String("snap-1"), VolumeSize: sdk.Int32(20), VolumeType: "gp3",
			Iops: sdk.Int32(4000), Throughput: sdk.Int32(500), DeleteOnTermination: yes}},
		{DeviceName: sdk.String("/dev/sdb"), Ebs: &types.EbsBlockDevice{VolumeSize: sdk.Int32(100), VolumeType: "io2", Iops: sdk.Int32(1000), Encrypted: yes,
			DeleteOnTermination: no}},
		{DeviceName: sdk.String("/dev/sdc"), Ebs: &types.EbsBlockDevice{SnapshotId: sdk.String("snap-2"), VolumeType: "gp3", DeleteOnTermination: yes}},
		{DeviceName: sdk.String("/dev/sdd"), VirtualName: sdk.String("ephemeral0")},
		{DeviceName: sdk.String("/dev/sde"), NoDevice: sdk.String("")},
	})
	if got, _ := json.Marshal(r.last.BlockDeviceMappings); string(got) != string(want) {
		t.Errorf("mappings\n%s, want\n%s", got, want)
	}
	if got := strings.Join(r.calls, ", "); got != "RegisterImage, CreateTags snap-1" {
		t.Errorf("sent %s", got)
	}
	for _, o.Record = range []Record{o.Record, memory{}, nil} { // with the record, with a lost one, with none
		r.calls = nil
		if id, err := Register(t.Context(), r, o); id != "ami-1" || err != nil || len(r.calls) > 0 {
			t.Errorf("again: %s, %v, sent %v", id, err, r.calls)
		}
	}
}

func TestRegisterWhoseAnswerWasLost(t *testing.T) {
	r := &region{lost: true}
	if id, err := Register(t.Context(), r, web()); id != "ami-1" || err != nil {
		t.Errorf("%s, %v", id, err)
	}
}

func TestRegisterANameThatIsTaken(t *testing.T) {
	r := &region{images: []types.Image{{ImageId: sdk.String("ami-9"), Name: sdk.String("web")}}}
	_, err := Register(t.Context(), r, web())
	if err == nil || !strings.Contains(err.Error(), "taken by ami-9, which has another snapshot; choose another one") {
		t.Error(err)
	}
}

func TestValidateRegistration(t *testing.T) {
	for want, change := range map[string]func(*RegisterOptions){
		"registration.tpmSupport: it needs an AMI that boots by uefi": func(o *RegisterOptions) { o.Registration.BootMode = "uefi-preferred" },
		"boot by uefi only": func(o *RegisterOptions) {
			o.Registration.Architecture, o.Registration.BootMode = "arm64", "legacy-bios"
		},
		`registration.architecture: "i386" is neither`: func(o *RegisterOptions) { o.Registration.Architecture = "i386" },
		`registration.bootMode: "bios" is none of`:     func(o *RegisterOptions) { o.Registration.BootMode = "bios" },
		`registration.imdsSupport: "v1.0" is neither`:  func(o *RegisterOptions) { o.Registration.IMDSSupport = "v1.0" },
		`registration.tpmSupport: "v1.2" is not v2.0`:  func(o *RegisterOptions) { o.Registration.TPMSupport = "v1.2" },
		"registration.uefiData: it is not base64":      func(o *RegisterOptions) { o.UEFIData = "!" },
		"registration.uefiData: it needs an AMI":       func(o *RegisterOptions) { o.Registration.BootMode = "legacy-bios" },
		`"sda" does not begin with /dev/`:              func(o *RegisterOptions) { o.Registration.RootDeviceName = "sda" },
		"description: it has more than 255":            func(o *RegisterOptions) { o.Description = strings.Repeat("ä", 256) },
		"begins with aws:":                             func(o *RegisterOptions) { o.Tags = map[string]string{"aws:x": ""} },
		"blockDeviceMappings[5]: /dev/sda1: the device is mapped": func(o *RegisterOptions) {
			o.BlockDevices = append(o.BlockDevices, BlockDevice{DeviceName: "/dev/sda1"})
		},
		"it is the root device": func(o *RegisterOptions) {
			o.BlockDevices = []BlockDevice{{DeviceName: "/dev/xvda", VirtualName: "ephemeral0"}}
		},
		"give one of ebs":                   func(o *RegisterOptions) { o.BlockDevices[1].VirtualName = "ephemeral0" },
		"volumeSize is missing":             func(o *RegisterOptions) { o.BlockDevices[1].EBS.VolumeSize = 0 },
		"has 4 to 65536":                    func(o *RegisterOptions) { o.BlockDevices[1].EBS.VolumeSize = 3 },
		"iops is missing":                   func(o *RegisterOptions) { o.BlockDevices[1].EBS.IOPS = 0 },
		"iops cannot be set":                func(o *RegisterOptions) { o.BlockDevices[1].EBS.VolumeType = "gp2" },
		"has 3000 to 80000":                 func(o *RegisterOptions) { o.BlockDevices[1].EBS.VolumeType = "gp3" },
		"has at most 10000":                 func(o *RegisterOptions) { o.BlockDevices[0].EBS.IOPS = 10001 },
		"throughput cannot be set":          func(o *RegisterOptions) { o.BlockDevices[1].EBS.Throughput = 125 },
		"throughput is 2001 MiB/s":          func(o *RegisterOptions) { o.BlockDevices[0].EBS.Throughput = 2001 },
		"with 4000 iops it is at most 1000": func(o *RegisterOptions) { o.BlockDevices[0].EBS.Throughput = 1001 },
		"cannot start from":                 func(o *RegisterOptions) { o.BlockDevices[0].EBS = &EBS{VolumeSize: 125, VolumeType: "sc1"} },
		"together with snapshotId":          func(o *RegisterOptions) { o.BlockDevices[2].EBS.Encrypted = sdk.Bool(false) },
		"kmsKeyId cannot be registered":     func(o *RegisterOptions) { o.BlockDevices[1].EBS.KMSKeyID = "alias/web" },
		`volumeType "ssd" is none of`:       func(o *RegisterOptions) { o.BlockDevices[2].EBS.VolumeType = "ssd" },
	} {
		o := web()
		change(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
	if err := web().Validate(); err != nil {
		t.Error(err)
	}
}
