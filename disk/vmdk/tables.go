package vmdk

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/ingot-image/ingot/disk/image"
)

// sparse is a sparse extent: section "Hosted Sparse Extents". Everything in it may be forged.
type sparse struct {
	image.Headers
	header
	size      int64 // of the disk, in bytes
	grainSize int64 // in bytes
	at        int64 // of the directory that is used, in bytes
	entries   int64 // of the directory
}

func (s *sparse) compressed() bool { return s.flags&flagCompressed != 0 }

// placeDirectory finds the grain directory: the first one or, where that is none, the redundant one.
func (s *sparse) placeDirectory() error {
	span := s.grainSize * int64(s.perTable)
	s.entries = (s.size + span - 1) / span
	if s.entries > maxDirectory {
		return image.Damaged(image.VMDK, "grain directory of %d entries", s.entries)
	}
	inside := func(sector uint64) bool {
		return sector != 0 && sector <= uint64(s.Size)/sectorSize && int64(sector)*sectorSize+s.entries*4 <= s.Size
	}
	place := s.directory
	if !inside(place) && s.flags&flagRedundant != 0 && inside(s.redundantDirectory) {
		place = s.redundantDirectory
	}
	if !inside(place) {
		return image.Damaged(image.VMDK, "grain directory of %d entries at sector %d lies beyond the end of the file (%d bytes): the file is cut off or forged", s.entries, place, s.Size)
	}
	s.at = int64(place) * sectorSize
	return nil
}

// readTable reads the entries of the grain table at a sector.
func (s *sparse) readTable(sector uint32) ([]uint32, error) {
	b, err := s.At("grain table", int64(sector)*sectorSize, int64(s.perTable)*4)
	if err != nil {
		return nil, err
	}
	return decodeEntries(b), nil
}

// readDirectory reads some of the directory's entries.
func (s *sparse) readDirectory(first, n int64) ([]uint32, error) {
	b, err := s.At("grain directory", s.at+first*4, n*4)
	if err != nil {
		return nil, err
	}
	return decodeEntries(b), nil
}

func decodeEntries(b []byte) []uint32 {
	entries := make([]uint32, len(b)/4)
	for i := range entries {
		entries[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return entries
}

var errEnough = errors.New("enough tables")

// walk calls f for each grain that the file holds, in the order of the disk, with its number and its sector in the file. It reads the tables as
// it goes, tables of them at most, and is done in the time that the file's length allows: tables and grains that share a place in the file,
// which nobody writes, are damage.
func (s *sparse) walk(ctx context.Context, tables int64, f func(grain int64, sector uint32) error) error {
	const chunk = 16 << 10 // entries
	leastTable := max(int64(s.perTable)*4, sectorSize)
	leastGrain := int64(sectorSize)
	if !s.compressed() {
		leastGrain = s.grainSize
	}
	number := (s.size + s.grainSize - 1) / s.grainSize
	seen, grains := int64(0), int64(0)
	for first := int64(0); first < s.entries; first += chunk {
		directory, err := s.readDirectory(first, min(chunk, s.entries-first))
		if err != nil {
			return err
		}
		for i, place := range directory {
			if place == 0 {
				continue
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if seen++; seen > tables {
				return errEnough
			}
			if (seen-1)*leastTable >= s.Size {
				return image.Damaged(image.VMDK, "grain tables overlap")
			}
			table, err := s.readTable(place)
			if err != nil {
				return err
			}
			start := (first + int64(i)) * int64(s.perTable)
			for j, sector := range table {
				grain := start + int64(j)
				if sector <= zeroGrain || grain >= number {
					continue
				}
				if grains++; (grains-1)*leastGrain >= s.Size {
					return image.Damaged(image.VMDK, "grains overlap")
				}
				if err := s.inside(grain, sector); err != nil {
					return err
				}
				if err := f(grain, sector); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// inside tells whether a grain begins, and if not compressed ends, in the file.
func (s *sparse) inside(grain int64, sector uint32) error {
	least := int64(markerSize)
	if !s.compressed() {
		least = min(s.grainSize, s.size-grain*s.grainSize)
	}
	if int64(sector)*sectorSize > s.Size-least {
		return image.Damaged(image.VMDK, "grain at sector %d lies beyond the end of the file (%d bytes): the file is cut off or forged", sector, s.Size)
	}
	return nil
}

// check looks whether the tables and the grains that they name are in the file, for the first 2 TiB of a disk of usual grains.
func (s *sparse) check() error {
	last := uint32(0)
	err := s.walk(context.Background(), 1<<16, func(_ int64, sector uint32) error {
		last = max(last, sector)
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	if !s.compressed() || last == 0 {
		return nil
	}
	marker, err := s.At("grain marker", int64(last)*sectorSize, markerSize)
	if err != nil {
		return err
	}
	if length, most := int64(binary.LittleEndian.Uint32(marker[8:])), s.Size-int64(last)*sectorSize-markerSize; length > most {
		return image.Damaged(image.VMDK, "grain at sector %d, %d bytes, reaches beyond the end of the file (%d bytes): the file is cut off or forged", last, length, s.Size)
	}
	return nil
}
