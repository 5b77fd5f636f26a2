package builder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/ingot-image/ingot/builder/recipe"
	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/disk/inspect"
	"github.com/ingot-image/ingot/qemu"
)

// RehearsalOptions says which image to boot as EC2 would, and how.
type RehearsalOptions struct {
	// File is a disk image of any format that disk.Open reads; it is never written to. Format is its format, empty: what it is by itself.
	File   string
	Format disk.Format
	// BootMode is what the AMI will be registered with: legacy-bios, uefi, uefi-preferred (both, if the disk can) or empty (BIOS, or UEFI where the disk
	// cannot). Firmware, if given, is what to boot it by instead, once by each.
	BootMode string
	Firmware []qemu.FirmwareKind
	// Volumes are attached besides the root volume, empty, in this order.
	Volumes []RehearsalVolume
	// Accelerator is auto (or empty), kvm or tcg. CPUs and MemoryMiB are the VM's; 0 is 2 and 2048.
	Accelerator     string
	CPUs, MemoryMiB int
	// Architecture of the image in Go's spelling; empty is amd64, the only one so far.
	Architecture string
	// Log takes what the guest prints on its serial console. It may be nil.
	Log io.Writer
	// Events is told what goes on, one clause at a time. It may be nil.
	Events func(RehearsalEvent)
}

// RehearsalVolume is an EBS volume of an instance that is not its root volume.
type RehearsalVolume struct {
	DeviceName string // as it is registered: /dev/sdf
	SizeGiB    int
}

// rehearsalVolumes are the volumes that an instance has by a recipe's mappings. One made from a snapshot is left out, for nobody knows what is on it, and so is an
// instance store, which not every type of instance has.
func rehearsalVolumes(mappings []recipe.BlockDeviceMapping) []RehearsalVolume {
	var volumes []RehearsalVolume
	for _, m := range mappings {
		if e := m.EBS; !m.Root() && e != nil && e.SnapshotID == "" && e.VolumeSize > 0 {
			volumes = append(volumes, RehearsalVolume{DeviceName: m.DeviceName, SizeGiB: e.VolumeSize})
		}
	}
	return volumes
}

// RehearsalEvent is something that happened in a rehearsal.
type RehearsalEvent struct {
	Firmware qemu.FirmwareKind `json:"firmware,omitempty"`
	Doing    string            `json:"doing"`
	Elapsed  time.Duration     `json:"-"` // since the rehearsal began
}

// The checks of a rehearsal, in the order in which they are told.
const (
	CheckConsole   = "console"        // the system's output reached ttyS0
	CheckCloudInit = "cloud-init-ec2" // cloud-init took the instance's data from the metadata service
	CheckPublicKey = "public-key"     // the key pair's public key lets its owner in
	CheckUserData  = "user-data"      // the user data ran
	CheckGrown     = "root-grown"     // the root file system grew to the volume, which is larger than the image
)

// Check is something that an image must do on EC2.
type Check struct {
	Name   string `json:"name"`
	Passed bool   `json:"passed"`
	Seen   string `json:"seen"`          // one clause
	Fix    string `json:"fix,omitempty"` // what to do about a failure
}

// Boot is one boot of an image as on EC2.
type Boot struct {
	Firmware   qemu.FirmwareKind `json:"firmware"`
	Passed     bool              `json:"passed"`
	DurationMS int64             `json:"durationMs"`
	Checks     []Check           `json:"checks"`
	// Console has the console's last lines if a check failed.
	Console []string `json:"console,omitempty"`
}

// Failed are the checks that did not pass.
func (b *Boot) Failed() []Check {
	return slices.DeleteFunc(slices.Clone(b.Checks), func(c Check) bool { return c.Passed })
}

// Rehearsal is what came of a rehearsal.
type Rehearsal struct {
	Accelerator string `json:"accelerator"`
	Boots       []Boot `json:"boots"`
}

// Passed tells whether every check passed in every boot; what was not rehearsed has not failed.
func (r *Rehearsal) Passed() bool {
	return r == nil || !slices.ContainsFunc(r.Boots, func(b Boot) bool { return !b.Passed })
}

// rehearsalGrowth is by how much the volume is larger than the image at least: enough for file systems to show it in spite of what they take for themselves.
func rehearsalGrowth(size int64) int64 { return max(2<<30, size/4) }

// volumeSize is the size of the volume that an image of the given size is booted from: whole GiB, as EBS has them.
func volumeSize(size int64) int64 {
	const gib = 1 << 30
	return (size + rehearsalGrowth(size) + gib - 1) / gib * gib
}

// Rehearse boots an image as EC2 would boot its AMI, and tells what came of it: an NVMe root disk larger than the image, the system tables (DMI) of an EC2 instance, and
// a metadata service at 169.254.169.254 that wants tokens, with an identity document, a public key and user data. The guest needs no agent of ours, and reaches
// nothing but that service. The image is not changed; nothing is left when Rehearse returns, and soon after this process was killed.
//
// A check that fails is no error, nor is a guest that does not boot: then its checks fail by that cause. The error is about this machine, the image's file, or
// ctx's.
func (b *Builder) Rehearse(ctx context.Context, o RehearsalOptions) (_ *Rehearsal, err error) {
	if o.Architecture != "" && o.Architecture != "amd64" {
		return nil, fmt.Errorf("rehearse: guests of the architecture %q are not booted, only amd64", o.Architecture)
	}
	if len(b.Relay) == 0 {
		return nil, errors.New("rehearse: the builder has no relay for the guest's connections (Builder.Relay)")
	}
	r := &rehearsal{builder: b, options: o, began: time.Now()}
	if r.accelerator, err = qemu.ChooseAccelerator(o.Accelerator); err != nil {
		return nil, err
	}
	if err := sweep(b.Home); err != nil {
		r.doing("", "clear away after an earlier run: %v", err)
	}
	if r.work, err = newWorkspace(b.Home); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.work.close()) }()
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	result := &Rehearsal{Accelerator: r.accelerator.String()}
	for _, firmware := range r.options.Firmware {
		boot, err := r.boot(ctx, firmware)
		if err != nil {
			return nil, fmt.Errorf("rehearse by %s: %w", firmware, err)
		}
		result.Boots = append(result.Boots, *boot)
	}
	return result, nil
}

// rehearsal is a rehearsal under way.
type rehearsal struct {
	builder     *Builder
	options     RehearsalOptions
	began       time.Time
	accelerator qemu.Accelerator
	work        *workspace
	image       disk.Image // as QEMU opens it
	size        int64      // of the disk in bytes
	root        int64      // of the root file system in bytes, 0 if unknown
	loaders     bootModes  // which firmware finds a program to start, be it good or not
}

func (r *rehearsal) doing(firmware qemu.FirmwareKind, format string, args ...any) {
	if r.options.Events != nil {
		r.options.Events(RehearsalEvent{Firmware: firmware, Doing: fmt.Sprintf(format, args...), Elapsed: time.Since(r.began)})
	}
}

// prepare opens the image, so that nothing unsafe comes before QEMU, unpacks it where QEMU cannot read it, and looks what it can be booted by.
func (r *rehearsal) prepare(ctx context.Context) error {
	o := &r.options
	d, err := disk.Open(ctx, o.File, disk.OpenOptions{Format: o.Format, TempDir: r.work.dir})
	if err != nil {
		return err
	}
	defer d.Close()
	report, err := inspect.Inspect(ctx, d, inspect.Options{})
	if err != nil {
		return err
	}
	r.size = d.Size()
	r.loaders = bootModes{bios: report.Boot.BIOS != nil, uefi: len(report.Boot.EFI) > 0}
	for _, f := range report.FileSystems {
		if f.MountPoint == "/" && f.Space != nil {
			r.root = f.Space.Size
		}
	}
	if can := report.Boot.Firmware; len(o.Firmware) == 0 {
		o.Firmware = registeredFirmware(o.BootMode, bootModes{bios: slices.Contains(can, inspect.BIOS), uefi: slices.Contains(can, inspect.UEFI)})
	}
	r.image = disk.Image{Path: o.File, Format: cmp.Or(d.Info.Format, o.Format)}
	if _, ok := disk.Driver(r.image.Format); ok && len(d.Within) == 0 {
		return nil
	}
	r.doing("", "unpacking %s", o.File)
	r.image = disk.Image{Path: r.work.path("image.raw"), Format: disk.Raw}
	return disk.Write(ctx, d, disk.WriteOptions{}, disk.Output{Path: r.image.Path, Format: disk.Raw, Unsynced: true})
}
