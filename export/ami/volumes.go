package ami

import (
	"errors"
	"fmt"
	"slices"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ingot-image/ingot/export/distribution"
)

// BlockDevice is one entry of a recipe's block device mappings (EC2 Image Builder's InstanceBlockDeviceMapping).
type BlockDevice struct {
	DeviceName  string `json:"deviceName"`
	VirtualName string `json:"virtualName,omitempty"` // ephemeral0 and so on: an instance store volume
	// NoDevice leaves the device out. The service's value is the empty string, so that a mapping without anything else means that too.
	NoDevice string `json:"noDevice,omitempty"`
	EBS      *EBS   `json:"ebs,omitempty"`
}

// EBS is a volume (EC2 Image Builder's EbsInstanceBlockDeviceSpecification). Zero values mean EC2's defaults, except where it is said.
type EBS struct {
	VolumeSize          int    `json:"volumeSize,omitempty"` // GiB
	VolumeType          string `json:"volumeType,omitempty"` // default gp3
	IOPS                int    `json:"iops,omitempty"`
	Throughput          int    `json:"throughput,omitempty"`          // MiB/s
	DeleteOnTermination *bool  `json:"deleteOnTermination,omitempty"` // default true
	Encrypted           *bool  `json:"encrypted,omitempty"`           // of an empty volume; a snapshot decides for itself
	KMSKeyID            string `json:"kmsKeyId,omitempty"`
	SnapshotID          string `json:"snapshotId,omitempty"`
}

// rootDevices are the names that mean the disk the system starts from, on EC2 and in local VMs. The first two are EC2's.
var rootDevices = []string{"/dev/xvda", "/dev/sda1", "/dev/sda", "/dev/vda", "/dev/nvme0n1"}

// performance is what a type of volume can do (the EBS user guide's table of volume types).
type performance struct {
	minSize, maxSize int // GiB
	minIOPS, maxIOPS int // 0: cannot be set
	perGiB           int // IOPS
	required         bool
}

func performanceOf(volumeType string) (performance, bool) {
	p, ok := map[string]performance{
		"gp3":      {minSize: 1, maxSize: 65536, minIOPS: 3000, maxIOPS: 80000, perGiB: 500},
		"gp2":      {minSize: 1, maxSize: 16384},
		"io1":      {minSize: 4, maxSize: 16384, minIOPS: 100, maxIOPS: 64000, perGiB: 50, required: true},
		"io2":      {minSize: 4, maxSize: 65536, minIOPS: 100, maxIOPS: 256000, perGiB: 1000, required: true},
		"st1":      {minSize: 125, maxSize: 16384},
		"sc1":      {minSize: 125, maxSize: 16384},
		"standard": {minSize: 1, maxSize: 1024},
	}[volumeType]
	return p, ok
}

// The limits of gp3's throughput, in MiB/s: at most a quarter of it for each IOPS.
const (
	minThroughput, maxThroughput = 125, 2000
	gp3IOPS                      = 3000
	iopsPerThroughput            = 4
)

// check gives all that EC2 would refuse.
func (e EBS) check(root bool) error {
	p, known := performanceOf(e.VolumeType)
	if !known {
		return fmt.Errorf("volumeType %q is none of gp3, gp2, io1, io2, st1, sc1, standard", e.VolumeType)
	}
	var wrong []error
	mistake := func(format string, arguments ...any) { wrong = append(wrong, fmt.Errorf(format, arguments...)) }
	switch {
	case e.VolumeSize == 0 && e.SnapshotID == "":
		mistake("volumeSize is missing, and there is no snapshotId")
	case e.VolumeSize != 0 && (e.VolumeSize < p.minSize || e.VolumeSize > p.maxSize):
		mistake("volumeSize is %d GiB; a volume of type %s has %d to %d", e.VolumeSize, e.VolumeType, p.minSize, p.maxSize)
	}
	switch {
	case e.IOPS == 0 && p.required:
		mistake("iops is missing; volumes of type %s need it", e.VolumeType)
	case e.IOPS == 0:
	case p.maxIOPS == 0:
		mistake("iops cannot be set for volumes of type %s; remove it, or use gp3", e.VolumeType)
	case e.IOPS < p.minIOPS || e.IOPS > p.maxIOPS:
		mistake("iops is %d; a volume of type %s has %d to %d", e.IOPS, e.VolumeType, p.minIOPS, p.maxIOPS)
	case e.VolumeSize != 0 && e.IOPS > max(p.perGiB*e.VolumeSize, p.minIOPS):
		mistake("iops is %d; a volume of type %s and %d GiB has at most %d", e.IOPS, e.VolumeType, e.VolumeSize, p.perGiB*e.VolumeSize)
	}
	switch iops := max(e.IOPS, gp3IOPS); {
	case e.Throughput == 0:
	case e.VolumeType != "gp3":
		mistake("throughput cannot be set for volumes of type %s; remove it, or use gp3", e.VolumeType)
	case e.Throughput < minThroughput || e.Throughput > maxThroughput:
		mistake("throughput is %d MiB/s; a volume of type gp3 has %d to %d", e.Throughput, minThroughput, maxThroughput)
	case e.Throughput*iopsPerThroughput > iops:
		mistake("throughput is %d MiB/s; with %d iops it is at most %d", e.Throughput, iops, iops/iopsPerThroughput)
	}
	switch {
	case root && (e.VolumeType == "st1" || e.VolumeType == "sc1"):
		mistake("a system cannot start from a volume of type %s", e.VolumeType)
	case root: // its snapshot decides about encryption
	case e.SnapshotID != "" && (e.Encrypted != nil || e.KMSKeyID != ""):
		mistake("encrypted and kmsKeyId cannot be set together with snapshotId: a volume is encrypted as its snapshot is")
	case e.KMSKeyID != "":
		mistake("kmsKeyId cannot be registered for an empty volume: EC2 takes it when an instance is launched; " +
			"set encrypted for the account's default key, or kmsKeyId in amiDistributionConfiguration for the whole AMI")
	}
	return errors.Join(wrong...)
}

// mapping is the volume for RegisterImage.
func (e EBS) mapping() *types.EbsBlockDevice {
	b := &types.EbsBlockDevice{VolumeType: types.VolumeType(e.VolumeType), DeleteOnTermination: e.DeleteOnTermination, Encrypted: e.Encrypted}
	if b.DeleteOnTermination == nil {
		b.DeleteOnTermination = sdk.Bool(true)
	}
	for to, value := range map[**int32]int{&b.VolumeSize: e.VolumeSize, &b.Iops: e.IOPS, &b.Throughput: e.Throughput} {
		if value != 0 {
			*to = sdk.Int32(int32(value))
		}
	}
	if e.SnapshotID != "" {
		b.SnapshotId = sdk.String(e.SnapshotID)
	}
	return b
}

// mappings makes the block device mappings of an AMI: the root device with the image's snapshot first, then the recipe's other ones in order.
func mappings(root, snapshotID string, size int64, devices []BlockDevice) ([]types.BlockDeviceMapping, error) {
	volume, rootField := EBS{VolumeType: "gp3"}, "blockDeviceMappings"
	var wrong []error
	others := []types.BlockDeviceMapping{}
	seen := map[string]bool{}
	for i, d := range devices {
		mistake := func(err error) {
			if d.DeviceName != "" {
				err = fmt.Errorf("%s: %w", d.DeviceName, err)
			}
			wrong = append(wrong, &distribution.Mistake{Field: fmt.Sprintf("blockDeviceMappings[%d]", i), Err: err})
		}
		isRoot := d.DeviceName == root || slices.Contains(rootDevices, d.DeviceName)
		name := d.DeviceName
		if isRoot {
			name = root
		}
		switch {
		case d.DeviceName == "":
			mistake(errors.New("deviceName is missing"))
			continue
		case seen[name]:
			mistake(errors.New("the device is mapped twice"))
			continue
		case d.NoDevice != "" && (d.EBS != nil || d.VirtualName != ""), d.EBS != nil && d.VirtualName != "":
			mistake(errors.New("give one of ebs, virtualName and noDevice"))
			continue
		}
		seen[name] = true
		switch {
		case isRoot && (d.NoDevice != "" || d.VirtualName != ""):
			mistake(errors.New("it is the root device and needs a volume"))
		case isRoot && d.EBS != nil:
			volume, rootField = *d.EBS, fmt.Sprintf("blockDeviceMappings[%d]", i)
		case isRoot:
		case d.EBS != nil:
			e := *d.EBS
			if e.VolumeType == "" {
				e.VolumeType = "gp3"
			}
			if err := e.check(false); err != nil {
				mistake(err)
			}
			others = append(others, types.BlockDeviceMapping{DeviceName: sdk.String(d.DeviceName), Ebs: e.mapping()})
		case d.VirtualName != "":
			others = append(others, types.BlockDeviceMapping{DeviceName: sdk.String(d.DeviceName), VirtualName: sdk.String(d.VirtualName)})
		default:
			others = append(others, types.BlockDeviceMapping{DeviceName: sdk.String(d.DeviceName), NoDevice: sdk.String("")})
		}
	}
	if volume.VolumeType == "" {
		volume.VolumeType = "gp3"
	}
	volume.SnapshotID, volume.Encrypted, volume.KMSKeyID = snapshotID, nil, "" // the image's snapshot is what it is
	volume.VolumeSize = max(volume.VolumeSize, int(size))
	if err := volume.check(true); err != nil {
		wrong = append(wrong, &distribution.Mistake{Field: rootField, Err: fmt.Errorf("root device %s: %w", root, err)})
	}
	return append([]types.BlockDeviceMapping{{DeviceName: &root, Ebs: volume.mapping()}}, others...), errors.Join(wrong...)
}

// rootDevice is the name of the root device: the one asked for, that of the recipe if EC2 has such a one, or /dev/xvda.
func rootDevice(asked string, devices []BlockDevice) string {
	if asked != "" {
		return asked
	}
	for _, d := range devices {
		if slices.Contains(rootDevices[:2], d.DeviceName) {
			return d.DeviceName
		}
	}
	return rootDevices[0]
}
