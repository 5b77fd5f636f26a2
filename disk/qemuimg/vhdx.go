package qemuimg

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
)

// Places in a VHDX: [MS-VHDX] 2.2 to 2.6. Numbers are little-endian, checksums CRC-32C.
const (
	headerOne, headerTwo = 64 << 10, 128 << 10
	headerSize           = 4096
	regionTable          = 192 << 10
	tableEntry           = 32 // bytes of a region's and of a metadata item's entry
)

var (
	metadataRegion = guid("8B7CA206-4790-4B9A-B8FE-575F050F886E")
	virtualDiskID  = guid("BECA12AB-B2E6-4523-93EF-C309E000C746")
)

// guid gives the bytes that a GUID has in a file.
func guid(s string) []byte {
	var a uint32
	var b, c uint16
	var d, e uint64
	fmt.Sscanf(s, "%08X-%04X-%04X-%04X-%012X", &a, &b, &c, &d, &e)
	g := binary.LittleEndian.AppendUint32(nil, a)
	g = binary.LittleEndian.AppendUint16(g, b)
	g = binary.LittleEndian.AppendUint16(g, c)
	return binary.BigEndian.AppendUint64(g, d<<48|e)
}

// settleVHDX replaces what QEMU writes at random into a VHDX by what depends on the disk only: the numbers and identifiers of the headers, and
// the disk's identifier, which SCSI's page 83 shows to a guest. The log, of which nothing is in force any more, is emptied.
func settleVHDX(f *os.File, id [16]byte, size int64) error {
	le := binary.LittleEndian
	damaged := func(what string) error { return errors.New("QEMU wrote a VHDX with " + what) }
	headers := make([]byte, 2*headerSize)
	one, two := headers[:headerSize], headers[headerSize:]
	if err := readAll(f, part{one, headerOne}, part{two, headerTwo}); err != nil {
		return err
	}
	for _, h := range [][]byte{one, two} {
		if string(h[:4]) != "head" || !bytes.Equal(h[48:64], make([]byte, 16)) {
			return damaged("a bad header or a log that was not replayed")
		}
	}
	newer := 1
	if le.Uint64(one[8:]) > le.Uint64(two[8:]) {
		newer = 0
	}
	logSize, logAt := le.Uint32(one[68:]), le.Uint64(one[72:])
	if logSize > 64<<20 || logAt < 1<<20 || logAt > 1<<40 {
		return damaged(fmt.Sprintf("a log of %d bytes at %d", logSize, logAt))
	}
	if _, err := f.WriteAt(make([]byte, logSize), int64(logAt)); err != nil {
		return err
	}
	for i, h := range [][]byte{one, two} {
		sequence := uint64(1)
		if i == newer {
			sequence = 2
		}
		le.PutUint64(h[8:], sequence)
		copy(h[16:], identifier(id, "file", size))
		copy(h[32:], identifier(id, "data", size))
		le.PutUint32(h[4:], 0)
		le.PutUint32(h[4:], crc32.Checksum(h, crc32.MakeTable(crc32.Castagnoli)))
	}
	at, err := diskIDOffset(f)
	if err != nil {
		return err
	}
	for _, p := range []part{{one, headerOne}, {two, headerTwo}, {identifier(id, "disk", size), at}} {
		if _, err := f.WriteAt(p.data, p.at); err != nil {
			return err
		}
	}
	return nil
}

// diskIDOffset finds the disk's identifier by way of the region table and the metadata table.
func diskIDOffset(f *os.File) (int64, error) {
	regions, table := make([]byte, 16+8*tableEntry), make([]byte, 32+32*tableEntry)
	if err := readAll(f, part{regions, regionTable}); err != nil {
		return 0, err
	}
	region := find(regions[16:], metadataRegion)
	if region == nil {
		return 0, errors.New("QEMU wrote a VHDX without metadata")
	}
	start := int64(binary.LittleEndian.Uint64(region[16:]))
	if err := readAll(f, part{table, start}); err != nil {
		return 0, err
	}
	item := find(table[32:], virtualDiskID)
	if item == nil || binary.LittleEndian.Uint32(item[20:]) != 16 {
		return 0, errors.New("QEMU wrote a VHDX without an identifier of the disk")
	}
	return start + int64(binary.LittleEndian.Uint32(item[16:])), nil
}

// find returns the entry of a table that begins with a GUID, or nil.
func find(table, guid []byte) []byte {
	for ; len(table) >= tableEntry; table = table[tableEntry:] {
		if bytes.Equal(table[:16], guid) {
			return table[:tableEntry]
		}
	}
	return nil
}

type part struct {
	data []byte
	at   int64
}

func readAll(f *os.File, parts ...part) error {
	for _, p := range parts {
		if _, err := f.ReadAt(p.data, p.at); err != nil {
			return fmt.Errorf("read the VHDX that QEMU wrote: %w", err)
		}
	}
	return nil
}

// identifier makes a GUID for a purpose out of the disk's content and size: RFC 9562, version 8.
func identifier(content [16]byte, purpose string, size int64) []byte {
	h := sha256.New()
	h.Write(content[:])
	h.Write(binary.LittleEndian.AppendUint64([]byte(purpose), uint64(size)))
	g := h.Sum(nil)[:16]
	g[7] = g[7]&0x0f | 0x80 // the third field is little-endian
	g[8] = g[8]&0x3f | 0x80
	return g
}
