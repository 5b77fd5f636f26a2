// Package vhd reads and writes Microsoft virtual hard disks: "Virtual Hard Disk Image Format Specification" 1.0.
package vhd

import (
	"bytes"
	"encoding/binary"
	"io"
	"unicode/utf16"

	"github.com/ingot-image/ingot/disk/image"
)

// Probe reads the headers of an image, size bytes long. Nothing outside of it is opened. The error is an [image.FormatError] when they are damaged or the file is cut off.
func Probe(r io.ReaderAt, size int64) (image.Info, error) {
	m := file{image.Headers{R: r, Size: size, Format: image.VHD}}
	info, err := m.info()
	info.Format, info.FileSize = image.VHD, size
	return info, err
}

// file is an image file under inspection.
type file struct{ image.Headers }

// info reads the footer, and for dynamic and differencing disks the header and the block allocation table.
// Microsoft, "Virtual Hard Disk Image Format Specification" 1.0, sections "Hard Disk Footer Format" and "Dynamic Disk Header Format".
func (m file) info() (image.Info, error) {
	be := binary.BigEndian
	var info image.Info
	n := int64(512)
	foot, err := m.At("footer", m.Size-n, n)
	if err != nil {
		return info, err
	}
	if string(foot[:8]) != "conectix" && string(foot[1:9]) == "conectix" {
		n = 511
		foot = append(foot[1:], 0)
	}
	if string(foot[:8]) != "conectix" {
		return info, image.Damaged(image.VHD, "no footer at the end: the file is cut off")
	}
	if err := checksum("footer", foot, 64); err != nil {
		return info, err
	}
	size := be.Uint64(foot[48:])
	if size > 1<<62 || size%512 != 0 {
		return info, image.Damaged(image.VHD, "virtual size of %d bytes", size)
	}
	info.VirtualSize = int64(size)
	switch kind := be.Uint32(foot[60:]); kind {
	case 2:
		info.Variant = "fixed"
		if info.VirtualSize > m.Size-n {
			return info, image.Damaged(image.VHD, "fixed disk of %d bytes in a file of %d: the file is cut off", info.VirtualSize, m.Size)
		}
		return info, nil
	case 3:
		info.Variant = "dynamic"
	case 4:
		info.Variant = "differencing"
	default:
		return info, image.Damaged(image.VHD, "unknown disk type %d", kind)
	}
	head, err := m.At("copy of the footer", 0, 512)
	if err != nil {
		return info, err
	}
	if n == 512 && !bytes.Equal(head, foot) {
		return info, image.Damaged(image.VHD, "footer and its copy at the start are not identical")
	}
	off := be.Uint64(foot[16:])
	if off > uint64(m.Size) {
		return info, image.Damaged(image.VHD, "dynamic disk header at offset %d, beyond the end of the file", off)
	}
	dyn, err := m.At("dynamic disk header", int64(off), 1024)
	if err != nil {
		return info, err
	}
	if string(dyn[:8]) != "cxsparse" {
		return info, image.Damaged(image.VHD, "no dynamic disk header at offset %d", off)
	}
	if err := checksum("dynamic disk header", dyn, 36); err != nil {
		return info, err
	}
	if info.Variant == "differencing" {
		info.References = append(info.References, image.Reference{Kind: "parent", Name: utf16Name(dyn[64:576])})
	}
	return info, m.table(&info, dyn)
}

func (m file) table(info *image.Info, dyn []byte) error {
	be := binary.BigEndian
	table, entries, block := be.Uint64(dyn[16:]), int64(be.Uint32(dyn[28:])), int64(be.Uint32(dyn[32:]))
	if block < 512 || block&(block-1) != 0 || block > 256<<20 {
		return image.Damaged(image.VHD, "block size of %d bytes", block)
	}
	info.ClusterSize = block
	if entries > 64<<20 || entries*block < info.VirtualSize {
		return image.Damaged(image.VHD, "block allocation table of %d entries of %d bytes for a disk of %d bytes", entries, block, info.VirtualSize)
	}
	if table > uint64(m.Size) {
		return image.Damaged(image.VHD, "block allocation table at offset %d, beyond the end of the file", table)
	}
	bat, err := m.At("block allocation table", int64(table), entries*4)
	if err != nil {
		return err
	}
	for i := 0; i < len(bat); i += 4 {
		if s := be.Uint32(bat[i:]); s != 0xffffffff && int64(s)*512 >= m.Size {
			return image.Damaged(image.VHD, "block at sector %d lies beyond the end of the file (%d bytes): the file is cut off or forged", s, m.Size)
		}
	}
	return nil
}

// checksum verifies the one's complement of the sum of all bytes but the checksum's own four.
func checksum(what string, b []byte, at int) error {
	var sum uint32
	for i, v := range b {
		if i < at || i >= at+4 {
			sum += uint32(v)
		}
	}
	if got := binary.BigEndian.Uint32(b[at:]); got != ^sum {
		return image.Damaged(image.VHD, "checksum of the %s is %#x, should be %#x", what, got, ^sum)
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
