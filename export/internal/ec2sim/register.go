package ec2sim

import (
	"cmp"
	"encoding/base64"
	"regexp"
	"slices"
	"time"

	"github.com/ingot-image/ingot/export/internal/ec2sim/ebs"
)

// imageName is what AMIs may be called (RegisterImage, Name).
var imageName = regexp.MustCompile(`^[A-Za-z0-9()\[\] ./\-'@_]{3,128}$`)

// freeName refuses a name that is no name, or one that another image of the place has. The server is locked.
func (s *Server) freeName(p place, name string) error {
	if name == "" {
		return refuse("MissingParameter", "The request must contain the parameter Name")
	}
	if !imageName.MatchString(name) {
		return refuse("InvalidAMIName.Malformed", "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, "+
			"parentheses (()), square brackets ([]), spaces ( ), periods (.), slashes (/), dashes (-), single quotes ('), at-signs (@), or underscores(_)")
	}
	for _, i := range s.images {
		if i.place == p && i.name == name {
			return refuse("InvalidAMIName.Duplicate", "AMI name %s is already in use by AMI %s", name, i.id)
		}
	}
	return nil
}

// add takes an image in under the id that moto gives it, unless its name is in use.
func (s *Server) add(i *amiImage, tags map[string]string) error {
	id, err := s.motoImage(i.place, i.name)
	if err != nil {
		return err
	}
	if err := s.tag(i.place, id, tags); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.freeName(i.place, i.name); err != nil {
		return err
	}
	i.id, i.created, i.protection = id, time.Now(), "disabled"
	i.hidden = i.created.Add(s.options.Lag)
	s.images[id] = i
	return nil
}

func (s *Server) registerImage(c *call) ([]element, error) {
	f := c.form
	i := &amiImage{place: c.place(), name: f.get("Name"), description: f.get("Description"), state: "pending",
		architecture: cmp.Or(f.get("Architecture"), "x86_64"), bootMode: f.get("BootMode"), tpm: f.get("TpmSupport"), imds: f.get("ImdsSupport"),
		uefiData: f.get("UefiData"), virtualization: cmp.Or(f.get("VirtualizationType"), "paravirtual"), rootDevice: f.get("RootDeviceName"),
		ena: f.flag("EnaSupport")}
	s.mu.Lock()
	err := s.freeName(i.place, i.name)
	s.mu.Unlock()
	if err == nil {
		err = i.check()
	}
	for _, mapping := range f.subs("BlockDeviceMapping") {
		var d device
		if err == nil {
			d, err = s.newDevice(i.place, mapping)
		}
		i.devices = append(i.devices, d)
	}
	if err == nil && !slices.ContainsFunc(i.devices, func(d device) bool { return d.name == i.rootDevice && d.snapshot != "" }) {
		err = refuse("InvalidBlockDeviceMapping", "The root device %s has no snapshot in the block device mapping", i.rootDevice)
	}
	if err != nil {
		return nil, err
	}
	if i.architecture == "arm64" {
		i.bootMode = "uefi"
	}
	if err := s.add(i, f.tags("image")); err != nil {
		return nil, err
	}
	s.later(func() { s.finish(i, "") })
	return []element{text("imageId", i.id)}, nil
}

// finish makes an image available, or failed for a reason.
func (s *Server) finish(i *amiImage, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i.state = "available"; reason != "" {
		i.state, i.stateReason = "failed", reason
	}
}

// check refuses what does not go together (RegisterImage; EC2 user guide, "Boot modes" and "NitroTPM").
func (i *amiImage) check() error {
	uefi := i.bootMode == "uefi" || i.bootMode == "uefi-preferred" || i.architecture == "arm64"
	oneOf := func(name, value string, allowed ...string) error {
		if !slices.Contains(allowed, value) {
			return refuse("InvalidParameterValue", "Value (%s) for parameter %s is invalid.", value, name)
		}
		return nil
	}
	_, notBase64 := base64.StdEncoding.DecodeString(i.uefiData)
	err := cmp.Or(oneOf("architecture", i.architecture, "i386", "x86_64", "arm64", "x86_64_mac", "arm64_mac"),
		oneOf("bootMode", i.bootMode, "", "legacy-bios", "uefi", "uefi-preferred"),
		oneOf("tpmSupport", i.tpm, "", "v2.0"),
		oneOf("imdsSupport", i.imds, "", "v2.0"),
		oneOf("virtualizationType", i.virtualization, "hvm", "paravirtual"))
	switch {
	case err != nil:
		return err
	case i.architecture == "arm64" && i.bootMode != "" && i.bootMode != "uefi":
		return refuse("InvalidParameterCombination", "The boot mode %s is not supported for the architecture arm64", i.bootMode)
	case i.virtualization != "hvm" && (uefi || i.ena || i.architecture == "arm64"):
		return refuse("InvalidParameterCombination", "Boot mode uefi, the architecture arm64 and enhanced networking are supported for hvm images only")
	case i.tpm != "" && i.bootMode != "uefi" && i.architecture != "arm64":
		return refuse("InvalidParameterCombination", "tpmSupport v2.0 requires the boot mode uefi")
	case i.uefiData != "" && !uefi:
		return refuse("InvalidParameterCombination", "uefiData requires the boot mode uefi or uefi-preferred")
	case notBase64 != nil:
		return refuse("InvalidParameterValue", "uefiData is not valid base64")
	case i.rootDevice == "":
		return refuse("MissingParameter", "The request must contain the parameter RootDeviceName")
	}
	return nil
}

// newDevice reads a block device mapping. Sizes and kinds are those of the volumes that EBS has (EbsBlockDevice).
func (s *Server) newDevice(p place, f form) (device, error) {
	d := device{name: f.get("DeviceName"), virtual: f.get("VirtualName"), none: f.given("NoDevice")}
	if d.name == "" {
		return d, refuse("InvalidBlockDeviceMapping", "A block device mapping has no device name")
	}
	if !f.given("Ebs") {
		return d, nil
	}
	volume := f.sub("Ebs")
	d.snapshot, d.sizeGiB, d.kind = volume.get("SnapshotId"), volume.number("VolumeSize"), cmp.Or(volume.get("VolumeType"), "standard")
	d.iops, d.throughput, d.keep = volume.number("Iops"), volume.number("Throughput"), volume.get("DeleteOnTermination") == "false"
	d.encrypted, d.kmsKey = volume.flag("Encrypted"), volume.get("KmsKeyId")
	if d.snapshot != "" {
		snapshot, found := s.blocks(p).Snapshot(d.snapshot)
		switch {
		case !found:
			return d, refuse("InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", d.snapshot)
		case snapshot.State != ebs.Completed:
			return d, refuse("IncorrectState", "Snapshot '%s' is not in the 'completed' state.", d.snapshot)
		case volume.given("Encrypted") || d.kmsKey != "":
			return d, refuse("InvalidBlockDeviceMapping", "You cannot specify the encrypted flag if specifying a snapshot id in a block device mapping.")
		case d.sizeGiB != 0 && d.sizeGiB < snapshot.VolumeSizeGiB:
			return d, refuse("InvalidBlockDeviceMapping", "Volume of size %dGB is smaller than snapshot '%s', expect size >= %dGB",
				d.sizeGiB, d.snapshot, snapshot.VolumeSizeGiB)
		}
		d.sizeGiB, d.encrypted, d.kmsKey = cmp.Or(d.sizeGiB, snapshot.VolumeSizeGiB), snapshot.Encrypted, snapshot.KMSKeyARN
	}
	limit := map[string]int64{"standard": 1 << 10, "gp2": 16 << 10, "gp3": 64 << 10, "io1": 16 << 10, "io2": 64 << 10, "st1": 16 << 10, "sc1": 16 << 10}[d.kind]
	switch provisioned := d.kind == "io1" || d.kind == "io2"; {
	case limit == 0:
		return d, refuse("InvalidParameterValue", "Invalid volume type: %s", d.kind)
	case d.sizeGiB < 1 || d.sizeGiB > limit:
		return d, refuse("InvalidBlockDeviceMapping", "The volume size %d of %s is invalid for %s volumes", d.sizeGiB, d.name, d.kind)
	case provisioned && d.iops == 0:
		return d, refuse("InvalidBlockDeviceMapping", "The parameter iops must be specified for %s volumes", d.kind)
	case d.iops != 0 && !provisioned && d.kind != "gp3":
		return d, refuse("InvalidParameterCombination", "The parameter iops is not supported for %s volumes", d.kind)
	case d.throughput != 0 && d.kind != "gp3":
		return d, refuse("InvalidParameterCombination", "The parameter throughput is not supported for %s volumes", d.kind)
	}
	return d, nil
}
