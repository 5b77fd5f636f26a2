package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

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
	Path   string
	Format Format
	Reason string
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("%s: damaged %s image: %s", e.Path, e.Format, e.Reason)
}

// Probe reads the headers of the image at path. It needs no external tool, opens no other file, and reads a bounded amount.
// A file without the signature of any known format is Raw. Folders, devices, sockets and FIFOs are refused without blocking.
// The error is a [FormatError] when the headers are damaged or the file is cut off.
//
// Probe describes; it does not judge. Use [CheckSafe] for files from elsewhere.
func Probe(path string) (Info, error) {
	f, size, err := openRegular(path)
	if err != nil {
		return Info{}, fmt.Errorf("probe disk image: %w", err)
	}
	defer f.Close()
	info, err := probeReader(f, size)
	if fe, ok := err.(*FormatError); ok {
		fe.Path = path
		return info, fe
	}
	if err != nil {
		return info, fmt.Errorf("probe disk image %s: %w", path, err)
	}
	info.Allocated = allocated(f)
	return info, nil
}

// openRegular opens a regular file for reading and never blocks on anything else. Symbolic links are followed.
func openRegular(path string) (*os.File, int64, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	if !st.Mode().IsRegular() {
		f.Close()
		return nil, 0, fmt.Errorf("%s is %s, not a disk image file", path, kindOf(st.Mode()))
	}
	return f, st.Size(), nil
}

func kindOf(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a folder"
	case m&fs.ModeDevice != 0:
		return "a device"
	case m&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case m&fs.ModeSocket != 0:
		return "a socket"
	}
	return "not a regular file"
}

func allocated(f *os.File) int64 {
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return 0
	}
	return st.Blocks * 512
}

// image is an image file under inspection.
type image struct {
	r    io.ReaderAt
	size int64
}

// at reads exactly n bytes at off; a range beyond the file is a FormatError-to-be with what it was meant to hold.
func (m image) at(f Format, what string, off, n int64) ([]byte, error) {
	if off < 0 || n < 0 || off > m.size || n > m.size-off {
		return nil, damaged(f, "%s at offset %d, %d bytes, lies beyond the end of the file (%d bytes): the file is cut off or forged", what, off, n, m.size)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(io.NewSectionReader(m.r, off, n), b); err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	return b, nil
}

func damaged(f Format, format string, args ...any) error {
	return &FormatError{Format: f, Reason: fmt.Sprintf(format, args...)}
}

// probeReader recognises the format by signature and hands over to its parser.
func probeReader(r io.ReaderAt, size int64) (Info, error) {
	m := image{r, size}
	f, err := m.sniff()
	if err != nil {
		return Info{}, err
	}
	var info Info
	switch f {
	case Qcow2:
		info, err = m.qcow2()
	case VMDK:
		info, err = m.vmdk()
	case VHD:
		info, err = m.vhd()
	case Raw:
		info = Info{VirtualSize: size}
	}
	info.Format, info.FileSize = f, size
	return info, err
}

// signature is a byte string at a fixed place that announces a format.
type signature struct {
	offset int64 // negative: from the end of the file
	magic  string
	format Format
}

// signatures lists what qemu-img and QEMU would recognise when asked to guess, and the archive formats images travel in.
func signatures() []signature {
	return []signature{
		{0, "QFI\xfb", Qcow2}, // version told apart in sniff
		{0, "KDMV", VMDK},
		{0, "COWD", VMDK},
		{0, "conectix", VHD},
		{-512, "conectix", VHD},
		{-511, "conectix", VHD}, // written by Virtual PC before 2004
		{0, "vhdxfile", VHDX},
		{0, "QED\x00", QED},
		{0x40, "\x7f\x10\xda\xbe", VDI},
		{0, "WithoutFreeSpace", Parallels},
		{0, "WithouFreSpacExt", Parallels},
		{0, "Bochs Virtual HD Image", Bochs},
		{0, "#!/bin/sh\n#V2.0 Format", Cloop},
		{-512, "koly", DMG},
		{0, "\x1f\x8b\x08", Gzip},
		{0, "\xfd7zXZ\x00", XZ},
		{0, "\x28\xb5\x2f\xfd", Zstd},
		{0, "BZh", Bzip2},
		{0, "PK\x03\x04", Zip},
		{0, "7z\xbc\xaf\x27\x1c", SevenZip},
		{257, "ustar", OVA},
	}
}

func (m image) sniff() (Format, error) {
	head := make([]byte, min(m.size, 4096))
	if _, err := io.ReadFull(io.NewSectionReader(m.r, 0, int64(len(head))), head); err != nil {
		return "", err
	}
	tail := make([]byte, min(m.size, 512))
	if _, err := io.ReadFull(io.NewSectionReader(m.r, m.size-int64(len(tail)), int64(len(tail))), tail); err != nil {
		return "", err
	}
	for _, s := range signatures() {
		b, off := head, s.offset
		if off < 0 {
			b, off = tail, off+int64(len(tail))
		}
		if off < 0 || off > int64(len(b)) || !bytes.HasPrefix(b[off:], []byte(s.magic)) {
			continue
		}
		if s.format == Qcow2 && len(head) >= 8 && binary.BigEndian.Uint32(head[4:]) == 1 {
			return Qcow1, nil
		}
		// A boot sector may by chance look like a tar archive at byte 257; a partition table settles it.
		if s.format == OVA && len(head) >= 512 && head[510] == 0x55 && head[511] == 0xaa {
			continue
		}
		return s.format, nil
	}
	if isVMDKDescriptor(head) {
		return VMDK, nil
	}
	return Raw, nil
}

// isVMDKDescriptor applies QEMU's own rule (block/vmdk.c, vmdk_probe): comment lines and blank lines, then "version=".
func isVMDKDescriptor(b []byte) bool {
	if strings.HasPrefix(string(b), "# Disk DescriptorFile") {
		return true
	}
	for len(b) > 0 {
		line, rest, found := bytes.Cut(b, []byte("\n"))
		text := strings.TrimRight(string(line), "\r")
		switch {
		case strings.HasPrefix(text, "#") || strings.Trim(text, " ") == "":
			if !found {
				return false
			}
			b = rest
		default:
			return strings.HasPrefix(text, "version=")
		}
	}
	return false
}
