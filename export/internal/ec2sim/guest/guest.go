// Package guest looks at a disk as ImportImage does before it converts it: it finds the one operating system on it, and refuses what AWS does not
// know, in AWS's words.
package guest

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/ingot-image/ingot/disk/image"
	"github.com/ingot-image/ingot/disk/inspect"
	"github.com/ingot-image/ingot/export/internal/ec2sim/container"
)

// System is an operating system that AWS takes.
type System struct {
	Name     string // as it calls itself
	Windows  bool
	firmware []string
}

// errFirstBoot is what comes of an image that does not start.
var errFirstBoot = refuse("FirstBootFailure: This import request failed because the instance failed to boot and establish network connectivity.")

func refuse(message string) error { return &container.Refusal{Message: message} }

// Examine looks at a disk. Its errors are of AWS's wording, or of reading the disk.
func Examine(ctx context.Context, disk image.Source) (*System, error) {
	report, err := inspect.Inspect(ctx, disk, inspect.Options{})
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil, !slices.Contains([]string{"gpt", "mbr"}, report.PartitionTable.Kind), len(report.PartitionTable.Partitions) == 0:
		return nil, refuse("ClientError: No valid partitions. Not a valid volume.")
	case report.System == nil && windows(report):
		return &System{Name: "Windows", Windows: true, firmware: report.Boot.Firmware}, nil
	case report.System == nil:
		return nil, refuse("ClientError: Unknown OS / Missing OS files.")
	case systems(report) > 1:
		return nil, refuse("ClientError: Unsupported configuration - Multiple directories found")
	case len(report.Boot.Firmware) == 0:
		return nil, refuse("Client.Unsupported: No bootable partition found. (Service: AmazonEC2; Status Code: 400; Error Code: Unsupported)")
	}
	if err := examineSystem(report); err != nil {
		return nil, err
	}
	return &System{Name: report.System.OS.PrettyName, firmware: report.Boot.Firmware}, nil
}

// windows tells whether boot code of Windows goes on in an NTFS. What is in that nobody reads here.
func windows(report *inspect.Report) bool {
	return report.Boot.BIOS != nil && report.Boot.BIOS.Second == "windows" &&
		slices.ContainsFunc(report.FileSystems, func(f inspect.FileSystem) bool { return f.Type == "ntfs" })
}

// systems counts the operating systems.
func systems(report *inspect.Report) (n int) {
	for _, f := range report.FileSystems {
		if f.OS != "" {
			n++
		}
	}
	return n
}

func examineSystem(report *inspect.Report) error {
	system := report.System
	root := slices.IndexFunc(report.FileSystems, func(f inspect.FileSystem) bool { return f.Device == system.Root })
	menus := 0
	for _, c := range report.Boot.Configs {
		if (c.Kind == "grub" || c.Kind == "grub-legacy") && c.Entries > 0 {
			menus++
		}
		if c.Kind == "bls" && c.Problem != "" {
			return refuse("ClientError: BLSC-style GRUB found, but unable to detect default kernel")
		}
	}
	kernel := slices.IndexFunc(system.Kernels, func(k inspect.Kernel) bool { return k.Default })
	switch {
	case root < 0 || !slices.Contains([]string{"ext2", "ext3", "ext4", "xfs", "jfs", "btrfs"}, report.FileSystems[root].Type):
		return refuse("ClientError: Unknown OS / Missing OS files.")
	case len(system.Fstab) == 0:
		return refuse("ClientError: Unable to find an etc directory with fstab.")
	case system.Architecture != "" && system.Architecture != "x86_64":
		return refuse("ClientError: Unsupported architecture " + system.Architecture)
	case menus > 1:
		return refuse("ClientError: Multiple different grub/menu.lst files found.")
	case kernel < 0 || system.Kernels[kernel].Version == "":
		return refuse("ClientError: Unable to determine kernel version")
	case !supported(system.OS, system.Kernels[kernel].Version):
		return refuse("ClientError: Unsupported kernel version " + system.Kernels[kernel].Version)
	}
	if initrd := system.Kernels[kernel].Initrd; initrd == nil || initrd.Problem != "" {
		return refuse("ClientError: We were unable to read your import's initramfs/initrd to determine what drivers your import requires to run in EC2")
	}
	return nil
}

// Boot starts the system as AWS does before it makes an image of it.
func (s *System) Boot(mode string) error {
	firmware := map[string][]string{"legacy-bios": {inspect.BIOS}, "uefi": {inspect.UEFI, inspect.UEFISecureBoot}}[mode]
	if !slices.ContainsFunc(s.firmware, func(f string) bool { return slices.Contains(firmware, f) }) {
		return errFirstBoot
	}
	return nil
}

// kernels are those that ImportImage takes, by the system's ID and version in os-release (VM Import/Export User Guide, "Operating systems supported by
// VM Import/Export", October 2026).
var kernels = []struct{ id, version, kernel string }{
	{"amzn", "2023", `6\.1`}, {"amzn", "2", `4\.14|4\.19|5\.4|5\.10`},
	{"centos", "7", `3\.10\.0`}, {"centos", "8", `4\.18\.0`}, {"centos", "9", `5\.14\.0`},
	{"debian", "10", `4\.19\.0`}, {"debian", "11", `5\.10\.0`}, {"debian", "12", `6\.1\.0`},
	{"fedora", "39", `6\.5\.6`}, {"fedora", "40", `6\.8\.5`}, {"fedora", "41", `6\.11\.4`}, {"fedora", "42", `6\.14\.0`}, {"fedora", "43", `6\.17\.1`},
	{"ol", "8", `4\.18\.0|5\.15\.0`}, {"ol", "9", `5\.14\.0|5\.15\.0|6\.12\.0`}, {"ol", "10", `6\.12\.0`},
	{"rhel", "8", `4\.18\.0`}, {"rhel", "9", `5\.14\.0`}, {"rhel", "10", `6\.12\.0`},
	{"rocky", "9", `5\.14\.0`}, {"rocky", "10", `6\.12\.0`},
	{"sles", "12", `3\.12\.28|3\.12\.49|4\.4|4\.12`}, {"sles", "15", `4\.12|5\.3|5\.14\.21|6\.4`},
	{"ubuntu", "18.04", `4\.15|5\.4`}, {"ubuntu", "20.04", `5\.4\.0`}, {"ubuntu", "22.04", `5\.15\.0`}, {"ubuntu", "24.04", `6\.8\.0|6\.11\.0`},
	{"ubuntu", "25.10", `6\.17\.0`}, {"ubuntu", "26.04", `7\.0\.0`},
}

func supported(os inspect.OS, kernel string) bool {
	for _, k := range kernels {
		if k.id == os.ID && (os.VersionID == k.version || strings.HasPrefix(os.VersionID, k.version+".")) &&
			regexp.MustCompile(`^(`+k.kernel+`)([.-]|$)`).MatchString(kernel) {
			return true
		}
	}
	return false
}
