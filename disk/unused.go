package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ingot-image/ingot/disk/image"
)

// UnusedReport says what [Unused] found in each partition.
type UnusedReport struct {
	FileSystems []UnusedFileSystem // in the order of the disk; partitions without one are not among them
}

// UnusedFileSystem is what is known of the space that a file system does not use.
type UnusedFileSystem struct {
	Partition int    // index, 0 when the file system fills the disk
	Type      string // as in [FileSystem]
	Unused    int64  // bytes that are not used
	Kept      string // why all or some of it is taken for used; empty when all is known
}

// Size is the sum of what is not used, in bytes.
func (r *UnusedReport) Size() int64 {
	sum := int64(0)
	for _, f := range r.FileSystems {
		sum += f.Unused
	}
	return sum
}

// Unused is a disk without what its file systems no longer use: blocks that belonged to deleted files read as zeros and are in no extent, so that
// they are not written into images. It knows the free blocks of ext2, ext3 and ext4, by their block bitmaps, the free clusters of FAT16 and
// FAT32, and all but the header of a swap area, in the partitions of a disk or in place of a partition table.
//
// A file system stays whole, with the reason in the report, when it was not cleanly unmounted, when its journal waits to be replayed, or when it is of
// another type or has the signature of another one, too: what a RAID's member or an encrypted volume holds may lie where an older file system knows nothing
// but free blocks. So does what is between partitions. With metadata_csum or uninit_bg a bitmap or descriptor whose checksum is wrong is not believed, and
// without them one that does not have the number of free blocks that its group has: then that group stays whole.
//
// src must not change while the result is used. Bitmaps are read as they are needed: little is held in memory, whatever the size of the disk.
func Unused(ctx context.Context, src image.Source) (image.Source, *UnusedReport, error) {
	u, report, err := findUnused(ctx, src)
	if err != nil {
		return nil, nil, fmt.Errorf("find what file systems do not use: %w", err)
	}
	return u, report, nil
}

// freeSpace knows what a file system does not use.
type freeSpace interface {
	// free calls f for each unused range between from and to, cut off there, in order; all are bytes from the start of the file system. It ends with
	// ctx, whose cause is its error then, and with errTooDamaged.
	free(ctx context.Context, from, to int64, f func(from, to int64) error) error
	// kept says what of the file system is taken for used for some fault, once free has seen all of it.
	kept() string
}

// errTooDamaged is in the error of freeSpace.free when so much is wrong that nothing is believed.
var errTooDamaged = errors.New("it is damaged")

func findUnused(ctx context.Context, src image.Source) (*unused, *UnusedReport, error) {
	u, report := &unused{src: src}, &UnusedReport{}
	table, err := ReadTable(src, src.Size())
	if errors.Is(err, ErrNoPartitionTable) {
		return u, report, nil
	}
	if err != nil {
		return nil, nil, err
	}
	raid, err := raidAtEnd(src, src.Size())
	if err != nil {
		return nil, nil, err
	}
	end := int64(0) // of all partitions so far
	for i, p := range table.Partitions {
		if p.isExtended() {
			continue
		}
		overlaps := p.Start < end || i+1 < len(table.Partitions) && table.Partitions[i+1].Start < p.Start+p.Size
		end = max(end, p.Start+p.Size)
		if p.FileSystem.Type == "" {
			continue
		}
		found := UnusedFileSystem{Partition: p.Index, Type: p.FileSystem.Type}
		var space freeSpace
		switch {
		case overlaps:
			found.Kept = "it lies over another partition"
		case p.FileSystem.Others != "":
			found.Kept = fmt.Sprintf("signatures of two file systems are in it, %s and %s: remove the old one with wipefs in the guest", p.FileSystem.Type, p.FileSystem.Others)
		case len(raid) > 0:
			found.Kept = "the disk has the signature of a RAID's member at its end: if there is no RAID, remove it with wipefs"
		default:
			if space, found.Kept, err = freeSpaceOf(src, p); err != nil {
				return nil, nil, fmt.Errorf("partition %d, %s: %w", p.Index, p.FileSystem.Type, err)
			}
		}
		if space != nil {
			err := space.free(ctx, 0, p.Size, func(from, to int64) error {
				found.Unused += to - from
				return nil
			})
			switch {
			case errors.Is(err, errTooDamaged):
				found.Unused, found.Kept = 0, err.Error()
			case err != nil:
				return nil, nil, fmt.Errorf("partition %d, %s: %w", p.Index, p.FileSystem.Type, err)
			default:
				found.Kept = space.kept()
				u.regions = append(u.regions, unusedRegion{image.Extent{Start: p.Start, Size: p.Size}, space})
			}
		}
		report.FileSystems = append(report.FileSystems, found)
	}
	return u, report, nil
}

// freeSpaceOf opens what knows the free space of a partition, or says why nothing does.
func freeSpaceOf(src image.Source, p Partition) (space freeSpace, kept string, err error) {
	r := io.NewSectionReader(src, p.Start, p.Size)
	switch f := p.FileSystem; {
	case f.NeedsRecovery:
		return nil, "its journal waits to be replayed", nil
	case f.Unclean:
		return nil, "it was not cleanly unmounted, or has errors", nil
	case f.IsExt():
		return newExtSpace(r)
	case f.Type == "vfat":
		return newFATSpace(r)
	case f.Type == "swap":
		return swapSpace{p.Size}, "", nil
	}
	return nil, "what it does not use is not known here: trim it in the guest", nil
}

// swapSpace is a swap area, of which the first page has to stay: its header.
type swapSpace struct{ size int64 }

const swapHeader = 4096

func (s swapSpace) free(_ context.Context, from, to int64, f func(from, to int64) error) error {
	if from, to = max(from, swapHeader), min(to, s.size); from < to {
		return f(from, to)
	}
	return nil
}

func (s swapSpace) kept() string { return "" }

// unused is a source without what is not used.
type unused struct {
	src     image.Source
	regions []unusedRegion // in the order of the disk
}

type unusedRegion struct {
	image.Extent
	space freeSpace
}

func (u *unused) Size() int64 { return u.src.Size() }

// free calls f for each unused range of the disk between from and to.
func (u *unused) free(ctx context.Context, from, to int64, f func(from, to int64) error) error {
	for _, r := range u.regions {
		a, b := max(from, r.Start), min(to, r.End())
		if a >= b {
			continue
		}
		if err := r.space.free(ctx, a-r.Start, b-r.Start, func(a, b int64) error { return f(r.Start+a, r.Start+b) }); err != nil {
			return err
		}
	}
	return nil
}

// used calls f for what of a range is used.
func (u *unused) used(ctx context.Context, from, to int64, f func(from, to int64) error) error {
	at := from
	err := u.free(ctx, from, to, func(a, b int64) error {
		start := at
		at = b
		if a == start {
			return nil
		}
		return f(start, a)
	})
	if err != nil || at == to {
		return err
	}
	return f(at, to)
}

func (u *unused) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("read at %d", off)
	}
	if off >= u.Size() {
		return 0, io.EOF
	}
	if most := u.Size() - off; int64(len(p)) > most {
		p, err = p[:most], io.EOF
	}
	at := off
	failed := u.used(context.Background(), off, off+int64(len(p)), func(from, to int64) error {
		clear(p[at-off : from-off])
		n, err := u.src.ReadAt(p[from-off:to-off], from)
		if at = from + int64(n); at < to {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		return nil
	})
	if failed != nil {
		return int(at - off), failed
	}
	clear(p[at-off:])
	return len(p), err
}

func (u *unused) Extents(ctx context.Context, f func(image.Extent) error) error {
	return u.src.Extents(ctx, func(e image.Extent) error {
		return u.used(ctx, e.Start, e.End(), func(from, to int64) error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return f(image.Extent{Start: from, Size: to - from})
		})
	})
}

// Unchanged tells whether the disk is still what it was, if it can tell.
func (u *unused) Unchanged() error {
	if s, ok := u.src.(image.Unchanged); ok {
		return s.Unchanged()
	}
	return nil
}

// PunchUnused makes holes in a raw disk where [Unused] finds that nothing is used, in place: the content of deleted files is gone from it, and it
// takes less room. The host's file system must be able to punch holes, as ext4, xfs, btrfs and tmpfs are. It may be done again after an error.
func PunchUnused(ctx context.Context, path string) (*UnusedReport, error) {
	fail := func(err error) (*UnusedReport, error) {
		return nil, fmt.Errorf("punch what is not used out of %s: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	src, err := image.NewFile(f)
	if err != nil {
		return fail(err)
	}
	u, report, err := findUnused(ctx, src)
	if err != nil {
		return fail(err)
	}
	err = src.Extents(ctx, func(e image.Extent) error {
		return u.free(ctx, e.Start, e.End(), func(from, to int64) error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, from, to-from)
		})
	})
	if err != nil {
		return fail(err)
	}
	return report, f.Close()
}
