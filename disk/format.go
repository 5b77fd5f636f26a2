package disk

import (
	"fmt"
	"path/filepath"
	"slices"
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

// The formats of package image that are read or written.
const (
	Raw               = image.Raw
	RawGzip           = image.RawGzip
	RawZstd           = image.RawZstd
	Qcow2             = image.Qcow2
	Qcow2Zstd         = image.Qcow2Zstd
	VMDK              = image.VMDK
	VHD               = image.VHD
	VHDFixed          = image.VHDFixed
	VHDX              = image.VHDX
	OVA               = image.OVA
	VagrantLibvirt    = image.VagrantLibvirt
	VagrantVirtualBox = image.VagrantVirtualBox
)

// The formats of package image that are only recognised, or unpacked.
const (
	Gzip      = image.Gzip
	XZ        = image.XZ
	Zstd      = image.Zstd
	Bzip2     = image.Bzip2
	Zip       = image.Zip
	SevenZip  = image.SevenZip
	VDI       = image.VDI
	QED       = image.QED
	Qcow1     = image.Qcow1
	Parallels = image.Parallels
	Bochs     = image.Bochs
	Cloop     = image.Cloop
	DMG       = image.DMG
)

// Formats lists the formats that [Write] writes.
func Formats() []Format {
	return []Format{Raw, RawGzip, RawZstd, Qcow2, Qcow2Zstd, VMDK, VHD, VHDFixed, VHDX, OVA, VagrantLibvirt, VagrantVirtualBox}
}

// ParseFormat reads the name of a format that are written, in any case; img stands for raw, vpc for vhd.
func ParseFormat(name string) (Format, error) {
	f := Format(strings.ToLower(name))
	switch {
	case f == "img":
		return Raw, nil
	case f == "vpc":
		return VHD, nil
	case slices.Contains(Formats(), f):
		return f, nil
	}
	return "", fmt.Errorf("unknown disk format %q: use %s", name, formatNames())
}

func formatNames() string {
	all := Formats()
	var b strings.Builder
	for i, f := range all {
		switch {
		case i == len(all)-1:
			b.WriteString(" or ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(string(f))
	}
	return b.String()
}

// FormatOfName tells the format that a file's name promises by its extension. ok is false when it promises none of raw, qcow2, VMDK,
// VHD and VHDX. The name says nothing about the content: see [CheckSafe].
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
	case ".vhdx":
		return VHDX, true
	}
	return "", false
}

// FormatToWrite tells the format that a file of this name is to be written in: one that [FormatOfName] knows, or a compressed raw disk or an
// OVA.
func FormatToWrite(path string) (f Format, ok bool) {
	if f, ok := FormatOfName(path); ok {
		return f, true
	}
	switch strings.ToLower(filepath.Ext(path)) {
	case ".gz":
		f, _ = FormatOfName(strings.TrimSuffix(path, filepath.Ext(path)))
		return RawGzip, f == Raw
	case ".zst":
		f, _ = FormatOfName(strings.TrimSuffix(path, filepath.Ext(path)))
		return RawZstd, f == Raw
	case ".ova":
		return OVA, true
	}
	return "", false
}

// Driver is the name of QEMU's block driver for a format; ok is false for files that QEMU does not open as disks.
func Driver(f Format) (name string, ok bool) {
	switch f {
	case Raw, Qcow2, VMDK, VHDX:
		return string(f), true
	case Qcow2Zstd:
		return string(Qcow2), true
	case VHD, VHDFixed:
		return "vpc", true
	}
	return "", false
}

func driver(f Format) (string, error) {
	name, ok := Driver(f)
	if !ok {
		return "", fmt.Errorf("QEMU does not read %s files", f)
	}
	return name, nil
}
