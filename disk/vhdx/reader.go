package vhdx

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/ingot-image/ingot/disk/image"
)

// States of a payload block, section 2.5.1.1. What is neither of these two has nothing to read.
const (
	fullyPresent     = 6
	partiallyPresent = 7
)

// maxTable bounds the part of the block allocation table that is read, in bytes: that of 64 TiB in blocks of 32 MiB, which are usual, is half as large.
const maxTable = 32 * mib

// layout is what the headers and tables of an image say, checked.
type layout struct {
	metadata
	table []byte // entries of the block allocation table, little endian
	ratio int64  // payload blocks for each entry of a sector bitmap, which comes behind them
}

// blocks is how many blocks the disk has; the last may be cut off by the disk's end.
func (l *layout) blocks() int64 { return (l.size + l.block - 1) / l.block }

// parse reads the headers, replays the log in memory, and reads the tables. With an error it returns what it has found.
func parse(r io.ReaderAt, size int64) (layout, error) {
	var l layout
	file := image.Headers{R: r, Size: size, Format: image.VHDX}
	h, err := readHeader(file)
	if err != nil {
		return l, err
	}
	patches, replayed, err := replay(file, h)
	if err != nil {
		return l, err
	}
	if len(patches) > 0 || replayed != size {
		file.R, file.Size = &patched{r, size, patches}, replayed
	}
	parts, err := readRegions(file)
	if err != nil {
		return l, err
	}
	if l.metadata, err = readMetadata(file, parts.metadata); err != nil || l.variant == differencing {
		return l, err
	}
	if err := l.readTable(file, parts.bat); err != nil {
		return l, err
	}
	taken := []region{{0, headerSection}, {h.logOffset, h.logLength}, parts.bat, parts.metadata}
	return l, l.checkPlaces(taken, patches)
}

// readTable reads the block allocation table, section 2.5, and checks each entry by itself.
func (l *layout) readTable(file image.Headers, at region) error {
	l.ratio = (1 << 23) * l.sector / l.block
	n := l.blocks()
	if n > 0 {
		n += (n - 1) / l.ratio
	}
	if 8*n > maxTable {
		return unsupported("a VHDX of %d bytes in blocks of %d: a table of %d bytes is read at most", l.size, l.block, maxTable)
	}
	if 8*n > at.size {
		return image.Damaged(image.VHDX, "block allocation table of %d bytes for a disk of %d bytes in blocks of %d", at.size, l.size, l.block)
	}
	table, err := file.At("block allocation table", at.start, 8*n)
	if err != nil {
		return err
	}
	l.table = table
	for i := range l.blocks() {
		state, off := l.entry(i)
		switch state {
		case 0, 1, 2, 3:
		case fullyPresent:
			if off < headerSection || off > file.Size || min(l.block, l.size-i*l.block) > file.Size-off {
				return image.Damaged(image.VHDX, "block %d at offset %d lies beyond the end of the file (%d bytes): the file is cut off or forged", i, off, file.Size)
			}
		default:
			return image.Damaged(image.VHDX, "block %d is in state %d, which a disk of this kind has not", i, state)
		}
	}
	return nil
}

// entry tells the state of a block and where in the file it is.
func (l *layout) entry(n int64) (state int, off int64) {
	e := binary.LittleEndian.Uint64(l.table[8*(n+n/l.ratio):])
	if e>>63 != 0 {
		return int(e & 7), -1 // beyond what a file may have
	}
	return int(e & 7), int64(e >> 20 * mib)
}

// place tells where in the file a block is that holds anything.
func (l *layout) place(n int64) (int64, bool) {
	state, off := l.entry(n)
	return off, state == fullyPresent
}

// checkPlaces refuses a file in which blocks lie over each other or over tables, or are changed by the log, which is for tables only (section 2.3).
func (l *layout) checkPlaces(taken []region, patches []patch) error {
	var blocks []region
	for i := range l.blocks() {
		if off, ok := l.place(i); ok {
			blocks = append(blocks, region{off, min(l.block, l.size-i*l.block)})
		}
	}
	byStart := func(a, b region) int { return cmp.Compare(a.start, b.start) }
	slices.SortFunc(blocks, byStart)
	for _, p := range patches {
		i, _ := slices.BinarySearchFunc(blocks, region{start: p.off}, byStart)
		if p.size > 0 && (i < len(blocks) && blocks[i].start < p.off+p.size || i > 0 && blocks[i-1].end() > p.off) {
			return image.Damaged(image.VHDX, "its log changes a block of data at offset %d", p.off)
		}
	}
	all := append(blocks, taken...)
	slices.SortFunc(all, byStart)
	end := int64(0)
	for _, r := range all {
		if r.size == 0 {
			continue
		}
		if r.start < end {
			return image.Damaged(image.VHDX, "what is at offset %d lies over something else", r.start)
		}
		end = r.end()
	}
	return nil
}

// UnsupportedError says what a well-formed image needs that is not read here. It is an [errors.ErrUnsupported].
type UnsupportedError struct{ Reason string }

func (e *UnsupportedError) Error() string { return e.Reason }

// Is tells that it is one of the errors of that kind.
func (e *UnsupportedError) Is(target error) bool { return target == errors.ErrUnsupported }

func unsupported(format string, args ...any) error {
	return &UnsupportedError{fmt.Sprintf(format, args...)}
}

// Reader is the disk in a fixed or dynamic VHDX. It is an [image.Source].
type Reader struct {
	layout
	file   io.ReaderAt
	length int64 // of the file
}

var _ interface {
	image.Source
	image.Unchanged
} = (*Reader)(nil)

// NewReader reads the headers of an image, size bytes long, its log if it was not closed, and its block allocation table: at most 32 MiB, and 8 of the
// log. If r is an [image.Source] or an [os.File], holes of the file within blocks are holes of the disk.
//
// The error is an [image.FormatError] when the image is damaged, and an [UnsupportedError] for a differencing disk, whose parent is never opened, for
// sectors of 4096 bytes, and for tables that are too large.
func NewReader(r io.ReaderAt, size int64) (*Reader, error) {
	if f, ok := r.(*os.File); ok {
		if raw, err := image.NewFile(f); err == nil {
			r = raw
		}
	}
	l, err := parse(r, size)
	if err != nil {
		return nil, err
	}
	if l.variant == differencing {
		return nil, unsupported("a differencing VHDX: what it does not hold itself is in %q; merge it into that first", l.parent)
	}
	if l.sector != image.SectorSize {
		return nil, unsupported("a VHDX with sectors of %d bytes: what is on it counts in these, and disks of other formats have sectors of %d", l.sector, image.SectorSize)
	}
	return &Reader{l, r, size}, nil
}

// Size is the size of the disk in bytes.
func (r *Reader) Size() int64 { return r.size }

// Unchanged tells whether the file is still what it was, if what the reader was made from can tell.
func (r *Reader) Unchanged() error {
	if u, ok := r.file.(image.Unchanged); ok {
		return u.Unchanged()
	}
	return nil
}

// ReadAt reads from the disk. Several goroutines may do so at once.
func (r *Reader) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("VHDX: read at %d", off)
	}
	if off >= r.size {
		return 0, io.EOF
	}
	if most := r.size - off; int64(len(p)) > most {
		p, err = p[:most], io.EOF
	}
	for n < len(p) {
		at := off + int64(n)
		in := at % r.block
		part := p[n:][:min(int64(len(p)-n), r.block-in)]
		if start, ok := r.place(at / r.block); !ok {
			clear(part)
		} else if err := r.load(part, start+in); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, err
}

// load reads from a block. What the log makes of the file's length reads as zeros.
func (r *Reader) load(p []byte, off int64) error {
	if rest := r.length - off; rest < int64(len(p)) {
		rest = max(rest, 0)
		clear(p[rest:])
		p = p[:rest]
	}
	n, err := r.file.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return image.Damaged(image.VHDX, "block at offset %d lies beyond the end of the file: it has become shorter", off)
	}
	return fmt.Errorf("VHDX: read block at offset %d: %w", off, err)
}

// Extents calls f for the blocks that are there, without the holes of the file in them.
func (r *Reader) Extents(ctx context.Context, f func(image.Extent) error) error {
	var last image.Extent
	end := func() error {
		if last.Size == 0 {
			return nil
		}
		return f(last)
	}
	give := func(e image.Extent) error {
		if last.Size > 0 && last.End() == e.Start {
			last.Size += e.Size
			return nil
		}
		err := end()
		last = e
		return err
	}
	for n := range r.blocks() {
		if n%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		off, ok := r.place(n)
		if !ok {
			continue
		}
		start := n * r.block
		size := min(r.block, r.size-start, r.length-off)
		if size <= 0 {
			continue
		}
		var err error
		if s, ok := r.file.(image.Source); ok {
			err = image.Section(s, image.Extent{Start: off, Size: size}).Extents(ctx, func(e image.Extent) error {
				return give(image.Extent{Start: start + e.Start, Size: e.Size})
			})
		} else {
			err = give(image.Extent{Start: start, Size: size})
		}
		if err != nil {
			return err
		}
	}
	return end()
}
