package disk

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
)

// fatSpace knows the free clusters of a FAT16 or FAT32 file system: those whose entries are zero in all its tables. Format: Microsoft, "FAT: General
// Overview of On-Disk Format", version 1.03.
type fatSpace struct {
	r        io.ReaderAt
	width    int64   // of an entry in bytes
	mask     uint32  // of an entry
	tables   []int64 // where they are
	data     int64   // where cluster 2 is
	cluster  int64   // size in bytes
	clusters int64   // how many
}

// fatChunk is how many entries are read at once.
const fatChunk = 8 << 10

// newFATSpace reads the boot sector, or says why the file system is to stay whole.
func newFATSpace(r *io.SectionReader) (freeSpace, string, error) {
	b := make([]byte, 512)
	if _, err := io.ReadFull(io.NewSectionReader(r, 0, 512), b); err != nil {
		return nil, "", fmt.Errorf("read boot sector: %w", err)
	}
	le := binary.LittleEndian
	sector, perCluster, reserved, tables := int64(le.Uint16(b[11:])), int64(b[13]), int64(le.Uint16(b[14:])), int64(b[16])
	root, sectors, length := int64(le.Uint16(b[17:])), int64(le.Uint16(b[19:])), int64(le.Uint16(b[22:]))
	if sectors == 0 {
		sectors = int64(le.Uint32(b[32:]))
	}
	state := b[37]
	if length == 0 {
		length, state = int64(le.Uint32(b[36:])), b[65]
	}
	if sector < 512 || sector > 4096 || sector&(sector-1) != 0 || perCluster == 0 || perCluster&(perCluster-1) != 0 || reserved == 0 ||
		tables == 0 || tables > 4 || length == 0 || sectors*sector > r.Size() {
		return nil, "damaged boot sector", nil
	}
	data := reserved + tables*length + (root*32+sector-1)/sector
	s := &fatSpace{r: r, width: 2, mask: 1<<16 - 1, data: data * sector, cluster: perCluster * sector, clusters: (sectors - data) / perCluster}
	clean := uint32(1 << 15)
	switch { // section "FAT Type Determination"
	case sectors <= data || s.clusters < 4085:
		return nil, "what FAT12 does not use is not known here", nil
	case s.clusters >= 65525:
		s.width, s.mask, clean = 4, 1<<28-1, 1<<27
	}
	if (s.clusters+2)*s.width > length*sector {
		return nil, "damaged boot sector: the table is too short", nil
	}
	for i := range tables {
		s.tables = append(s.tables, (reserved+i*length)*sector)
	}
	entries, err := s.entries(1, 1)
	if err != nil {
		return nil, "", err
	}
	// Windows clears the bit of the second entry while it is mounted, Linux sets the one of the boot sector.
	if entries[0]&clean == 0 || state&1 != 0 {
		return nil, "it was not cleanly unmounted", nil
	}
	return s, "", nil
}

func (s *fatSpace) kept() string { return "" }

// entries reads some entries; each has the bits that it has in any of the tables.
func (s *fatSpace) entries(first, count int64) ([]uint32, error) {
	out, b := make([]uint32, count), make([]byte, count*s.width)
	for _, at := range s.tables {
		if _, err := io.ReadFull(io.NewSectionReader(s.r, at+first*s.width, int64(len(b))), b); err != nil {
			return nil, fmt.Errorf("read file allocation table: %w", err)
		}
		for i := range out {
			if s.width == 2 {
				out[i] |= uint32(binary.LittleEndian.Uint16(b[2*i:]))
			} else {
				out[i] |= binary.LittleEndian.Uint32(b[4*i:]) & s.mask
			}
		}
	}
	return out, nil
}

func (s *fatSpace) free(ctx context.Context, from, to int64, f func(from, to int64) error) error {
	from, to = max(from, s.data), min(to, s.data+s.clusters*s.cluster)
	if from >= to {
		return nil
	}
	last := (to - s.data + s.cluster - 1) / s.cluster
	for n := (from - s.data) / s.cluster; n < last; n += fatChunk {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		entries, err := s.entries(n+2, min(fatChunk, last-n))
		if err != nil {
			return err
		}
		for i := 0; i < len(entries); {
			k := i + 1
			for k < len(entries) && (entries[k] == 0) == (entries[i] == 0) {
				k++
			}
			if entries[i] == 0 {
				start := s.data + (n+int64(i))*s.cluster
				end := s.data + (n+int64(k))*s.cluster
				if err := f(max(start, from), min(end, to)); err != nil {
					return err
				}
			}
			i = k
		}
	}
	return nil
}
