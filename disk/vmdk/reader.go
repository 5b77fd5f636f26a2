package vmdk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zlib"

	"github.com/ingot-image/ingot/disk/image"
)

// Reader is the disk in a streamOptimized or monolithicSparse VMDK. It is an [image.Source]. It holds a few MiB of tables and grains at most,
// whatever the disk's size; a grain is expanded once when the disk is read in order, in whatever steps.
type Reader struct {
	s       *sparse
	tables  *cache[[]uint32] // by number; nil for one that is not there
	grains  *cache[[]byte]   // by number; those of which a part was read
	expands sync.Pool
}

const (
	cachedTables = 256     // of 2 KiB: 8 GiB of disk
	cachedGrains = 8 << 20 // bytes
)

// NewReader reads the VMDK in r, size bytes long. Nothing else is opened: a VMDK with a parent or with extents in other files is an error that
// names them. Errors: an [image.FormatError] for damaged headers, or r's. Damage elsewhere is an error of ReadAt and Extents.
func NewReader(r io.ReaderAt, size int64) (*Reader, error) {
	info, s, err := open(image.Headers{R: r, Size: size, Format: image.VMDK})
	if err != nil {
		return nil, err
	}
	if len(info.References) > 0 {
		return nil, fmt.Errorf("the VMDK (%s) needs another file, which is not opened: %s", bounded(info.Variant, 64), info.References[0])
	}
	if s == nil || (info.Variant != "monolithicSparse" && info.Variant != "streamOptimized") {
		return nil, fmt.Errorf("a VMDK of type %q is not read: only monolithicSparse and streamOptimized are", bounded(info.Variant, 64))
	}
	return &Reader{s: s, tables: newCache[[]uint32](cachedTables), grains: newCache[[]byte](int(max(cachedGrains/s.grainSize, 1)))}, nil
}

// Size of the disk in bytes.
func (r *Reader) Size() int64 { return r.s.size }

// Extents calls f for each range of grains that are in the file.
func (r *Reader) Extents(ctx context.Context, f func(image.Extent) error) error {
	s, run := r.s, image.Extent{}
	give := func() error {
		if run.Size == 0 {
			return nil
		}
		return f(run)
	}
	err := s.walk(ctx, maxDirectory, func(grain int64, _ uint32) error {
		start := grain * s.grainSize
		size := min(s.grainSize, s.size-start)
		if run.End() == start && run.Size > 0 {
			run.Size += size
			return nil
		}
		if err := give(); err != nil {
			return err
		}
		run = image.Extent{Start: start, Size: size}
		return nil
	})
	if err != nil {
		return err
	}
	return give()
}

// ReadAt reads the disk. It is safe for concurrent use.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read at %d", off)
	}
	if off >= r.s.size {
		return 0, io.EOF
	}
	all := p
	p = p[:min(int64(len(p)), r.s.size-off)]
	done := 0
	for done < len(p) {
		n, err := r.read(p[done:], off+int64(done))
		done += n
		if err != nil {
			return done, err
		}
	}
	if done < len(all) {
		return done, io.EOF
	}
	return done, nil
}

// read reads some of p, at least a byte.
func (r *Reader) read(p []byte, off int64) (int, error) {
	s := r.s
	grain := off / s.grainSize
	number, index := grain/int64(s.perTable), int(grain%int64(s.perTable))
	table, err := r.table(number)
	if err != nil {
		return 0, err
	}
	if table == nil {
		n := min(int64(len(p)), (number+1)*int64(s.perTable)*s.grainSize-off)
		clear(p[:n])
		return int(n), nil
	}
	skip := off - grain*s.grainSize
	n := int(min(int64(len(p)), s.grainSize-skip))
	switch sector := table[index]; {
	case sector <= zeroGrain:
		clear(p[:n])
	case s.compressed():
		return n, r.readCompressed(p[:n], grain, skip, table[index:])
	default:
		n = r.together(table[index:], len(p), skip)
		if err := s.inside(grain, sector); err != nil {
			return 0, err
		}
		if _, err := readFull(s.R, p[:n], int64(sector)*sectorSize+skip); err != nil {
			return 0, fmt.Errorf("read grain at sector %d: %w", sector, err)
		}
	}
	return n, nil
}

// together is how many bytes of n at skip of the first grain lie in one piece in the file.
func (r *Reader) together(table []uint32, n int, skip int64) int {
	room := r.s.grainSize - skip
	for i := 1; i < len(table) && room < int64(n) && uint64(table[i]) == uint64(table[0])+uint64(i)*r.s.grain; i++ {
		room += r.s.grainSize
	}
	return int(min(int64(n), room))
}

// table is a grain table, nil when there is none.
func (r *Reader) table(number int64) ([]uint32, error) {
	if table, ok := r.tables.get(number); ok {
		return table, nil
	}
	place, err := r.s.readDirectory(number, 1)
	if err != nil {
		return nil, err
	}
	var table []uint32
	if place[0] != 0 {
		if table, err = r.s.readTable(place[0]); err != nil {
			return nil, err
		}
	}
	r.tables.put(number, table)
	return table, nil
}

// readCompressed reads a part of the grain whose table entry is the first of table: all of it into p itself, less through the cache.
func (r *Reader) readCompressed(p []byte, grain, skip int64, table []uint32) error {
	whole := min(r.s.grainSize, r.s.size-grain*r.s.grainSize)
	if int64(len(p)) == whole {
		return r.expand(p, grain, table)
	}
	b, ok := r.grains.get(grain)
	if !ok {
		b = make([]byte, whole)
		if err := r.expand(b, grain, table); err != nil {
			return err
		}
		r.grains.put(grain, b)
	}
	copy(p, b[skip:])
	return nil
}

// expander has what expanding a grain needs.
type expander struct {
	data []byte
	in   bytes.Reader
	z    io.ReadCloser
	rest [512]byte
}

// expand fills p with a grain. The last grain of a disk may hold less than others, or end behind the disk.
func (r *Reader) expand(p []byte, grain int64, table []uint32) error {
	x, _ := r.expands.Get().(*expander)
	if x == nil {
		x = &expander{}
	}
	defer r.expands.Put(x)
	damaged := func(format string, args ...any) error {
		return image.Damaged(image.VMDK, "grain at sector %d: %s", table[0], fmt.Sprintf(format, args...))
	}
	if err := r.fetch(x, grain, table, damaged); err != nil {
		return err
	}
	var err error
	if x.z == nil {
		x.z, err = zlib.NewReader(&x.in)
	} else {
		err = x.z.(zlib.Resetter).Reset(&x.in, nil)
	}
	if err != nil {
		return damaged("%v", err)
	}
	if n, err := io.ReadFull(x.z, p); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return damaged("it holds %d bytes instead of %d, or is cut off", n, len(p))
		}
		return damaged("%v", err)
	}
	// Up to the end, where the checksum is. A bomb goes on for ever.
	for over := r.s.grainSize - int64(len(p)); ; {
		n, err := x.z.Read(x.rest[:])
		if over -= int64(n); over < 0 {
			return damaged("it holds more than the %d bytes of a grain", r.s.grainSize)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return damaged("%v", err)
		}
	}
}

// fetch points x.in at a grain's compressed data.
func (r *Reader) fetch(x *expander, grain int64, table []uint32, damaged func(string, ...any) error) error {
	s := r.s
	if err := s.inside(grain, table[0]); err != nil {
		return err
	}
	at := int64(table[0]) * sectorSize
	// As a rule a grain has ended where the next one begins, and is not longer than it was before.
	guess := s.grainSize + sectorSize
	for _, next := range table[1:] {
		if next > table[0] {
			guess = min(guess, int64(next-table[0])*sectorSize)
		}
		if next > zeroGrain {
			break
		}
	}
	if most := 2*s.grainSize + sectorSize; int64(cap(x.data)) < most {
		x.data = make([]byte, most)
	}
	b := x.data[:min(guess, s.Size-at)]
	if _, err := readFull(s.R, b, at); err != nil {
		return fmt.Errorf("read grain at sector %d: %w", table[0], err)
	}
	lba, length := binary.LittleEndian.Uint64(b), int64(binary.LittleEndian.Uint32(b[8:]))
	if lba != uint64(grain)*s.grain {
		return damaged("its marker says sector %d of the disk instead of %d", lba, uint64(grain)*s.grain)
	}
	if length == 0 || length > 2*s.grainSize || length > s.Size-at-markerSize {
		return damaged("its marker says %d bytes", length)
	}
	if have := int64(len(b)); have < markerSize+length {
		b = b[:markerSize+length]
		if _, err := readFull(s.R, b[have:], at+have); err != nil {
			return fmt.Errorf("read grain at sector %d: %w", table[0], err)
		}
	}
	x.in.Reset(b[markerSize : markerSize+length])
	return nil
}

// readFull reads all of b. A file that is shorter than it was is an error.
func readFull(r io.ReaderAt, b []byte, off int64) (int, error) {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return n, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
