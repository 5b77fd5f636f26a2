package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ingot-image/ingot/disk/qcow2"
	"github.com/ingot-image/ingot/disk/vhd"
	"github.com/ingot-image/ingot/disk/vhdx"
	"github.com/ingot-image/ingot/disk/vmdk"
)

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
	var fe *FormatError
	if errors.As(err, &fe) {
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
		return nil, 0, &notRegularError{path, kindOf(st.Mode())}
	}
	return f, st.Size(), nil
}

// notRegularError says what is in the place of a file.
type notRegularError struct{ path, kind string }

func (e *notRegularError) Error() string {
	return fmt.Sprintf("%s is %s, not a disk image file", e.path, e.kind)
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

// probeReader recognises the format by signature and hands over to its parser.
func probeReader(r io.ReaderAt, size int64) (Info, error) {
	f, err := sniff(r, size)
	if err != nil {
		return Info{}, err
	}
	return probeAs(f, r, size)
}

// probeAs reads the headers of what is known to be of a format.
func probeAs(f Format, r io.ReaderAt, size int64) (Info, error) {
	switch f {
	case Qcow2:
		return qcow2.Probe(r, size)
	case VMDK:
		return vmdk.Probe(r, size)
	case VHD:
		return vhd.Probe(r, size)
	case VHDX:
		return vhdx.Probe(r, size)
	case Raw:
		return Info{Format: Raw, VirtualSize: size, FileSize: size}, nil
	}
	return Info{Format: f, FileSize: size}, nil
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

// sniff recognises a format by its signature.
func sniff(r io.ReaderAt, size int64) (Format, error) {
	head := make([]byte, min(size, 4096))
	if _, err := io.ReadFull(io.NewSectionReader(r, 0, int64(len(head))), head); err != nil {
		return "", err
	}
	tail := make([]byte, min(size, 512))
	if _, err := io.ReadFull(io.NewSectionReader(r, size-int64(len(tail)), int64(len(tail))), tail); err != nil {
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
