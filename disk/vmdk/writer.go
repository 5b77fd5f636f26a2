package vmdk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/klauspost/compress/zlib"

	"github.com/ingot-image/ingot/disk/image"
)

const (
	grainSize    = 64 << 10
	grainSectors = grainSize / sectorSize
	perTable     = 512                  // entries of a grain table; VMware's disk library takes no other number
	tableSpan    = perTable * grainSize // of the disk

	descriptorSectors = 20  // room for what others add, as open-vmdk and QEMU have it
	overhead          = 128 // sectors before the first grain, as VMware and VirtualBox write: readers of the stream begin there

	// MaxSize is the size of the largest disk that VMware's products take, in bytes: 62 TiB. The file itself must be shorter than 2 TiB.
	MaxSize = 62 << 40
)

// zlibLevels are deflate's: see the package comment.
var zlibLevels = [...]int{image.Default: 6, image.Fast: 1, image.Best: 8}

// errTooLong: entries of tables have 32 bits. It is met when it happens, as nobody knows before how far the content can be compressed.
var errTooLong = errors.New("a VMDK file cannot be longer than 2 TiB: the compressed disk does not fit")

// Writer writes a streamOptimized VMDK: specification, section "Stream-Optimized Compressed". It is an [image.Writer].
type Writer struct {
	w          io.Writer
	header     header
	descriptor string
	written    int64 // bytes
	directory  []uint32
	table      [perTable]uint32
	current    int64 // number of the table that grains are added to, -1 before the first
	deflaters  sync.Pool
	buffers    sync.Pool
}

// NewWriter writes a disk of size bytes, whole sectors of 512, to w: from its beginning to its end, without seeking. Errors: sizes that the
// format or its readers cannot have, wrong options, or w's.
func NewWriter(w io.Writer, size int64, o Options) (*Writer, error) {
	o, err := o.checked()
	if err != nil {
		return nil, err
	}
	switch {
	case size <= 0 || size%sectorSize != 0:
		return nil, fmt.Errorf("a disk of %d bytes cannot be a VMDK, which has whole sectors of %d bytes, one at least", size, sectorSize)
	case size > MaxSize:
		return nil, fmt.Errorf("a disk of %d bytes is too large for a VMDK: VMware takes %d (62 TiB) at most", size, int64(MaxSize))
	}
	sectors := size / sectorSize
	v := &Writer{
		w: w, descriptor: o.descriptor(sectors), current: -1,
		directory: make([]uint32, (size+tableSpan-1)/tableSpan),
		header: header{
			version: 3, flags: flagNewline | flagCompressed | flagMarkers, capacity: uint64(sectors), grain: grainSectors,
			descriptor: 1, descriptorSize: descriptorSectors, perTable: perTable, directory: directoryAtEnd, overhead: overhead, algorithm: deflate,
		},
	}
	level := zlibLevels[o.Level]
	v.deflaters.New = func() any {
		z, err := zlib.NewWriterLevel(nil, level)
		if err != nil {
			panic(err) // a level that does not exist
		}
		return z
	}
	front := make([]byte, overhead*sectorSize)
	copy(front, v.header.encode())
	if n := copy(front[sectorSize:][:descriptorSectors*sectorSize], v.descriptor); n < len(v.descriptor) {
		return nil, errors.New("the VMDK's descriptor is too long") // no name that is short enough makes it so
	}
	return v, v.write(front)
}

// encoded is a piece's grains, each with its marker, padded to whole sectors.
type encoded struct {
	bytes []byte
	at    [image.PieceSize / grainSize]int32 // where each grain is in bytes, in sectors; -1 for one of zeros
}

func (e *encoded) Write(p []byte) (int, error) {
	e.bytes = append(e.bytes, p...)
	return len(p), nil
}

// Encode compresses a piece's grains.
func (v *Writer) Encode(p image.Piece) (func() error, error) {
	size := int64(v.header.capacity) * sectorSize
	if p.Start < 0 || p.Start%image.PieceSize != 0 || p.Start >= size || int64(len(p.Data)) != min(image.PieceSize, size-p.Start) {
		return nil, fmt.Errorf("a piece of %d bytes at %d of a disk of %d", len(p.Data), p.Start, size)
	}
	e, _ := v.buffers.Get().(*encoded)
	if e == nil {
		e = &encoded{bytes: make([]byte, 0, image.PieceSize)}
	}
	e.bytes = e.bytes[:0]
	z := v.deflaters.Get().(*zlib.Writer)
	defer v.deflaters.Put(z)
	for i := range e.at {
		e.at[i] = -1
		start := min(i*grainSize, len(p.Data))
		grain := p.Data[start:min(start+grainSize, len(p.Data))]
		if image.IsZero(grain) {
			continue
		}
		e.at[i] = int32(len(e.bytes) / sectorSize)
		if err := e.deflate(z, (p.Start+int64(start))/sectorSize, grain); err != nil {
			return nil, err
		}
	}
	if len(e.bytes) == 0 {
		v.buffers.Put(e)
		return nil, nil
	}
	return func() error {
		defer v.buffers.Put(e)
		return v.add(p.Start/grainSize, e)
	}, nil
}

var zeros [grainSize]byte

// deflate appends a grain: its sector on the disk, the length of the data, the data as a zlib stream, which is what everybody writes and reads
// where the specification says deflate. The last grain of a disk is filled up with zeros.
func (e *encoded) deflate(z *zlib.Writer, lba int64, grain []byte) error {
	e.bytes = binary.LittleEndian.AppendUint64(e.bytes, uint64(lba))
	e.bytes = append(e.bytes, 0, 0, 0, 0)
	start := len(e.bytes)
	z.Reset(e)
	if _, err := z.Write(grain); err != nil {
		return err
	}
	if len(grain) < grainSize {
		if _, err := z.Write(zeros[len(grain):]); err != nil {
			return err
		}
	}
	if err := z.Close(); err != nil {
		return err
	}
	binary.LittleEndian.PutUint32(e.bytes[start-4:], uint32(len(e.bytes)-start))
	e.bytes = append(e.bytes, zeros[:padding(len(e.bytes))]...)
	return nil
}

// add writes grains, the first of which has number first.
func (v *Writer) add(first int64, e *encoded) error {
	if table := first / perTable; table != v.current {
		if table < v.current {
			return fmt.Errorf("grain %d comes after one of a later table", first)
		}
		if err := v.endTable(); err != nil {
			return err
		}
		v.current = table
	}
	for i, at := range e.at {
		if at < 0 {
			continue
		}
		sector := v.sector() + int64(at)
		if sector > math.MaxUint32 {
			return errTooLong
		}
		v.table[first%perTable+int64(i)] = uint32(sector)
	}
	return v.write(e.bytes)
}

// endTable writes the current table. One without grains is not written, and never begun.
func (v *Writer) endTable() error {
	if v.current < 0 {
		return nil
	}
	at := v.sector() + 1
	if at > math.MaxUint32 {
		return errTooLong
	}
	v.directory[v.current] = uint32(at)
	b := metadataMarker(markerTable, perTable*4/sectorSize)
	b = appendEntries(b, v.table[:])
	v.table = [perTable]uint32{}
	return v.write(b)
}

// Finish writes the last table, the directory, the footer and the end of the stream.
func (v *Writer) Finish() error {
	if err := v.endTable(); err != nil {
		return err
	}
	sectors := (len(v.directory)*4 + sectorSize - 1) / sectorSize
	at := v.sector() + 1
	if err := v.write(metadataMarker(markerDirectory, int64(sectors))); err != nil {
		return err
	}
	const chunk = 16 << 10 // entries
	for d := v.directory; len(d) > 0; d = d[min(chunk, len(d)):] {
		b := appendEntries(nil, d[:min(chunk, len(d))])
		if err := v.write(append(b, zeros[:padding(len(b))]...)); err != nil {
			return err
		}
	}
	footer := v.header
	footer.directory = uint64(at)
	b := metadataMarker(markerFooter, 1)
	b = append(b, footer.encode()...)
	return v.write(append(b, metadataMarker(markerEnd, 0)...))
}

func (v *Writer) sector() int64 { return v.written / sectorSize }

func (v *Writer) write(b []byte) error {
	n, err := v.w.Write(b)
	v.written += int64(n)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return err
}

func appendEntries(b []byte, entries []uint32) []byte {
	for _, n := range entries {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	return b
}
