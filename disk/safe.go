package disk

import (
	"fmt"
	"strings"
)

// Limits bounds what [CheckSafe] accepts. Zero fields mean the defaults.
type Limits struct {
	VirtualSize int64 // largest virtual size in bytes; default 64 TiB
	FileSize    int64 // longest file in bytes; default no limit
}

// DefaultVirtualSizeLimit is the largest virtual size that [CheckSafe] accepts when told nothing else: 64 TiB.
const DefaultVirtualSizeLimit = 64 << 40

// UnsafeError says why an image was refused and what to do about it.
type UnsafeError struct {
	Path   string
	Reason string // what was found
	Hint   string // what to do; may be empty
}

func (e *UnsafeError) Error() string {
	s := fmt.Sprintf("%s refused: %s", e.Path, e.Reason)
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// CheckSafe decides whether an image from somewhere else may be opened by qemu-img or QEMU. want is the format that the caller
// was told; when it is empty the file name's extension must tell it. It refuses
//   - content of another format than want, in both directions: a raw disk whose first bytes are a qcow2 header is the classic
//     way to make a program that guesses formats read any file of the host;
//   - anything that would open a second file: qcow2 backing files and external data files, VMDK descriptors with extents or
//     parents elsewhere, VHD and VHDX differencing disks;
//   - unknown features, encryption, sizes beyond the limits, tables beyond the end of the file, files cut off;
//   - folders, devices, sockets and FIFOs.
//
// The error is an [UnsafeError] or a [FormatError], or comes from the operating system. Afterwards always open the image with
// the explicit format Info.Format.
func CheckSafe(path string, want Format, limits Limits) (Info, error) {
	if limits.VirtualSize == 0 {
		limits.VirtualSize = DefaultVirtualSizeLimit
	}
	refuse := func(hint, reason string, args ...any) error {
		return &UnsafeError{Path: path, Reason: fmt.Sprintf(reason, args...), Hint: hint}
	}
	declared := "declared as"
	if want == "" {
		f, ok := FormatOfName(path)
		if !ok {
			return Info{}, refuse("name it .raw, .img, .qcow2, .vmdk, .vhd or .vhdx after its format, or declare the format", "the file name does not tell the format")
		}
		want, declared = f, "named as"
	}
	info, err := Probe(path)
	// The format mismatch is the better message, even when the other format's header is damaged as well.
	if info.Format != "" && info.Format != want {
		hint := "give its true format, or check where the file comes from"
		if other := otherFormat(info.Format); other != "" {
			hint = other
		} else if info.Format == Raw {
			hint = fmt.Sprintf("no %s signature was found; the file may be damaged", want)
		}
		return info, refuse(hint, "%s %s, but the content is %s", declared, want, info.Format)
	}
	if err != nil {
		return info, err
	}
	return info, acceptable(path, info, limits)
}

// otherFormat says what to do with a format that is only recognised.
func otherFormat(f Format) string {
	switch f {
	case Gzip, XZ, Zstd, Bzip2, Zip, SevenZip:
		return "decompress it first"
	case OVA:
		return "unpack it with tar and give the .vmdk in it"
	case VDI, QED, Qcow1, Parallels, Bochs, Cloop, DMG:
		return "if you trust it, convert it first: qemu-img convert -O qcow2"
	}
	return ""
}

// acceptable refuses what no image of a known format may have.
func acceptable(path string, info Info, limits Limits) error {
	refuse := func(hint, reason string, args ...any) error {
		return &UnsafeError{Path: path, Reason: fmt.Sprintf(reason, args...), Hint: hint}
	}
	switch {
	case info.FileSize == 0:
		return refuse("", "the file is empty")
	case limits.FileSize > 0 && info.FileSize > limits.FileSize:
		return refuse("", "the file has %s, the limit is %s", formatBytes(info.FileSize), formatBytes(limits.FileSize))
	case len(info.References) > 0:
		hint := "make it one self-contained file first: qemu-img convert -O qcow2"
		return refuse(hint, "it would open another file: %s", referenceList(info.References))
	case info.Format == VMDK && info.Variant != "monolithicSparse" && info.Variant != "streamOptimized":
		return refuse("convert it to a monolithicSparse or streamOptimized VMDK", "VMDK of type %s", bounded(info.Variant, 64))
	case info.Encrypted:
		return refuse("decrypt it first", "the image is encrypted")
	case info.VirtualSize <= 0:
		return refuse("", "the disk has no size")
	case info.VirtualSize > limits.VirtualSize:
		return tooLarge(path, info.VirtualSize, limits)
	case info.Format == Raw && info.VirtualSize%512 != 0:
		return refuse("the file may be cut off", "length of %d bytes is no multiple of 512", info.VirtualSize)
	}
	return nil
}

func tooLarge(path string, size int64, limits Limits) error {
	return &UnsafeError{Path: path, Reason: fmt.Sprintf("virtual size of %s, the limit is %s", formatBytes(size), formatBytes(limits.VirtualSize))}
}

func referenceList(refs []Reference) string {
	var s []string
	for i, r := range refs {
		if i == 3 {
			s = append(s, fmt.Sprintf("and %d more", len(refs)-i))
			break
		}
		r.Name = bounded(r.Name, 200)
		s = append(s, r.String())
	}
	return strings.Join(s, ", ")
}

func bounded(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
