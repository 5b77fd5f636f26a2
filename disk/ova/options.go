package ova

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ingot-image/ingot/disk/image"
)

// Options describe the machine that a hypervisor makes of the disk. The zero value is a BIOS machine with two CPUs and 2 GiB of memory that every
// hypervisor takes; whoever imports it can change all of it but the firmware.
type Options struct {
	// Name of the machine, any text; what is not a letter, a digit, a dot, a dash or an underscore becomes a dash in file names. Empty is "disk".
	Name string
	// Level of compression of the VMDK.
	Level image.Level
	// Firmware that starts the disk: "bios" or "efi". Empty is "bios". VirtualBox takes no notice of it in an OVA and starts by BIOS until it is told
	// otherwise: VBoxManage modifyvm NAME --firmware efi.
	Firmware string
	// SecureBoot turns secure boot on: for EFI and hardware version 13 or later.
	SecureBoot bool
	// HardwareVersion is the NN of the system type vmx-NN. Zero is 15, which ESXi 6.7 U2, Workstation 15, Fusion 11 and all later ones run. A host refuses
	// machines newer than itself.
	HardwareVersion int
	// OSType is the operating system and its version, as in "debian12", "Ubuntu 24.04", "rhel9" or "windows2022"; unknown ones and the empty name are some
	// Linux, "other" is none.
	OSType string
	// CPUs of the machine, 2 when zero.
	CPUs int
	// MemoryMiB of the machine, a multiple of 4. Zero is 2048.
	MemoryMiB int
	// Controller of the disk: "pvscsi", "lsilogic", "lsilogicsas", "sata" (or "ahci"), "nvme" or "ide". Empty is "pvscsi" for Linux and "sata" for others, which
	// have no driver for it of their own.
	Controller string
	// NetworkAdapter of the machine: "vmxnet3", "e1000e" or "e1000". Empty is "vmxnet3" for Linux, "e1000e" for Windows and "e1000" for others.
	NetworkAdapter string
	// ToolsVersion of VMware Tools in the image, as package vmdk takes it: 0 for tools that the host does not manage, such as open-vm-tools.
	ToolsVersion int
	// Network that the adapter is on, "VM Network" when empty, which is vSphere's own. VirtualBox knows "NAT" and "Bridged".
	Network string
}

const (
	pvSCSI  = "pvscsi"
	sata    = "sata"
	vmxNet3 = "vmxnet3"
	e1000   = "e1000"
	e1000e  = "e1000e"
)

// controller is how OVF names one: VMware's sub-types, which VirtualBox's importer knows too but for VirtualSCSI, which it takes for an LsiLogic.
type controller struct {
	resourceType, subType, description string
	hardware                           int // the first hardware version that has it
	adapter                            string
}

func findController(name string) (controller, bool) {
	switch strings.ToLower(name) {
	case pvSCSI:
		return controller{"6", "VirtualSCSI", "SCSI Controller", 7, "lsilogic"}, true
	case "lsilogic":
		return controller{"6", "lsilogic", "SCSI Controller", 4, "lsilogic"}, true
	case "lsilogicsas":
		return controller{"6", "lsilogicsas", "SCSI Controller", 7, "lsilogic"}, true
	case sata, "ahci":
		return controller{"20", "vmware.sata.ahci", "SATA Controller", 10, "lsilogic"}, true
	case "nvme":
		return controller{"20", "vmware.nvme.controller", "NVMe Controller", 13, "lsilogic"}, true
	case "ide":
		return controller{"5", "", "IDE Controller", 4, "ide"}, true
	}
	return controller{}, false
}

func findAdapter(name string) (subType string, ok bool) {
	i := slices.Index([]string{vmxNet3, e1000, e1000e}, strings.ToLower(name))
	if i < 0 {
		return "", false
	}
	return []string{"VmxNet3", "E1000", "E1000e"}[i], true
}

// The hardware versions that there are (VMware, knowledge base article 1003746), and the first that has EFI and secure boot.
const (
	oldestHardware = 7
	newestHardware = 22
	efiHardware    = 8
	secureHardware = 13
)

// resolved is what Options come to.
type resolved struct {
	Options
	guest      guest
	controller controller
	adapter    string
	files      string // what the names of files begin with
}

// resolve fills in defaults. All that is wrong is reported.
func (o Options) resolve() (resolved, error) {
	var wrong []error
	fault := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	o.Name = cmp.Or(o.Name, "disk")
	o.Firmware = strings.ToLower(cmp.Or(o.Firmware, "bios"))
	o.HardwareVersion = cmp.Or(o.HardwareVersion, 15)
	o.CPUs = cmp.Or(o.CPUs, 2)
	o.MemoryMiB = cmp.Or(o.MemoryMiB, 2048)
	o.Network = cmp.Or(o.Network, "VM Network")
	g := findGuest(o.OSType, o.HardwareVersion)
	o.Controller = cmp.Or(o.Controller, g.controller)
	o.NetworkAdapter = cmp.Or(o.NetworkAdapter, g.network)
	m := resolved{Options: o, guest: g, files: fileName(o.Name)}
	if o.HardwareVersion < oldestHardware || o.HardwareVersion > newestHardware {
		fault("hardware version %d: want %d to %d", o.HardwareVersion, oldestHardware, newestHardware)
	}
	switch {
	case o.Firmware != "bios" && o.Firmware != "efi":
		fault("firmware %q: want bios or efi", o.Firmware)
	case o.Firmware == "efi" && o.HardwareVersion < efiHardware:
		fault("firmware efi needs hardware version %d or later, not %d", efiHardware, o.HardwareVersion)
	}
	if o.SecureBoot && (o.Firmware != "efi" || o.HardwareVersion < secureHardware) {
		fault("secure boot needs firmware efi and hardware version %d or later", secureHardware)
	}
	if o.CPUs < 1 || o.CPUs > 768 {
		fault("%d CPUs: want 1 to 768", o.CPUs)
	}
	if o.MemoryMiB < 4 || o.MemoryMiB%4 != 0 || o.MemoryMiB > 24<<20 {
		fault("%d MiB of memory: want a multiple of 4, up to 24 TiB", o.MemoryMiB)
	}
	var ok bool
	if m.controller, ok = findController(o.Controller); !ok {
		fault("disk controller %q: want pvscsi, lsilogic, lsilogicsas, sata, nvme or ide", o.Controller)
	} else if o.HardwareVersion < m.controller.hardware {
		fault("disk controller %s needs hardware version %d or later, not %d", o.Controller, m.controller.hardware, o.HardwareVersion)
	}
	if m.adapter, ok = findAdapter(o.NetworkAdapter); !ok {
		fault("network adapter %q: want vmxnet3, e1000e or e1000", o.NetworkAdapter)
	}
	return m, errors.Join(wrong...)
}

// Check reports all that is wrong with the options.
func (o Options) Check() error {
	_, err := o.resolve()
	return err
}

// fileName makes a name that every system, the manifest and a ustar header take.
func fileName(name string) string {
	var b strings.Builder
	for _, r := range name {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '.', r == '_':
			b.WriteRune(r)
		default:
			if s := b.String(); s != "" && !strings.HasSuffix(s, "-") {
				b.WriteByte('-')
			}
		}
	}
	s := strings.TrimLeft(b.String(), ".-")
	s = strings.TrimRight(s[:min(len(s), 64)], ".-")
	return cmp.Or(s, "disk")
}
