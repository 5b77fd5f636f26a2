package container

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// The kinds of VHD (Microsoft, "Virtual Hard Disk Image Format Specification" 1.0, "Disk Type").
const (
	vhdFixed   = 2
	vhdDynamic = 3
)

var errFooters = &Refusal{"ClientError: Footers not identical"}

// vhdSum is the checksum of a footer or header: the complement of the sum of its bytes but those of the checksum.
func vhdSum(b []byte, at int) uint32 {
	var sum uint32
	for i, c := range b {
		if i < at || i >= at+4 {
			sum += uint32(c)
		}
	}
	return ^sum
}

func expandVHD(ctx context.Context, src io.ReaderAt, size int64, dst *os.File) (int64, error) {
	footer, err := read(src, size-sector, sector, size)
	if err != nil || string(footer[:8]) != "conectix" {
		return 0, invalid("Unsupported VHD File Format")
	}
	if vhdSum(footer, 64) != binary.BigEndian.Uint32(footer[64:]) {
		return 0, invalid("The checksum of the VHD footer is wrong")
	}
	virtual := int64(binary.BigEndian.Uint64(footer[48:]))
	if virtual <= 0 || virtual > maxDisk || virtual%sector != 0 {
		return 0, invalid("The disk size %d is not supported", virtual)
	}
	switch binary.BigEndian.Uint32(footer[60:]) {
	case vhdFixed:
		if virtual != size-sector {
			return 0, invalid("The VHD is of %d bytes and has %d", virtual, size-sector)
		}
		return virtual, spread(ctx, src, virtual, dst, 0)
	case vhdDynamic:
		first, err := read(src, 0, sector, size)
		if err != nil || !bytes.Equal(first, footer) {
			return 0, errFooters
		}
		return virtual, expandDynamic(ctx, src, size, dst, virtual, int64(binary.BigEndian.Uint64(footer[16:])))
	}
	return 0, invalid("Unsupported VHD File Format")
}

// expandDynamic follows the block allocation table. A block is a bitmap of its sectors, padded to a sector, and its data.
func expandDynamic(ctx context.Context, src io.ReaderAt, size int64, dst *os.File, virtual, headerAt int64) error {
	header, err := read(src, headerAt, 1024, size)
	if err != nil || string(header[:8]) != "cxsparse" || vhdSum(header, 36) != binary.BigEndian.Uint32(header[36:]) {
		return invalid("The dynamic header of the VHD is damaged")
	}
	tableAt, entries, block := int64(binary.BigEndian.Uint64(header[16:])), int64(binary.BigEndian.Uint32(header[28:])), int64(binary.BigEndian.Uint32(header[32:]))
	if block < sector || block > 1<<28 || block&(block-1) != 0 || entries < (virtual+block-1)/block {
		return invalid("The dynamic header of the VHD is damaged")
	}
	table, err := read(src, tableAt, entries*4, size)
	if err != nil {
		return invalid("The block allocation table of the VHD is not in the file")
	}
	bitmap := (block/sector/8 + sector - 1) / sector * sector
	used := map[uint32]bool{}
	for i := range (virtual + block - 1) / block {
		at := binary.BigEndian.Uint32(table[i*4:])
		if at == 0xffffffff {
			continue
		}
		if used[at] {
			return invalid("Two blocks of the VHD are at one place")
		}
		used[at] = true
		data := io.NewSectionReader(src, int64(at)*sector+bitmap, block)
		if int64(at)*sector+bitmap+block > size-sector {
			return invalid("A block of the VHD is not in the file")
		}
		if err := spread(ctx, data, min(block, virtual-i*block), dst, i*block); err != nil {
			return err
		}
	}
	return nil
}

// expandVHDX leaves the reading to qemu-img, which is nobody's writer here.
func expandVHDX(ctx context.Context, src io.ReaderAt, size int64, dst *os.File) (int64, error) {
	if magic, err := read(src, 0, 8, size); err != nil || string(magic) != "vhdxfile" {
		return 0, invalid("Unsupported VHDX File Format")
	}
	dir, err := os.MkdirTemp("", "vhdx-*")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	in, out := filepath.Join(dir, "disk.vhdx"), filepath.Join(dir, "disk.raw")
	f, err := os.Create(in)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(f, io.NewSectionReader(src, 0, size))
	f.Close()
	if err != nil {
		return 0, err
	}
	if text, err := exec.CommandContext(ctx, "qemu-img", "convert", "-f", "vhdx", "-O", "raw", in, out).CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return 0, invalid("Unsupported VHDX File Format: %s", bytes.TrimSpace(text))
	}
	raw, err := os.Open(out)
	if err != nil {
		return 0, err
	}
	defer raw.Close()
	st, err := raw.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), spread(ctx, raw, st.Size(), dst, 0)
}
