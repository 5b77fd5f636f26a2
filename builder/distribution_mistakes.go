package builder

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/recipe"
	"github.com/ingot-image/ingot/export"
	"github.com/ingot-image/ingot/export/ami"
	"github.com/ingot-image/ingot/export/distribution"
)

// validate finds what EC2 would refuse after the upload. The error is component.Problems, with the places in the file of the configuration.
func validate(c *distribution.Configuration, image *export.Image) error {
	return located(c, export.Validate(image, c))
}

// deliverable finds places that take none of the formats that there are.
func deliverable(c *distribution.Configuration, formats []string) error {
	var mistakes []error
	for i, p := range c.Distributions {
		if p.Region == "" && len(p.Formats) > 0 && !slices.ContainsFunc(p.Formats, func(f string) bool { return slices.Contains(formats, f) }) {
			mistakes = append(mistakes, &distribution.Mistake{Field: fmt.Sprintf("distributions[%d].formats", i),
				Err: fmt.Errorf("the image has no file of the formats %s, but %s; have the recipe write them, or use ingot convert", strings.Join(p.Formats, ", "), strings.Join(formats, ", "))})
		}
	}
	return located(c, errors.Join(mistakes...))
}

// located gives mistakes their places in the file, if there is nothing else in the error.
func located(c *distribution.Configuration, err error) error {
	mistakes, ok := distribution.Mistakes(err)
	if !ok {
		return err
	}
	var problems component.Problems
	for _, m := range mistakes {
		file, field, at := c.Locate(m)
		problems = append(problems, component.Problem{File: file, Line: at.Line, Column: at.Column, Field: field, Message: m.Err.Error()})
	}
	return problems.Err()
}

// planned is the image that will be built, as far as it is known before: it boots by what the recipe says, or by any firmware.
func (j *job) planned() *export.Image {
	r := j.plan.Distribution.Configuration.Registration
	return &export.Image{Name: j.plan.Name, Version: j.plan.Version.String(), Build: "1", Date: j.started, BlockDevices: blockDevices(j.plan.BlockDeviceMappings), Tags: j.plan.AMITags,
		Architecture: cmp.Or(r.Architecture, "x86_64"), BootMode: cmp.Or(r.BootMode, "uefi")}
}

// encryptedAsRoot has the import encrypted as the recipe wants its root volume, unless the configuration says itself how: the volume is made of the snapshot.
func encryptedAsRoot(c *distribution.Configuration, mappings []recipe.BlockDeviceMapping) *distribution.Configuration {
	for _, b := range mappings {
		if !b.Root() || b.EBS == nil || c.Import.Encrypt || c.Import.KMSKeyID != "" {
			continue
		}
		if encrypt := b.EBS.Encrypted != nil && *b.EBS.Encrypted; encrypt || b.EBS.KMSKeyID != "" {
			own := *c
			own.Import.Encrypt, own.Import.KMSKeyID = encrypt, b.EBS.KMSKeyID
			return &own
		}
	}
	return c
}

// blockDevices are the recipe's, as package ami takes them.
func blockDevices(mappings []recipe.BlockDeviceMapping) []ami.BlockDevice {
	var devices []ami.BlockDevice
	for _, b := range mappings {
		d := ami.BlockDevice{DeviceName: b.DeviceName, VirtualName: b.VirtualName, NoDevice: b.NoDevice}
		if b.EBS != nil {
			e := b.EBS
			d.EBS = &ami.EBS{VolumeSize: e.VolumeSize, VolumeType: e.VolumeType, IOPS: e.IOPS, Throughput: e.Throughput,
				DeleteOnTermination: e.DeleteOnTermination, Encrypted: e.Encrypted, KMSKeyID: e.KMSKeyID, SnapshotID: e.SnapshotID}
		}
		devices = append(devices, d)
	}
	return devices
}
