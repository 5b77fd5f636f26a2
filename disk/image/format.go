package image

import (
	"errors"
	"fmt"
	"io"
)

// Format is the format of a file that holds a disk.
type Format string

// Formats that are read and written.
const (
	Raw               Format = "raw"        // the disk's bytes, holes allowed
	RawGzip           Format = "raw+gzip"   // a raw disk, compressed by gzip
	RawZstd           Format = "raw+zstd"   // a raw disk, compressed by zstd
	Qcow2             Format = "qcow2"      // QEMU copy-on-write, versions 2 and 3
	Qcow2Zstd         Format = "qcow2+zstd" // with clusters compressed by zstd
	VMDK              Format = "vmdk"       // VMware virtual disk; written as streamOptimized
	VHD               Format = "vhd"        // Microsoft virtual hard disk; qemu-img calls it vpc; written as dynamic
	VHDFixed          Format = "vhd-fixed"  // the same without a table: the disk's bytes and a footer
	VHDX              Format = "vhdx"       // Microsoft virtual hard disk v2; written as dynamic
	OVA               Format = "ova"        // a tar archive of an OVF descriptor and a VMDK
	VagrantLibvirt    Format = "vagrant-libvirt"
	VagrantVirtualBox Format = "vagrant-virtualbox"
)

// Formats that are only recognised by name.
const (
	VDI       Format = "vdi"
	QED       Format = "qed"
	Qcow1     Format = "qcow"
	Parallels Format = "parallels"
	Bochs     Format = "bochs"
	Cloop     Format = "cloop"
	DMG       Format = "dmg"
	Gzip      Format = "gzip"
	XZ        Format = "xz"
	Zstd      Format = "zstd"
	Bzip2     Format = "bzip2"
	Zip       Format = "zip"
	SevenZip  Format = "7z"
)

// Extension is the usual file name extension, with its dot. No two formats have the same, so that an image can be written in all of them.
func (f Format) Extension() string {
	switch f {
	case RawGzip:
		return ".raw.gz"
	case RawZstd:
		return ".raw.zst"
	case Qcow2Zstd:
		return ".zstd.qcow2"
	case VHDFixed:
		return ".fixed.vhd"
	case VagrantLibvirt:
		return ".libvirt.box"
	case VagrantVirtualBox:
		return ".virtualbox.box"
	}
	return "." + string(f)
}

// Info is what the headers of a disk image say.
type Info struct {
	Format      Format
	Variant     string // "streamOptimized", "monolithicSparse", "fixed", "dynamic", "v3", ...; empty when there is only one
	VirtualSize int64  // size of the disk in bytes; 0 for formats that are only recognised
	FileSize    int64  // length of the file in bytes
	Allocated   int64  // bytes the file takes up on the host
	ClusterSize int64  // unit of allocation in bytes, 0 when there is none
	Encrypted   bool
	Compressed  bool        // clusters are or may be compressed
	References  []Reference // files outside this one that a reader would open
}

// Reference is a file that an image names and that a reader would open with it.
type Reference struct {
	Kind string // "backing file", "external data file", "extent", "parent"
	Name string // as written in the image: untrusted text
}

func (r Reference) String() string { return fmt.Sprintf("%s %q", r.Kind, r.Name) }

// FormatError says why a file is not a well-formed image of the format that its first bytes announce.
type FormatError struct {
	Path   string // empty where only the content is known
	Format Format
	Reason string
}

func (e *FormatError) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("damaged %s image: %s", e.Format, e.Reason)
	}
	return fmt.Sprintf("%s: damaged %s image: %s", e.Path, e.Format, e.Reason)
}

// Damaged makes a [FormatError] of what is wrong.
func Damaged(f Format, format string, args ...any) error {
	return &FormatError{Format: f, Reason: fmt.Sprintf(format, args...)}
}

// Headers reads parts of a file that the file itself tells the place of. Nothing beyond the end is asked for, or memory taken for it.
type Headers struct {
	R      io.ReaderAt
	Size   int64 // of the file
	Format Format
}

// At reads exactly n bytes at off. A range beyond the file is a [FormatError] with what it was meant to hold.
func (h Headers) At(what string, off, n int64) ([]byte, error) {
	if off < 0 || n < 0 || off > h.Size || n > h.Size-off {
		return nil, Damaged(h.Format, "%s at offset %d, %d bytes, lies beyond the end of the file (%d bytes): the file is cut off or forged", what, off, n, h.Size)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(io.NewSectionReader(h.R, off, n), b); err != nil {
		if errors.Is(err, io.EOF) { // no end of the disk, but a file that has become shorter
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	return b, nil
}
