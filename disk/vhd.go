package disk

import (
	"bytes"
	"encoding/binary"
	"unicode/utf16"
)

// vhd reads the footer, and for dynamic and differencing disks the header and the block allocation table.
// Microsoft, "Virtual Hard Disk Image Format Specification" 1.0, sections "Hard Disk Footer Format" and "Dynamic Disk Header Format".
func (m image) vhd() (Info, error) {
	be := binary.BigEndian
	var info Info
	n := int64(512)
	foot, err := m.at(VHD, "footer", m.size-n, n)
	if err != nil {
		return info, err
	}
	if string(foot[:8]) != "conectix" && string(foot[1:9]) == "conectix" {
		n = 511
		foot = append(foot[1:], 0)
	}
	if string(foot[:8]) != "conectix" {
		return info, damaged(VHD, "no footer at the end: the file is cut off")
	}
	if err := vhdChecksum("footer", foot, 64); err != nil {
		return info, err
	}
	size := be.Uint64(foot[48:])
	if size > 1<<62 || size%512 != 0 {
		return info, damaged(VHD, "virtual size of %d bytes", size)
	}
	info.VirtualSize = int64(size)
	switch kind := be.Uint32(foot[60:]); kind {
	case 2:
		info.Variant = "fixed"
		if info.VirtualSize > m.size-n {
			return info, damaged(VHD, "fixed disk of %d bytes in a file of %d: the file is cut off", info.VirtualSize, m.size)
		}
		return info, nil
	case 3:
		info.Variant = "dynamic"
	case 4:
		info.Variant = "differencing"
	default:
		return info, damaged(VHD, "unknown disk type %d", kind)
	}
	head, err := m.at(VHD, "copy of the footer", 0, 512)
	if err != nil {
		return info, err
	}
	if n == 512 && !bytes.Equal(head, foot) {
		return info, damaged(VHD, "footer and its copy at the start are not identical")
	}
	off := be.Uint64(foot[16:])
	if off > uint64(m.size) {
		return info, damaged(VHD, "dynamic disk header at offset %d, beyond the end of the file", off)
	}
	dyn, err := m.at(VHD, "dynamic disk header", int64(off), 1024)
	if err != nil {
		return info, err
	}
	if string(dyn[:8]) != "cxsparse" {
		return info, damaged(VHD, "no dynamic disk header at offset %d", off)
	}
	if err := vhdChecksum("dynamic disk header", dyn, 36); err != nil {
		return info, err
	}
	if info.Variant == "differencing" {
		info.References = append(info.References, Reference{"parent", utf16Name(dyn[64:576])})
	}
	return info, m.vhdTable(&info, dyn)
}

func (m image) vhdTable(info *Info, dyn []byte) error {
	be := binary.BigEndian
	table, entries, block := be.Uint64(dyn[16:]), int64(be.Uint32(dyn[28:])), int64(be.Uint32(dyn[32:]))
	if block < 512 || block&(block-1) != 0 || block > 256<<20 {
		return damaged(VHD, "block size of %d bytes", block)
	}
	info.ClusterSize = block
	if entries > 64<<20 || entries*block < info.VirtualSize {
		return damaged(VHD, "block allocation table of %d entries of %d bytes for a disk of %d bytes", entries, block, info.VirtualSize)
	}
	if table > uint64(m.size) {
		return damaged(VHD, "block allocation table at offset %d, beyond the end of the file", table)
	}
	bat, err := m.at(VHD, "block allocation table", int64(table), entries*4)
	if err != nil {
		return err
	}
	for i := 0; i < len(bat); i += 4 {
		if s := be.Uint32(bat[i:]); s != 0xffffffff && int64(s)*512 >= m.size {
			return damaged(VHD, "block at sector %d lies beyond the end of the file (%d bytes): the file is cut off or forged", s, m.size)
		}
	}
	return nil
}

// vhdChecksum verifies the one's complement of the sum of all bytes but the checksum's own four.
func vhdChecksum(what string, b []byte, at int) error {
	var sum uint32
	for i, v := range b {
		if i < at || i >= at+4 {
			sum += uint32(v)
		}
	}
	if got := binary.BigEndian.Uint32(b[at:]); got != ^sum {
		return damaged(VHD, "checksum of the %s is %#x, should be %#x", what, got, ^sum)
	}
	return nil
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
