package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/ingot-image/ingot/builder/base"
	"github.com/ingot-image/ingot/builder/catalog"
	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/action"
	"github.com/ingot-image/ingot/builder/component/managed"
	"github.com/ingot-image/ingot/builder/recipe"
	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/qemu"
)

// Plan is a recipe with every input pinned, and the choices of the command line in it.
type Plan struct{ *recipe.Plan }

// Plan reads a recipe and everything it names, and tells what Build would do. It changes nothing.
func (b *Builder) Plan(ctx context.Context, o Options) (*Plan, error) {
	images, err := b.images(ctx)
	if err != nil {
		return nil, err
	}
	if images != nil {
		defer images.Close()
	}
	p, err := recipe.Load(ctx, o.Recipe, recipe.Environment{
		Home:    b.Home,
		Modules: action.Modules(),
		Managed: recipe.ManagedComponents{Names: managed.Names, Lookup: managed.Lookup},
		Images:  known{images},
		Parents: parents{b.Bases()},
	})
	if err != nil {
		return nil, err
	}
	plan := &Plan{p}
	if len(o.Formats) > 0 {
		plan.Distribution.Formats = nil
		for _, f := range o.Formats {
			plan.Distribution.Formats = append(plan.Distribution.Formats, recipe.Format(f))
		}
	}
	if o.OutputDir != "" {
		plan.Distribution.Folder = o.OutputDir
	} else if plan.Distribution.Folder == "" {
		plan.Distribution.Folder = "."
	}
	if o.Accelerator != "" {
		plan.Infrastructure.Accelerator = recipe.Accelerator(o.Accelerator)
	}
	if o.Test != "" {
		plan.Tests.ImageTestsEnabled = o.Test == "full"
	}
	return plan, nil
}

// images opens the catalog for reading, or gives nil if there is none yet: planning makes no files.
func (b *Builder) images(ctx context.Context) (*catalog.Catalog, error) {
	if _, err := os.Stat(b.CatalogPath()); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return catalog.Open(ctx, b.CatalogPath())
}

// request is the order to run the given phases of all components.
func (p *Plan) request(phases ...string) component.Request {
	return component.Request{Documents: p.Documents(phases...), Phases: phases, WorkingDirectory: p.WorkingDirectory}
}

// volumeSize is the root volume's size in bytes, 0 for the parent image's.
func (p *Plan) volumeSize() int64 { return int64(p.VolumeSize) << 30 }

// source says where the parent image comes from, in the words of package base.
func source(parent recipe.PlannedParentImage) base.Source {
	// What the file of a parent must be is known of an address, which gives it, and of an earlier image, by the catalog.
	sum := strings.TrimPrefix(parent.Digest, "sha256:")
	switch parent.Kind {
	case recipe.ParentDebian:
		return base.Source{Debian: "debian-" + parent.Suite, Name: parent.Name}
	case recipe.ParentURL:
		return base.Source{URL: parent.URL, SHA256: sum, Name: parent.Name}
	case recipe.ParentEarlier:
		return base.Source{File: parent.Path, SHA256: sum, Name: parent.Name}
	}
	return base.Source{File: parent.Path, Name: parent.Name}
}

// parents looks at parent images for a plan.
type parents struct{ store *base.Store }

// Inspect tells a parent's digest: of a base its inputs', of a file its content's. It makes and fetches nothing.
func (p parents) Inspect(ctx context.Context, parent recipe.PlannedParentImage) (digest string, size int64, err error) {
	if parent.Kind == recipe.ParentURL {
		return parent.Digest, 0, nil
	}
	if parent.Kind == recipe.ParentDebian {
		size = base.DefaultDiskSize
	}
	if parent.Path != "" {
		info, err := disk.Probe(parent.Path)
		if err != nil {
			return "", 0, err
		}
		size = info.VirtualSize
	}
	plan, err := p.store.Plan(ctx, source(parent))
	if err != nil {
		return "", 0, err
	}
	return plan.Digest, size, nil
}

// bootModes are the firmwares that find a boot loader on a disk.
type bootModes struct{ bios, uefi bool }

// The EFI system partition's types: the GUID of the UEFI specification, section 5.3, and that of an MBR.
const (
	efiSystem    = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
	efiSystemMBR = "0xef"
)

// bootFirmware is the firmware to boot a disk with when nothing asks for another one: the one EC2 uses by default.
func bootFirmware(path string) (*qemu.Firmware, error) {
	modes, err := bootModesOf(path)
	if err != nil {
		return nil, err
	}
	if modes.bios {
		return qemu.FindFirmware(qemu.BIOS)
	}
	return qemu.FindFirmware(qemu.UEFI)
}

// bootModesOf looks for what each firmware starts: code in the first sector, and an EFI system partition.
func bootModesOf(path string) (bootModes, error) {
	f, err := os.Open(path)
	if err != nil {
		return bootModes{}, err
	}
	defer f.Close()
	var code [440]byte // of the first sector, what precedes the disk signature and the partition table
	if _, err := f.ReadAt(code[:], 0); err != nil {
		return bootModes{}, fmt.Errorf("read boot sector: %w", err)
	}
	modes := bootModes{bios: code != [440]byte{}}
	table, err := disk.Partitions(path)
	if err != nil && !errors.Is(err, disk.ErrNoPartitionTable) {
		return bootModes{}, err
	}
	for _, p := range table.Partitions {
		modes.uefi = modes.uefi || strings.EqualFold(p.Type, efiSystem) || strings.EqualFold(p.Type, efiSystemMBR)
	}
	if !modes.bios && !modes.uefi {
		return bootModes{}, errors.New("no firmware could boot this disk: it has neither boot code in its first sector nor an EFI system partition")
	}
	return modes, nil
}
