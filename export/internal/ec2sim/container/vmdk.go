package container

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"regexp"
)

// vmdkHeader is the header of a sparse extent (VMware, "Virtual Disk Format 5.0", SparseExtentHeader), little-endian, sizes and places in sectors.
type vmdkHeader struct {
	Magic, Version, Flags             uint32
	Capacity, GrainSize               uint64
	DescriptorOffset, DescriptorSize  uint64
	EntriesPerTable                   uint32
	RedundantDirectory, Directory     uint64
	Overhead                          uint64
	Unclean                           byte
	SingleEnd, NonEnd, DoubleEnd, End byte
	Compression                       uint16
	_                                 [433]byte
}

const (
	vmdkMagic      = 0x564d444b // KDMV
	vmdkCompressed = 1 << 16    // flags: grains are compressed
	vmdkMarkers    = 1 << 17    // and have markers
	vmdkAtEnd      = 1<<64 - 1  // the directory is where the footer says
)

// The kinds of markers.
const (
	markerEnd = iota
	markerTable
	markerDirectory
	markerFooter
)

var (
	errVMDK = invalid("Unsupported VMDK File Format")
	errData = invalid("Uncompressed data has an invalid length")

	createType = regexp.MustCompile(`(?m)^createType="(\w+)"\s*$`)
)

// vmdk is a streamOptimized extent.
type vmdk struct {
	vmdkHeader
	src  io.ReaderAt
	size int64
}

func expandVMDK(ctx context.Context, src io.ReaderAt, size int64, dst *os.File) (int64, error) {
	header, err := readVMDKHeader(src, 0, size)
	if err != nil {
		return 0, err
	}
	v := &vmdk{header, src, size}
	if err := v.checkDescriptor(); err != nil {
		return 0, err
	}
	directory := header.Directory
	if directory == vmdkAtEnd {
		footer, err := v.footer()
		if err != nil {
			return 0, err
		}
		directory = footer.Directory
	}
	grains, err := v.grains(directory)
	if err != nil {
		return 0, err
	}
	if header.Directory == vmdkAtEnd {
		if err := v.walk(len(grains)); err != nil {
			return 0, err
		}
	}
	for lba, at := range grains {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		data, err := v.grain(lba, at)
		if err != nil {
			return 0, err
		}
		if _, err := dst.WriteAt(data, int64(lba)*sector); err != nil {
			return 0, err
		}
	}
	return int64(v.Capacity) * sector, nil
}

func readVMDKHeader(src io.ReaderAt, at, size int64) (h vmdkHeader, err error) {
	b, err := read(src, at, sector, size)
	if err != nil {
		return h, errVMDK
	}
	if err := binary.Read(bytes.NewReader(b), binary.LittleEndian, &h); err != nil {
		return h, err
	}
	switch {
	case h.Magic != vmdkMagic, h.Version < 1 || h.Version > 3, h.Flags&1 == 0,
		h.SingleEnd != '\n' || h.NonEnd != ' ' || h.DoubleEnd != '\r' || h.End != '\n':
		return h, errVMDK
	case h.Flags&vmdkCompressed == 0 || h.Flags&vmdkMarkers == 0:
		return h, errVMDK // monolithicSparse and its like
	case h.Compression != 1:
		return h, &Refusal{"File uses unsupported compression algorithm " + string('0'+rune(h.Compression%10))}
	case h.GrainSize < 8 || h.GrainSize > 2048 || h.GrainSize&(h.GrainSize-1) != 0, h.EntriesPerTable != 512,
		h.Capacity == 0 || h.Capacity > maxDisk/sector:
		return h, errVMDK
	}
	return h, nil
}

func (v *vmdk) checkDescriptor() error {
	if v.DescriptorOffset == 0 || v.DescriptorSize == 0 || v.DescriptorSize > 1<<11 || v.DescriptorOffset > 1<<20 {
		return errVMDK
	}
	b, err := read(v.src, int64(v.DescriptorOffset)*sector, int64(v.DescriptorSize)*sector, v.size)
	if err != nil {
		return errVMDK
	}
	m := createType.FindSubmatch(bytes.TrimRight(b, "\x00"))
	if m == nil || string(m[1]) != "streamOptimized" {
		return errVMDK
	}
	return nil
}

// footer reads the second header: before it is its marker, behind it the end of the stream, and that is the end of the file.
func (v *vmdk) footer() (h vmdkHeader, err error) {
	if v.size%sector != 0 || v.size < 4*sector {
		return h, errVMDK
	}
	tail, err := read(v.src, v.size-3*sector, 3*sector, v.size)
	if err != nil {
		return h, err
	}
	kind := binary.LittleEndian.Uint32(tail[12:])
	if binary.LittleEndian.Uint64(tail) != 1 || binary.LittleEndian.Uint32(tail[8:]) != 0 || kind != markerFooter || !bytes.Equal(tail[2*sector:], make([]byte, sector)) {
		return h, errVMDK
	}
	if h, err = readVMDKHeader(v.src, v.size-2*sector, v.size); err != nil {
		return h, err
	}
	if h.Capacity != v.Capacity || h.GrainSize != v.GrainSize || h.Directory == vmdkAtEnd {
		return h, errVMDK
	}
	return h, nil
}

// grains reads directory and tables: where each grain is, by the sector of the disk that it begins at.
func (v *vmdk) grains(directory uint64) (map[uint64]uint64, error) {
	perTable := v.GrainSize * uint64(v.EntriesPerTable)
	tables, err := v.entries(directory, (v.Capacity+perTable-1)/perTable)
	if err != nil {
		return nil, err
	}
	grains := map[uint64]uint64{}
	for t, table := range tables {
		if table == 0 {
			continue
		}
		places, err := v.entries(uint64(table), uint64(v.EntriesPerTable))
		if err != nil {
			return nil, err
		}
		for g, place := range places {
			lba := uint64(t)*perTable + uint64(g)*v.GrainSize
			switch {
			case place == 0 || place == 1: // not there, or zeros
			case lba >= v.Capacity:
				return nil, errVMDK
			default:
				grains[lba] = uint64(place)
			}
		}
	}
	return grains, nil
}

func (v *vmdk) entries(at, n uint64) ([]uint32, error) {
	if at == 0 || at > uint64(v.size) {
		return nil, errVMDK
	}
	b, err := read(v.src, int64(at)*sector, int64(n)*4, v.size)
	if err != nil {
		return nil, errVMDK
	}
	entries := make([]uint32, n)
	return entries, binary.Read(bytes.NewReader(b), binary.LittleEndian, entries)
}

// walk goes from marker to marker as a reader of a stream does: it must meet each grain once, in the order of the disk, and reach the end.
func (v *vmdk) walk(grains int) error {
	met, next := 0, uint64(0)
	for at := int64(v.Overhead) * sector; ; {
		marker, err := read(v.src, at, 16, v.size)
		if err != nil {
			return errVMDK
		}
		value, length, kind := binary.LittleEndian.Uint64(marker), binary.LittleEndian.Uint32(marker[8:]), binary.LittleEndian.Uint32(marker[12:])
		switch {
		case length > 0:
			if value < next || value%v.GrainSize != 0 || value >= v.Capacity {
				return errVMDK
			}
			met, next = met+1, value+v.GrainSize
			at += (12 + int64(length) + sector - 1) / sector * sector
		case kind == markerEnd:
			if met != grains || at != v.size-sector {
				return errVMDK
			}
			return nil
		case kind <= markerFooter && value > 0 && value <= uint64(v.size)/sector:
			at += (1 + int64(value)) * sector
		default:
			return errVMDK
		}
	}
}

// grain reads a grain that begins at a sector of the disk from a sector of the file.
func (v *vmdk) grain(lba, at uint64) ([]byte, error) {
	marker, err := read(v.src, int64(at)*sector, 12, v.size)
	if err != nil {
		return nil, errVMDK
	}
	length := int64(binary.LittleEndian.Uint32(marker[8:]))
	if binary.LittleEndian.Uint64(marker) != lba || length == 0 || length > int64(v.GrainSize)*sector*2 {
		return nil, errVMDK
	}
	compressed, err := read(v.src, int64(at)*sector+12, length, v.size)
	if err != nil {
		return nil, errVMDK
	}
	inflater, err := zlib.NewReader(bytes.NewReader(compressed))
	if err != nil {
		return nil, errData
	}
	data := make([]byte, v.GrainSize*sector+1)
	n, err := io.ReadFull(inflater, data)
	whole := min(int64(v.GrainSize), int64(v.Capacity-lba)) * sector
	if !errors.Is(err, io.ErrUnexpectedEOF) || int64(n) < whole || n > int(v.GrainSize)*sector {
		return nil, errData
	}
	return data[:whole], nil
}
