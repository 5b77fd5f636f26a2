package disk

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/ingot-image/ingot/disk/box"
	"github.com/ingot-image/ingot/disk/image"
	"github.com/ingot-image/ingot/disk/ova"
	"github.com/ingot-image/ingot/disk/vhd"
	"github.com/ingot-image/ingot/disk/vmdk"
)

// Options are what can be chosen of a file beyond its format. Zero values are defaults, which each format's package documents.
type Options struct {
	// Level of compression, of every format that is compressed.
	Level image.Level `json:"level,omitempty"`
	// AdapterType of a VMDK: one of vmdk.AdapterTypes.
	AdapterType string `json:"adapterType,omitempty"`
	// ToolsVersion of VMware Tools in the guest, as in ddb.toolsVersion: a number.
	ToolsVersion int `json:"toolsVersion,omitempty"`
	// HardwareVersion of VMware's virtual hardware, for VMDK and OVA: 19 is vmx-19.
	HardwareVersion int `json:"hardwareVersion,omitempty"`
	// Align rounds the disk's size up to a multiple, in bytes: VHD only. Azure wants 1 MiB.
	Align int64 `json:"align,omitempty"`
	// Firmware of an OVA: "bios" or "efi".
	Firmware string `json:"firmware,omitempty"`
	// SecureBoot of an OVA with EFI firmware.
	SecureBoot bool `json:"secureBoot,omitempty"`
	// OSType of an OVA: the operating system and its version, such as "debian12".
	OSType string `json:"osType,omitempty"`
	// Controller that the disk of an OVA is on.
	Controller string `json:"controller,omitempty"`
	// NetworkAdapter of an OVA.
	NetworkAdapter string `json:"networkAdapter,omitempty"`
	// CPUs and MemoryMiB of the machine in an OVA or a box.
	CPUs      int `json:"cpus,omitempty"`
	MemoryMiB int `json:"memory,omitempty"`
}

// option is one of Options as users write it.
type option struct {
	key     string
	formats []Format // that have it
	set     func(o *Options, value string) error
	isSet   func(o Options) bool
}

// options lists the keys, by the names that recipes and the command line have for them.
func options() []option {
	vmware := []Format{VMDK, OVA, VagrantVirtualBox}
	machines := []Format{OVA, VagrantVirtualBox}
	text := func(at func(*Options) *string) func(*Options, string) error {
		return func(o *Options, v string) error { *at(o) = v; return nil }
	}
	number := func(at func(*Options) *int, least, most int) func(*Options, string) error {
		return func(o *Options, v string) (err error) {
			if *at(o), err = strconv.Atoi(v); err != nil || *at(o) < least || *at(o) > most {
				return fmt.Errorf("must be a number from %d to %d", least, most)
			}
			return nil
		}
	}
	return []option{
		{"level", []Format{RawGzip, RawZstd, Qcow2Zstd, VMDK, OVA, VagrantVirtualBox, VagrantLibvirt}, func(o *Options, v string) (err error) { o.Level, err = ParseLevel(v); return err },
			func(o Options) bool { return o.Level != image.Default }},
		{"adapterType", []Format{VMDK}, text(func(o *Options) *string { return &o.AdapterType }), func(o Options) bool { return o.AdapterType != "" }},
		{"toolsVersion", vmware, number(func(o *Options) *int { return &o.ToolsVersion }, 1, 1<<31-1), func(o Options) bool { return o.ToolsVersion != 0 }},
		{"hardwareVersion", vmware, number(func(o *Options) *int { return &o.HardwareVersion }, 4, 99), func(o Options) bool { return o.HardwareVersion != 0 }},
		{"align", []Format{VHD, VHDFixed}, func(o *Options, v string) error {
			mib, ok := strings.CutSuffix(v, "MiB")
			n, err := strconv.ParseInt(mib, 10, 64)
			if !ok || err != nil || n < 1 || n > 1<<10 {
				return fmt.Errorf("must be 1MiB to 1024MiB")
			}
			o.Align = n << 20
			return nil
		}, func(o Options) bool { return o.Align != 0 }},
		{"firmware", []Format{OVA, VagrantVirtualBox}, func(o *Options, v string) error {
			if o.Firmware = v; v != "bios" && v != "efi" {
				return fmt.Errorf("must be bios or efi")
			}
			return nil
		}, func(o Options) bool { return o.Firmware != "" }},
		{"osType", []Format{OVA, VagrantVirtualBox}, text(func(o *Options) *string { return &o.OSType }), func(o Options) bool { return o.OSType != "" }},
		{"controller", []Format{OVA, VagrantVirtualBox}, text(func(o *Options) *string { return &o.Controller }), func(o Options) bool { return o.Controller != "" }},
		{"networkAdapter", []Format{OVA, VagrantVirtualBox}, text(func(o *Options) *string { return &o.NetworkAdapter }), func(o Options) bool { return o.NetworkAdapter != "" }},
		{"secureBoot", []Format{OVA}, func(o *Options, v string) (err error) {
			if o.SecureBoot, err = strconv.ParseBool(v); err != nil {
				return fmt.Errorf("must be true or false")
			}
			return nil
		}, func(o Options) bool { return o.SecureBoot }},
		{"cpus", machines, number(func(o *Options) *int { return &o.CPUs }, 1, 512), func(o Options) bool { return o.CPUs != 0 }},
		{"memory", machines, number(func(o *Options) *int { return &o.MemoryMiB }, 64, 1<<24), func(o Options) bool { return o.MemoryMiB != 0 }},
	}
}

// ParseLevel reads a level of compression: fast, default or best.
func ParseLevel(name string) (l image.Level, err error) {
	err = l.UnmarshalText([]byte(name))
	return l, err
}

// OptionKeys lists the keys that [Options.Set] knows for a format.
func OptionKeys(f Format) []string {
	var keys []string
	for _, o := range options() {
		if slices.Contains(o.formats, f) {
			keys = append(keys, o.key)
		}
	}
	return keys
}

// Set sets the option of a key: level, adapterType, toolsVersion, hardwareVersion, align (as "1MiB"), firmware, secureBoot, osType,
// controller, networkAdapter, cpus or memory (in MiB). The error says what is wrong with the key or the value; whether the format has the key, and takes the value, [Write] says.
func (o *Options) Set(key, value string) error {
	for _, known := range options() {
		if known.key != key {
			continue
		}
		if err := known.set(o, value); err != nil {
			return fmt.Errorf("%q %w", value, err)
		}
		return nil
	}
	var keys []string
	for _, known := range options() {
		keys = append(keys, known.key)
	}
	return fmt.Errorf("no such option: the options are %s", strings.Join(keys, ", "))
}

// Check says what is wrong with options for a format: those that it does not have, and values that it does not know.
func (o Options) Check(f Format) error {
	for _, known := range options() {
		if known.isSet(o) && !slices.Contains(known.formats, f) {
			if keys := OptionKeys(f); len(keys) > 0 {
				return fmt.Errorf("%s has no option %s: it has %s", f, known.key, strings.Join(keys, ", "))
			}
			return fmt.Errorf("%s has no option %s: it has none", f, known.key)
		}
	}
	switch f {
	case VMDK:
		_, err := vmdk.NewWriter(io.Discard, 1<<30, o.vmdk("disk.vmdk"))
		return err
	case OVA:
		return o.ova("disk.ova").Check()
	case VagrantVirtualBox:
		return box.VirtualBoxOptions(o.ova("disk.box")).Check()
	}
	return nil
}

// VirtualSize is the size that a disk of size bytes has in a file of the format, in bytes: the same but for Align. The error says why the format
// holds no disk of that size.
func (o Options) VirtualSize(f Format, size int64) (int64, error) {
	switch f {
	case VHD, VHDFixed:
		return vhd.DiskSize(size, vhd.Options{Align: o.Align})
	case VMDK, OVA, VagrantVirtualBox:
		_, err := vmdk.NewWriter(io.Discard, size, vmdk.Options{Name: "disk.vmdk"})
		return size, err
	case VHDX:
		if size > maxVHDX {
			return 0, fmt.Errorf("a disk of %d bytes is too large for VHDX, which ends at 64 TiB", size)
		}
	}
	if f != Raw && f != RawGzip && f != RawZstd && size%image.SectorSize != 0 {
		return 0, fmt.Errorf("a disk of %d bytes cannot be %s, which has whole sectors of %d bytes", size, f, image.SectorSize)
	}
	return size, nil
}

// maxVHDX is the size of the largest disk that a VHDX holds, in bytes. MS-VHDX, section 2.6.2.2.
const maxVHDX = 64 << 40

// vmdk is the options of a VMDK in a file of that name.
func (o Options) vmdk(name string) vmdk.Options {
	return vmdk.Options{Name: name, Level: o.Level, AdapterType: o.AdapterType, HardwareVersion: o.HardwareVersion, ToolsVersion: o.ToolsVersion}
}

// ova is the options of an OVA in a file of that name.
func (o Options) ova(name string) ova.Options {
	return ova.Options{
		Name: strings.TrimSuffix(name, filepath.Ext(name)), Level: o.Level, Firmware: o.Firmware, SecureBoot: o.SecureBoot, HardwareVersion: o.HardwareVersion, OSType: o.OSType,
		CPUs: o.CPUs, MemoryMiB: o.MemoryMiB, Controller: o.Controller, NetworkAdapter: o.NetworkAdapter, ToolsVersion: o.ToolsVersion,
	}
}
