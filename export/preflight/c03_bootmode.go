package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ingot-image/ingot/disk/inspect"
)

// The boot modes of RegisterImage.
const (
	legacyBIOS    = "legacy-bios"
	uefi          = "uefi"
	uefiPreferred = "uefi-preferred"
)

// bootMode wants a boot loader for the firmware that instances will have: GRUB's boot code and core image for BIOS, and for UEFI the loader that is started
// by its name alone (UEFI specification 2.10, section 3.5.1.1), as an instance has no boot entries yet.
func bootMode() Check {
	return Check{
		ID: "C03", Title: "the disk boots by the boot mode that is asked for, or by any", Needs: NeedContent,
		Looks:       "the boot code in the first sector, GRUB's core image where that leads, and \\EFI\\BOOT on the EFI system partition",
		Levels:      Levels{ImportImage: Fatal, ImportSnapshot: Fatal, EBSDirect: Fatal},
		Prevents:    "FirstBootFailure, or without a message an AMI that does not boot",
		Fix:         "install the boot loader for that mode: grub-install --target=i386-pc, or grub-install --removable for UEFI; or choose another --boot-mode",
		NoComponent: "a disk without a working boot loader does not start in a build either",
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			mode := t.Request.BootMode
			switch {
			case t.Report == nil:
				return []Seen{{Where: "the disk", What: fmt.Sprintf("nothing to boot: %v", t.ReportErr)}}, nil
			case mode == uefiPreferred && t.Request.Path == ImportImage:
				return []Seen{{Where: "the boot mode", What: "import-image takes legacy-bios and uefi, but not uefi-preferred", Fix: "choose one of them, or import by import-snapshot",
					Prevents: "InvalidParameterValue"}}, nil
			case mode == legacyBIOS && t.architecture() == arm64:
				return []Seen{{Where: "the boot mode", What: "arm64 boots by UEFI only", Fix: "choose --boot-mode uefi", Prevents: "InvalidParameterValue"}}, nil
			}
			byBIOS, noBIOS := t.bootsByBIOS()
			byUEFI, noUEFI := t.bootsByUEFI()
			switch mode {
			case legacyBIOS:
				if !byBIOS {
					return []Seen{noBIOS}, nil
				}
			case uefi:
				if !byUEFI {
					return []Seen{noUEFI}, nil
				}
			case uefiPreferred: // instance types without UEFI boot by BIOS
				var seen []Seen
				if !byUEFI {
					seen = append(seen, noUEFI)
				}
				if !byBIOS {
					noBIOS.Level, noBIOS.Fix = Warning, "choose --boot-mode uefi, as instance types without UEFI cannot start it"
					seen = append(seen, noBIOS)
				}
				return seen, nil
			default:
				if !byBIOS && !byUEFI {
					return []Seen{noBIOS, noUEFI}, nil
				}
			}
			return nil, nil
		},
	}
}

// bootsByBIOS tells whether there is boot code and what it goes on with.
func (t *Target) bootsByBIOS() (bool, Seen) {
	if slices.Contains(t.Report.Boot.Firmware, inspect.BIOS) && t.architecture() != arm64 {
		return true, Seen{}
	}
	b := t.Report.Boot.BIOS
	switch {
	case b == nil:
		return false, Seen{Where: "sector 0", What: "no boot code for BIOS"}
	case b.Loader == "grub" && b.CoreStart > 0:
		return false, Seen{Where: fmt.Sprintf("offset %d", b.CoreStart), What: "GRUB's boot code goes on there, and no core image is in that place"}
	}
	return false, Seen{Where: "sector 0", What: fmt.Sprintf("the boot code (%s) leads to no boot loader", b.Loader)}
}

// bootsByUEFI tells whether firmware finds a loader for the system's architecture.
func (t *Target) bootsByUEFI() (bool, Seen) {
	name, want := `\EFI\BOOT\BOOTX64.EFI`, x86
	if t.architecture() == arm64 {
		name, want = `\EFI\BOOT\BOOTAA64.EFI`, arm64
	}
	var others []string
	for _, l := range t.Report.Boot.EFI {
		if l.Default && ec2Architecture(l.Architecture) == want {
			return true, Seen{}
		}
		others = append(others, l.Path)
	}
	esp := ""
	for _, p := range t.Report.PartitionTable.Partitions {
		if p.TypeName == "EFI system" {
			esp = fmt.Sprintf("partition %d", p.Index)
		}
	}
	switch {
	case esp == "":
		return false, Seen{Where: "the partition table", What: "no EFI system partition"}
	case len(others) == 0:
		return false, Seen{Where: esp, What: "no " + name}
	}
	return false, Seen{Where: esp, Fixable: t.grubOfESP() != nil, Component: readiness, What: fmt.Sprintf("no %s: firmware of a new instance finds none of %s", name, strings.Join(others[:min(len(others), 5)], ", "))}
}
