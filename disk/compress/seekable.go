package compress

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"

	"github.com/klauspost/compress/zstd"

	"github.com/ingot-image/ingot/disk/image"
)

// ErrNotSeekable says that a zstd file cannot be read at random: it has no table of frames, or one of more or greater frames than are worth
// keeping in memory. [Expand] reads it.
var ErrNotSeekable = errors.New("zstd file without a usable table of frames")

// Limits of what is read at random.
const (
	maxTable = 1 << 22  // frames: 32 TiB of ours
	maxFrame = 16 << 20 // bytes that a frame expands to
)

// Zstd is a raw disk in a zstd file with a table of frames. Frames of zeros as [ZstdWriter] writes them are holes.
type Zstd struct {
	r       io.ReaderAt
	frames  []place // and one behind the last
	zeros   []byte  // zeroFrame(frameSize)
	cache   *cache
	decoder *zstd.Decoder
}

// place is where a frame begins.
type place struct{ file, disk int64 }

// OpenZstd reads the table at the end of a file of size bytes, which is as zstd's contrib/seekable_format/zstd_seekable_compression_format.md
// says. The error is [ErrNotSeekable] for other zstd files, and an [image.FormatError] where the table does not fit the file.
//
// It keeps up to 16 bytes for each frame and a few frames, packed and expanded, in memory: 64 MiB at most, the table besides.
func OpenZstd(r io.ReaderAt, size int64) (*Zstd, error) {
	h := image.Headers{R: r, Size: size, Format: image.Zstd}
	if size < tableFooter+8 {
		return nil, ErrNotSeekable
	}
	end, err := h.At("the table's end", size-tableFooter, tableFooter)
	if err != nil {
		return nil, err
	}
	n, flags := int64(binary.LittleEndian.Uint32(end)), end[4]
	if binary.LittleEndian.Uint32(end[5:]) != seekMagic {
		return nil, ErrNotSeekable
	}
	if flags&0x7c != 0 {
		return nil, image.Damaged(image.Zstd, "the table of frames has reserved flags %#x", flags)
	}
	entry := int64(8)
	if flags&0x80 != 0 {
		entry = 12
	}
	start := size - tableFooter - n*entry
	if start < 8 {
		return nil, image.Damaged(image.Zstd, "a table of %d frames does not fit the file of %d bytes", n, size)
	}
	head, err := h.At("the table's header", start-8, 8)
	if err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint32(head) != tableMagic || int64(binary.LittleEndian.Uint32(head[4:])) != n*entry+tableFooter {
		return nil, image.Damaged(image.Zstd, "the table of frames does not begin where its length says")
	}
	if n > maxTable {
		return nil, fmt.Errorf("%w: it has %d frames", ErrNotSeekable, n)
	}
	z := &Zstd{r: r, frames: make([]place, 0, n+1), zeros: zeroFrame(frameSize)}
	at, longest, both := place{}, int64(0), int64(0)
	for n > 0 {
		k := min(n, 64<<10)
		b, err := h.At("the table of frames", start, k*entry)
		if err != nil {
			return nil, err
		}
		start, n = start+k*entry, n-k
		for ; len(b) > 0; b = b[entry:] {
			packed, length := int64(binary.LittleEndian.Uint32(b)), int64(binary.LittleEndian.Uint32(b[4:]))
			longest = max(longest, length, packed/2) // incompressible data is hardly longer than it was
			both = max(both, length+packed)
			z.frames = append(z.frames, at)
			at = place{at.file + packed, at.disk + length}
		}
	}
	z.frames = append(z.frames, at)
	if table := start - entry*int64(len(z.frames)-1) - 8; at.file != table {
		return nil, image.Damaged(image.Zstd, "the frames in the table take %d bytes, those in the file %d", at.file, table)
	}
	if longest > maxFrame {
		return nil, fmt.Errorf("%w: a frame has %d bytes", ErrNotSeekable, longest)
	}
	// Frames' buffers hold no more than the table says: what expands to more is an error.
	z.decoder, err = zstd.NewReader(nil, zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxMemory(maxFrame), zstd.WithDecoderMaxWindow(maxWindow),
		zstd.WithDecoderConcurrency(maxSlots), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, err
	}
	z.cache = newCache(both)
	return z, nil
}

// Close lets go of what expands frames. Nothing can be read afterwards.
func (z *Zstd) Close() error {
	z.decoder.Close()
	return nil
}

// Size is the disk's, in bytes.
func (z *Zstd) Size() int64 { return z.frames[len(z.frames)-1].disk }

// ReadAt expands the frames that hold the range, and keeps a few of them.
func (z *Zstd) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read at %d", off)
	}
	n := 0
	for n < len(p) {
		if off >= z.Size() {
			return n, io.EOF
		}
		i := sort.Search(len(z.frames), func(i int) bool { return z.frames[i].disk > off }) - 1
		s := z.cache.get(i, func(s *slot) error { return z.expand(i, s) })
		k := 0
		if s.err == nil {
			k = copy(p[n:], s.data[off-z.frames[i].disk:])
		}
		err := s.err
		z.cache.put(s)
		if err != nil {
			return n, err
		}
		n, off = n+k, off+int64(k)
	}
	return n, nil
}

// expand reads a frame into a slot, whose buffers are made longer if need be.
func (z *Zstd) expand(i int, s *slot) error {
	from, to := z.frames[i], z.frames[i+1]
	s.file, s.data = sized(s.file, to.file-from.file), sized(s.data, to.disk-from.disk)
	if n, err := z.r.ReadAt(s.file, from.file); n < len(s.file) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read zstd frame %d: %w", i, err)
	}
	if bytes.Equal(s.file, z.zeros) && len(s.data) == frameSize {
		clear(s.data)
		return nil
	}
	got, err := z.decoder.DecodeAll(s.file, s.data[:0:len(s.data)])
	if err != nil {
		return image.Damaged(image.Zstd, "frame %d of %d bytes at %d: %v", i, len(s.data), from.file, err)
	}
	if len(got) != len(s.data) {
		return image.Damaged(image.Zstd, "frame %d at %d has %d bytes; the table says %d", i, from.file, len(got), len(s.data))
	}
	return nil
}

func sized(b []byte, n int64) []byte {
	if int64(cap(b)) < n {
		return make([]byte, n)
	}
	return b[:n]
}

// Extents gives the frames that are not zeros as ZstdWriter writes them.
func (z *Zstd) Extents(ctx context.Context, f func(image.Extent) error) error {
	var have image.Extent
	give := func() error {
		if have.Size == 0 {
			return nil
		}
		return f(have)
	}
	w := window{r: z.r}
	for i := range len(z.frames) - 1 {
		if i%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		e := image.Extent{Start: z.frames[i].disk, Size: z.frames[i+1].disk - z.frames[i].disk}
		zero, err := z.isZero(i, e.Size, &w)
		if err != nil {
			return err
		}
		if zero || e.Size == 0 {
			continue
		}
		if have.End() == e.Start && have.Size > 0 {
			have.Size += e.Size
			continue
		}
		if err := give(); err != nil {
			return err
		}
		have = e
	}
	return give()
}

// isZero tells whether a frame is what ZstdWriter makes of zeros: these bytes expand to nothing else.
func (z *Zstd) isZero(i int, length int64, w *window) (bool, error) {
	packed := z.frames[i+1].file - z.frames[i].file
	if packed > int64(len(z.zeros)) || length > frameSize || length == 0 {
		return false, nil
	}
	zeros := z.zeros
	if length < frameSize {
		if i != len(z.frames)-2 { // only the last one is shorter
			return false, nil
		}
		zeros = zeroFrame(length)
	}
	if packed != int64(len(zeros)) {
		return false, nil
	}
	b, err := w.bytes(z.frames[i].file, packed)
	return bytes.Equal(b, zeros), err
}

// window reads a file forward, a lot at a time.
type window struct {
	r     io.ReaderAt
	start int64
	b     []byte
}

func (w *window) bytes(off, n int64) ([]byte, error) {
	if off < w.start || off+n > w.start+int64(len(w.b)) {
		if w.b == nil {
			w.b = make([]byte, 256<<10)
		}
		k, err := w.r.ReadAt(w.b[:cap(w.b)], off)
		w.start, w.b = off, w.b[:k]
		if int64(k) < n {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("read zstd frame at %d: %w", off, err)
		}
	}
	return w.b[off-w.start:][:n], nil
}
