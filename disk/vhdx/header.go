package vhdx

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/ingot-image/ingot/disk/image"
)

const (
	kib = 1 << 10
	mib = 1 << 20

	headerSection = 1 * mib // sections 2.1 and 2.2: nothing else begins before
	headerSize    = 4 * kib
	tableSize     = 64 * kib // of a region table and of the metadata table
	maxEntries    = 2047     // of either
)

// guid is in its binary form: the first three fields little endian.
type guid [16]byte

// parseGUID reads the usual form of a GUID that this package was written with.
func parseGUID(s string) guid {
	var a uint32
	var b, c uint16
	var d, e uint64
	if n, err := fmt.Sscanf(s, "%08X-%04X-%04X-%04X-%012X", &a, &b, &c, &d, &e); n != 5 || err != nil {
		panic("vhdx: " + s + " is no GUID")
	}
	var g guid
	binary.LittleEndian.PutUint32(g[:], a)
	binary.LittleEndian.PutUint16(g[4:], b)
	binary.LittleEndian.PutUint16(g[6:], c)
	binary.BigEndian.PutUint64(g[8:], d<<48|e)
	return g
}

func (g guid) String() string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08X-%04X-%04X-%X-%X", le.Uint32(g[:]), le.Uint16(g[4:]), le.Uint16(g[6:]), g[8:10], g[10:])
}

// header is the current one of the two headers, section 2.2.2.
type header struct {
	sequence  uint64
	log       guid // zero: nothing is in the log
	logOffset int64
	logLength int64
}

// checksum is the CRC-32C of a structure with zeros in the place of the checksum itself, which is at byte 4 in all of them.
func checksum(b []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(0, table, b[:4])
	sum = crc32.Update(sum, table, make([]byte, 4))
	return crc32.Update(sum, table, b[8:])
}

// intact tells whether a structure has its signature and its checksum.
func intact(b []byte, signature string) bool {
	return string(b[:4]) == signature && binary.LittleEndian.Uint32(b[4:]) == checksum(b)
}

// readHeader finds the current header.
func readHeader(file image.Headers) (header, error) {
	le := binary.LittleEndian
	id, err := file.At("file identifier", 0, 8)
	if err != nil {
		return header{}, err
	}
	if string(id) != "vhdxfile" {
		return header{}, image.Damaged(image.VHDX, "it does not begin with the signature %q", "vhdxfile")
	}
	var current []byte
	for _, at := range []int64{64 * kib, 128 * kib} {
		b, err := file.At("header", at, headerSize)
		if err != nil {
			return header{}, err
		}
		if intact(b, "head") && (current == nil || le.Uint64(b[8:]) > le.Uint64(current[8:])) {
			current = b
		}
	}
	if current == nil {
		return header{}, image.Damaged(image.VHDX, "neither of its two headers is whole")
	}
	if v := le.Uint16(current[66:]); v != 1 {
		return header{}, image.Damaged(image.VHDX, "unknown version %d", v)
	}
	h := header{sequence: le.Uint64(current[8:]), log: guid(current[48:64]), logLength: int64(le.Uint32(current[68:]))}
	off := le.Uint64(current[72:])
	if h.log != (guid{}) {
		if v := le.Uint16(current[64:]); v != 0 {
			return header{}, image.Damaged(image.VHDX, "unknown version %d of the log", v)
		}
	}
	if off%mib != 0 || h.logLength%mib != 0 || h.logLength > 0 && off < headerSection || off > uint64(file.Size) || h.logLength > file.Size-int64(off) {
		return header{}, image.Damaged(image.VHDX, "log of %d bytes at offset %d of a file of %d", h.logLength, off, file.Size)
	}
	h.logOffset = int64(off)
	return h, nil
}

// region is a range of the file that a table finds.
type region struct{ start, size int64 }

func (r region) end() int64 { return r.start + r.size }

// regions are those that this version of the format knows, section 2.2.3.
type regions struct{ bat, metadata region }

func readRegions(file image.Headers) (regions, error) {
	le := binary.LittleEndian
	var table []byte
	for _, at := range []int64{192 * kib, 256 * kib} {
		b, err := file.At("region table", at, tableSize)
		if err != nil {
			return regions{}, err
		}
		if intact(b, "regi") {
			table = b
			break
		}
	}
	if table == nil {
		return regions{}, image.Damaged(image.VHDX, "neither of its two region tables is whole")
	}
	n := le.Uint32(table[8:])
	if n > maxEntries {
		return regions{}, image.Damaged(image.VHDX, "region table of %d entries", n)
	}
	found := regions{}
	bat, metadata := parseGUID("2DC27766-F623-4200-9D64-115E9BFD4A08"), parseGUID("8B7CA206-4790-4B9A-B8FE-575F050F886E")
	for i := range int(n) {
		e := table[16+32*i:]
		id, off, size := guid(e[:16]), le.Uint64(e[16:]), int64(le.Uint32(e[24:]))
		var known *region
		switch id {
		case bat:
			known = &found.bat
		case metadata:
			known = &found.metadata
		default:
			if le.Uint32(e[28:])&1 != 0 {
				return regions{}, image.Damaged(image.VHDX, "it has a region %s, which this program does not know and must not leave out", id)
			}
			continue
		}
		if known.size != 0 {
			return regions{}, image.Damaged(image.VHDX, "two regions %s", id)
		}
		if size == 0 || off < headerSection || off%mib != 0 || size%mib != 0 || off > uint64(file.Size) || size > file.Size-int64(off) {
			return regions{}, image.Damaged(image.VHDX, "region %s of %d bytes at offset %d of a file of %d", id, size, off, file.Size)
		}
		*known = region{int64(off), size}
	}
	if found.bat.size == 0 || found.metadata.size == 0 {
		return regions{}, image.Damaged(image.VHDX, "its region table lacks the block allocation table or the metadata")
	}
	return found, nil
}

// Probe reads the headers of an image, size bytes long. Nothing outside of it is opened. The error is an [image.FormatError] when they are damaged
// or the file is cut off.
func Probe(r io.ReaderAt, size int64) (image.Info, error) {
	l, err := parse(r, size)
	info := image.Info{Format: image.VHDX, FileSize: size, Variant: l.variant, VirtualSize: l.size, ClusterSize: l.block}
	if l.variant == differencing {
		info.References = []image.Reference{{Kind: "parent", Name: l.parent}}
	}
	return info, err
}
