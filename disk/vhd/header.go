package vhd

import (
	"bytes"
	"encoding/binary"
	"io"
	"unicode/utf16"

	"github.com/ingot-image/ingot/disk/image"
)

const (
	footerSize = 512
	headerSize = 1024
	unused     = 0xffffffff // block allocation table: the block holds zeros

	maxTable = 16 << 20 // bytes of a block allocation table that are read: 2 TiB in blocks of 512 KiB
	maxBlock = 256 << 20
)

// Probe reads the headers of an image, size bytes long. Nothing outside of it is opened. The error is an [image.FormatError] when they are damaged
// or the file is cut off.
func Probe(r io.ReaderAt, size int64) (image.Info, error) {
	h, err := parse(r, size)
	info := image.Info{Format: image.VHD, FileSize: size, Variant: h.variant, VirtualSize: h.size, ClusterSize: h.block}
	if h.variant == differencing && h.block != 0 {
		info.References = []image.Reference{{Kind: "parent", Name: h.parent}}
	}
	return info, err
}

const (
	fixed        = "fixed"
	dynamic      = "dynamic"
	differencing = "differencing"
)

// header is what the headers of an image say, checked.
type header struct {
	variant string
	size    int64  // of the disk
	block   int64  // size of a block; 0 in a fixed disk
	table   []byte // the block allocation table: the sector of each block of the disk, big endian
	parent  string // untrusted text
}

// bitmap is the size of the sector bitmap that comes before each block, in bytes: "Block Allocation Table and Data Blocks".
func (h header) bitmap() int64 { return (h.block/512/8 + 511) &^ 511 }

// blocks is how many blocks the disk has; the last may be cut off by the disk's end.
func (h header) blocks() int64 { return (h.size + h.block - 1) / h.block }

// parse reads the footer, and for dynamic and differencing disks the header and the block allocation table: sections "Hard Disk Footer Format" and
// "Dynamic Disk Header Format". With an error it returns what it has found.
func parse(r io.ReaderAt, size int64) (header, error) {
	be := binary.BigEndian
	file := image.Headers{R: r, Size: size, Format: image.VHD}
	var h header
	n := int64(footerSize)
	foot, err := file.At("footer", size-n, n)
	if err != nil {
		return h, err
	}
	if string(foot[:8]) != cookie && string(foot[1:9]) == cookie { // Virtual PC before 2004 wrote 511 bytes
		n = footerSize - 1
		foot = append(foot[1:], 0)
	}
	if string(foot[:8]) != cookie {
		return h, image.Damaged(image.VHD, "no footer at the end: the file is cut off")
	}
	if err := verify("footer", foot, footerChecksum); err != nil {
		return h, err
	}
	virtual := be.Uint64(foot[48:])
	if virtual > 1<<62 || virtual%512 != 0 {
		return h, image.Damaged(image.VHD, "virtual size of %d bytes", virtual)
	}
	h.size = int64(virtual)
	switch kind := be.Uint32(foot[60:]); kind {
	case typeFixed:
		h.variant = fixed
		if h.size > size-n {
			return h, image.Damaged(image.VHD, "fixed disk of %d bytes in a file of %d: the file is cut off", h.size, size)
		}
		return h, nil
	case typeDynamic:
		h.variant = dynamic
	case typeDifferencing:
		h.variant = differencing
	default:
		return h, image.Damaged(image.VHD, "unknown disk type %d", kind)
	}
	head, err := file.At("copy of the footer", 0, footerSize)
	if err != nil {
		return h, err
	}
	if n == footerSize && !bytes.Equal(head, foot) {
		return h, image.Damaged(image.VHD, "footer and its copy at the start are not identical")
	}
	off := be.Uint64(foot[16:])
	if off > uint64(size) {
		return h, image.Damaged(image.VHD, "dynamic disk header at offset %d, beyond the end of the file", off)
	}
	dyn, err := file.At("dynamic disk header", int64(off), headerSize)
	if err != nil {
		return h, err
	}
	if string(dyn[:8]) != headerCookie {
		return h, image.Damaged(image.VHD, "no dynamic disk header at offset %d", off)
	}
	if err := verify("dynamic disk header", dyn, headerChecksum); err != nil {
		return h, err
	}
	if h.variant == differencing {
		h.parent = utf16Name(dyn[64:576])
	}
	return h, h.readTable(file, dyn)
}

// readTable reads and checks the block allocation table.
func (h *header) readTable(file image.Headers, dyn []byte) error {
	be := binary.BigEndian
	at, entries, block := be.Uint64(dyn[16:]), int64(be.Uint32(dyn[28:])), int64(be.Uint32(dyn[32:]))
	if block < 512 || block&(block-1) != 0 || block > maxBlock {
		return image.Damaged(image.VHD, "block size of %d bytes", block)
	}
	h.block = block
	if h.size > entries*block || 4*h.blocks() > maxTable {
		return image.Damaged(image.VHD, "block allocation table of %d entries of %d bytes for a disk of %d bytes", entries, block, h.size)
	}
	if at > uint64(file.Size) {
		return image.Damaged(image.VHD, "block allocation table at offset %d, beyond the end of the file", at)
	}
	if 4*entries > file.Size-int64(at) {
		return image.Damaged(image.VHD, "block allocation table of %d entries at offset %d lies beyond the end of the file (%d bytes): the file is cut off or forged", entries, at, file.Size)
	}
	table, err := file.At("block allocation table", int64(at), 4*h.blocks())
	if err != nil {
		return err
	}
	all := int64(0)
	for i := int64(0); i < h.blocks(); i++ {
		s := be.Uint32(table[4*i:])
		if s == unused {
			continue
		}
		n := h.bitmap() + min(block, h.size-i*block)
		if int64(s)*512+n > file.Size {
			return image.Damaged(image.VHD, "block at sector %d lies beyond the end of the file (%d bytes): the file is cut off or forged", s, file.Size)
		}
		if all += n; all > file.Size {
			return image.Damaged(image.VHD, "more blocks than the file (%d bytes) has room for: some lie one over another", file.Size)
		}
	}
	h.table = table
	return nil
}

// verify compares the checksum at an offset of a structure.
func verify(what string, b []byte, at int) error {
	if got, want := binary.BigEndian.Uint32(b[at:]), checksum(b, at); got != want {
		return image.Damaged(image.VHD, "checksum of the %s is %#x, should be %#x", what, got, want)
	}
	return nil
}

// checksum is the one's complement of the sum of all bytes but the checksum's own four.
func checksum(b []byte, at int) uint32 {
	var sum uint32
	for i, v := range b {
		if i < at || i >= at+4 {
			sum += uint32(v)
		}
	}
	return ^sum
}

func utf16Name(b []byte) string {
	var u []uint16
	for i := 0; i+1 < len(b); i += 2 {
		v := binary.BigEndian.Uint16(b[i:])
		if v == 0 {
			break
		}
		u = append(u, v)
	}
	return string(utf16.Decode(u))
}
