package ec2sim

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ingot-image/ingot/disk/image"
	"github.com/ingot-image/ingot/export/internal/ec2sim/container"
	"github.com/ingot-image/ingot/export/internal/ec2sim/guest"
)

// The limits of ImportImage (VM Import/Export User Guide, "Limitations").
const (
	maxImportDisks = 21
	maxImportDisk  = 8 << 40 // bytes
)

func (s *Server) importImage(c *call) ([]element, error) {
	f := c.form
	containers := f.subs("DiskContainer")
	oneOf := func(name string, allowed ...string) error {
		if !slices.Contains(allowed, f.get(name)) {
			return refuse("InvalidParameter", "The value (%s) of parameter %s is not valid", f.get(name), name)
		}
		return nil
	}
	// arm64 and uefi-preferred are values of the API that ImportImage does not take.
	err := cmp.Or(oneOf("Architecture", "", "x86_64"), oneOf("BootMode", "", "legacy-bios", "uefi"), oneOf("Platform", "", "Linux", "Windows"),
		oneOf("LicenseType", "", "AWS", "BYOL"), oneOf("Hypervisor", "", "xen"))
	switch {
	case err != nil:
		return nil, err
	case len(containers) == 0:
		return nil, refuse("MissingParameter", "The request must contain the parameter DiskContainers")
	case len(containers) > maxImportDisks:
		return nil, refuse("InvalidParameter", "At most %d disks are supported", maxImportDisks)
	case f.get("LicenseType") != "" && f.get("UsageOperation") != "":
		return nil, refuse("InvalidParameterCombination", "LicenseType and UsageOperation cannot be given both")
	}
	t := &task{kind: importImage}
	for _, disk := range containers {
		d := &taskDisk{format: strings.ToUpper(disk.get("Format")), device: disk.get("DeviceName"), description: disk.get("Description"), snapshot: disk.get("SnapshotId")}
		if _, found := s.blocks(c.place()).Snapshot(d.snapshot); d.snapshot != "" && !found {
			return nil, refuse("InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", d.snapshot)
		}
		t.disks = append(t.disks, d)
	}
	if err := s.prepare(c, t, containers); err != nil {
		return nil, err
	}
	if t, err = s.begin(c, t, s.runImportImage); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return t.imageItem(), nil
}

func (s *Server) runImportImage(ctx context.Context, t *task) error {
	if err := s.through(ctx, t, stage{}, stage{"pending", "2"}, stage{"validating", ""}); err != nil {
		return err
	}
	system, err := s.validate(ctx, t)
	if err != nil {
		return err
	}
	if err := s.through(ctx, t, stage{"validated", "18"}, stage{"converting", "28"}, stage{"updating", "59"}, stage{"preparing to boot", "72"}, stage{"booting", ""}); err != nil {
		return err
	}
	if err := system.Boot(cmp.Or(t.request.get("BootMode"), "legacy-bios")); err != nil {
		return err
	}
	if err := s.through(ctx, t, stage{"preparing ami", "94"}); err != nil {
		return err
	}
	made := &amiImage{place: t.place, name: t.id, description: "AWS-VMImport service: Linux - " + system.Name, state: "available", architecture: "x86_64",
		bootMode: t.request.get("BootMode"), virtualization: "hvm", rootDevice: "/dev/sda1", ena: true, usageOperation: t.request.get("UsageOperation")}
	if system.Windows {
		made.platform, made.description = "windows", "AWS-VMImport service: Windows"
		// RunInstances:0002 is Windows with a licence of AWS's, which is what an import has by default; 0800 is BYOL (EC2 user guide, "AMI billing information fields").
		made.usageOperation = cmp.Or(made.usageOperation, map[string]string{"BYOL": "RunInstances:0800"}[t.request.get("LicenseType")], "RunInstances:0002")
	}
	if description := t.request.get("Description"); description != "" {
		made.description = description
	}
	for i, d := range t.disks {
		snapshot, _ := s.blocks(t.place).Snapshot(d.snapshot)
		name := d.device
		if i == 0 {
			name = made.rootDevice
		} else if name == "" {
			name = fmt.Sprintf("/dev/sd%c", 'e'+i)
		}
		made.devices = append(made.devices, device{name: name, snapshot: d.snapshot, sizeGiB: snapshot.VolumeSizeGiB, kind: "gp2", encrypted: snapshot.Encrypted, kmsKey: snapshot.KMSKeyARN})
	}
	if err := s.add(made, nil); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t.image = made.id
	return nil
}

// validate converts all disks, looks at the first, and keeps them. An OVA may hold several.
func (s *Server) validate(ctx context.Context, t *task) (*guest.System, error) {
	type found struct {
		*taskDisk
		source    image.Source
		converted *container.Disk // nil for a snapshot
	}
	var all []found
	for _, d := range t.disks {
		if d.snapshot != "" {
			source, err := s.blocks(t.place).Bytes(d.snapshot)
			if err != nil {
				return nil, err
			}
			all = append(all, found{d, source, nil})
			continue
		}
		disks, err := s.convert(ctx, t, d)
		if err != nil {
			return nil, err
		}
		for _, converted := range disks {
			if converted.Size >= maxImportDisk {
				// A guess: the limit is documented, AWS's words are not.
				return nil, &container.Refusal{Message: fmt.Sprintf("ClientError: Disk validation failed [The disk size %d is larger than the maximum]", converted.Size)}
			}
			raw, err := image.NewFile(converted.File)
			if err != nil {
				return nil, err
			}
			one := *d
			all = append(all, found{&one, raw, &converted})
		}
	}
	system, err := guest.Examine(ctx, all[0].source)
	if err != nil {
		return nil, err
	}
	var disks []*taskDisk
	for _, d := range all {
		if d.converted != nil {
			if err := s.keep(t, d.taskDisk, *d.converted); err != nil {
				return nil, err
			}
		}
		disks = append(disks, d.taskDisk)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t.disks = disks
	return system, nil
}

// imageItem describes a task of ImportImage.
func (t *task) imageItem() []element {
	details := list("snapshotDetailSet", items(t.disks, func(d *taskDisk) []element {
		return []element{text("description", d.description), text("deviceName", d.device), text("diskImageSize", fmt.Sprintf("%.1f", float64(d.size))),
			text("format", d.format), text("snapshotId", d.snapshot), text("status", t.status), d.userBucket()}
	})...)
	return []element{text("importTaskId", t.id), text("architecture", cmp.Or(t.request.get("Architecture"), "x86_64")), text("description", t.request.get("Description")),
		flag("encrypted", t.encrypted), text("kmsKeyId", t.kmsKey), text("hypervisor", t.request.get("Hypervisor")), text("imageId", t.image),
		text("licenseType", t.request.get("LicenseType")), text("platform", cmp.Or(t.request.get("Platform"), "Linux")), text("progress", t.progress),
		text("bootMode", t.request.get("BootMode")), text("usageOperation", t.request.get("UsageOperation")), details, text("status", t.status), text("statusMessage", t.message), tagSet(t.tags)}
}
