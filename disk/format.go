package disk

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/ingot-image/ingot/disk/image"
)

// What the formats share is in package image.
type (
	Format      = image.Format
	Info        = image.Info
	Reference   = image.Reference
	FormatError = image.FormatError
	Extent      = image.Extent
)

// The formats of package image.
const (
	Raw   = image.Raw
	Qcow2 = image.Qcow2
	VMDK  = image.VMDK
	VHD   = image.VHD
	VHDX  = image.VHDX
	VDI   = image.VDI
	QED   = image.QED
	Qcow1 = image.Qcow1
	OVA   = image.OVA
	Gzip  = image.Gzip
	XZ    = image.XZ
	Zstd  = image.Zstd
	Bzip2 = image.Bzip2
	Zip   = image.Zip

	Parallels = image.Parallels
	Bochs     = image.Bochs
	Cloop     = image.Cloop
	DMG       = image.DMG
	SevenZip  = image.SevenZip
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

// driver is qemu-img's name of the format.
func driver(f Format) (string, error) {
	switch f {
	case Raw, Qcow2, VMDK:
		return string(f), nil
	case VHD:
		return "vpc", nil
	}
	return "", fmt.Errorf("format %q cannot be converted: use raw, qcow2, vmdk or vhd", f)
}
