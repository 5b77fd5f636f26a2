package disk

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Format is the format of a disk image file.
type Format string

// Formats that this package reads and writes.
const (
	Raw   Format = "raw"   // the disk's bytes, holes allowed
	Qcow2 Format = "qcow2" // QEMU copy-on-write, versions 2 and 3
	VMDK  Format = "vmdk"  // VMware virtual disk
	VHD   Format = "vhd"   // Microsoft virtual hard disk; qemu-img calls it vpc
)

// Formats that [Probe] only recognises by name.
const (
	VHDX      Format = "vhdx"
	VDI       Format = "vdi"
	QED       Format = "qed"
	Qcow1     Format = "qcow"
	Parallels Format = "parallels"
	Bochs     Format = "bochs"
	Cloop     Format = "cloop"
	DMG       Format = "dmg"
	OVA       Format = "ova" // a tar archive
	Gzip      Format = "gzip"
	XZ        Format = "xz"
	Zstd      Format = "zstd"
	Bzip2     Format = "bzip2"
	Zip       Format = "zip"
	SevenZip  Format = "7z"
)

// ParseFormat reads a format's name as users write it: raw, img, qcow2, vmdk, vhd or vpc, in any case.
func ParseFormat(name string) (Format, error) {
	switch strings.ToLower(name) {
	case "raw", "img":
		return Raw, nil
	case "qcow2":
		return Qcow2, nil
	case "vmdk":
		return VMDK, nil
	case "vhd", "vpc":
		return VHD, nil
	}
	return "", fmt.Errorf("unknown disk format %q: use raw, qcow2, vmdk or vhd", name)
}

// FormatOfName tells the format that a file's name promises by its extension. ok is false when it promises none of the four
// formats this package reads. The name says nothing about the content: see [CheckSafe].
func FormatOfName(path string) (f Format, ok bool) {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".raw", ".img":
		return Raw, true
	case ".qcow2":
		return Qcow2, true
	case ".vmdk":
		return VMDK, true
	case ".vhd", ".vpc":
		return VHD, true
	}
	return "", false
}

// Extension is the usual file name extension, with its dot.
func (f Format) Extension() string { return "." + string(f) }

// driver is qemu-img's name of the format.
func (f Format) driver() (string, error) {
	switch f {
	case Raw, Qcow2, VMDK:
		return string(f), nil
	case VHD:
		return "vpc", nil
	}
	return "", fmt.Errorf("format %q cannot be converted: use raw, qcow2, vmdk or vhd", f)
}
