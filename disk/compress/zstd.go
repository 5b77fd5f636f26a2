package compress

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"runtime"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"

	"github.com/ingot-image/ingot/disk/image"
)

// frameSize is how much of a disk one frame holds, in bytes. What repeats is only found within a frame and within the window behind: with frames
// of 1 MiB a Debian disk is 8 % larger than zstd -3 makes it, with 4 MiB 3 %, with 8 MiB 1 % smaller. More would take more memory.
const (
	frameSize  = 8 << 20
	windowSize = 4 << 20
)

// maxFrames is how many frames are compressed at once, at most: each takes about 20 MiB.
const maxFrames = 4

// zerosAtOnce is how many frames of zeros are written at once.
const zerosAtOnce = 1024

// ZstdWriter writes a disk as zstd frames (RFC 8878) of 8 MiB of it each, in parallel, and a table of them at the end, in the seekable format of
// zstd's contrib/seekable_format. Every reader of zstd expands it; [OpenZstd] reads it at random. Frames of zeros take 272 bytes.
type ZstdWriter struct {
	w       io.Writer
	size    int64
	at      int64 // how much of the disk frames have been begun for
	encoder *zstd.Encoder
	current *frame
	pending []*frame // being compressed, in order
	idle    []*frame
	table   []run
	written int64  // frames
	zeros   []byte // zerosAtOnce frames of zeros
}

// run is n frames in a row that take size bytes each.
type run struct{ size, n uint32 }

type frame struct {
	index int64 // of the frame; it begins at index*frameSize
	data  []byte
	out   []byte
	done  chan struct{}
}

// NewZstdWriter writes a disk of size bytes to w. A writer that is not finished may compress a few frames on, in memory, after it was left.
func NewZstdWriter(w io.Writer, size int64, level image.Level) (*ZstdWriter, error) {
	l, ok := map[image.Level]zstd.EncoderLevel{
		image.Fast: zstd.SpeedFastest, image.Default: zstd.SpeedDefault, image.Best: zstd.SpeedBetterCompression,
	}[level]
	if !ok {
		return nil, fmt.Errorf("there is no level %d", level)
	}
	if size < 0 {
		return nil, fmt.Errorf("a disk of %d bytes", size)
	}
	if frames := (size + frameSize - 1) / frameSize; frames > maxTable {
		return nil, fmt.Errorf("a disk of %d bytes has %d frames of %d bytes: a table of frames of zstd has no more than %d", size, frames, frameSize, maxTable)
	}
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(l), zstd.WithWindowSize(windowSize), zstd.WithEncoderCRC(true),
		zstd.WithLowerEncoderMem(true), zstd.WithEncoderConcurrency(parallel()))
	if err != nil {
		return nil, err
	}
	return &ZstdWriter{w: w, size: size, encoder: e, zeros: bytes.Repeat(zeroFrame(frameSize), zerosAtOnce)}, nil
}

func parallel() int { return min(runtime.GOMAXPROCS(0), maxFrames) }

// Encode leaves all to what it returns, as a frame is more than a piece: that gathers pieces and has them compressed when the frame ends.
func (z *ZstdWriter) Encode(p image.Piece) (func() error, error) {
	return func() error {
		if p.Start < z.at || p.Start%image.PieceSize != 0 || int64(len(p.Data)) > min(z.size-p.Start, image.PieceSize) {
			return fmt.Errorf("a piece of %d bytes at %d of a disk of %d, after one that ends at %d", len(p.Data), p.Start, z.size, z.at)
		}
		f := z.current
		if f == nil || f.index != p.Start/frameSize {
			if err := z.dispatch(); err != nil {
				return err
			}
			f = z.begin(p.Start / frameSize)
		}
		off := int(p.Start - f.index*frameSize)
		n := len(f.data)
		f.data = append(f.data[:off], p.Data...)
		clear(f.data[min(n, off):off]) // what was left out is zeros; the buffer has been used before
		z.at = p.Start + int64(len(p.Data))
		return nil
	}, nil
}

func (z *ZstdWriter) begin(index int64) *frame {
	f := &frame{}
	if n := len(z.idle); n > 0 {
		f, z.idle = z.idle[n-1], z.idle[:n-1]
	} else {
		f.data = make([]byte, 0, frameSize)
	}
	f.index, f.data, f.done = index, f.data[:0], make(chan struct{})
	z.current = f
	return f
}

// dispatch has the current frame compressed, after waiting for another one to be written when there are as many as may be.
func (z *ZstdWriter) dispatch() error {
	f := z.current
	if f == nil {
		return nil
	}
	z.current = nil
	n := len(f.data)
	f.data = f.data[:z.length(f.index)]
	clear(f.data[n:])
	go func() {
		f.out = z.encoder.EncodeAll(f.data, f.out[:0])
		close(f.done)
	}()
	z.pending = append(z.pending, f)
	if len(z.pending) > parallel() {
		return z.collect()
	}
	return nil
}

// collect writes the oldest frame.
func (z *ZstdWriter) collect() error {
	f := z.pending[0]
	z.pending = z.pending[1:]
	<-f.done
	if err := z.holes(f.index); err != nil {
		return err
	}
	if err := z.write(f.out, 1); err != nil {
		return err
	}
	z.idle = append(z.idle, f)
	return nil
}

// length of a frame's content.
func (z *ZstdWriter) length(index int64) int64 { return min(frameSize, z.size-index*frameSize) }

// holes writes frames of zeros up to one, many at a time.
func (z *ZstdWriter) holes(index int64) error {
	for whole := min(index, z.size/frameSize); z.written < whole; {
		n := min(whole-z.written, zerosAtOnce)
		if err := z.write(z.zeros[:int64(len(z.zeros))/zerosAtOnce*n], n); err != nil {
			return err
		}
	}
	if z.written < index { // the last frame of the disk, shorter than others
		return z.write(zeroFrame(z.length(z.written)), 1)
	}
	return nil
}

// write writes n frames of one size each.
func (z *ZstdWriter) write(frames []byte, n int64) error {
	size := uint32(int64(len(frames)) / n)
	if last := len(z.table) - 1; last >= 0 && z.table[last].size == size {
		z.table[last].n += uint32(n)
	} else {
		z.table = append(z.table, run{size, uint32(n)})
	}
	z.written += n
	_, err := z.w.Write(frames)
	return err
}

// Finish writes what is gathered, the zeros at the disk's end and the table.
func (z *ZstdWriter) Finish() error {
	if err := z.dispatch(); err != nil {
		return err
	}
	for len(z.pending) > 0 {
		if err := z.collect(); err != nil {
			return err
		}
	}
	frames := (z.size + frameSize - 1) / frameSize
	if err := z.holes(frames); err != nil {
		return err
	}
	return z.writeTable(frames)
}

// The table is a skippable frame: entries of a compressed and an expanded size, then how many there are, a byte of flags (0: no checksums; the
// frames have theirs) and another magic number, so that it is found from the file's end.
const (
	tableMagic  = 0x184D2A5E
	seekMagic   = 0x8F92EAB1
	tableFooter = 9
)

func (z *ZstdWriter) writeTable(frames int64) error {
	b := binary.LittleEndian.AppendUint32(nil, tableMagic)
	b = binary.LittleEndian.AppendUint32(b, uint32(8*frames+tableFooter))
	i := int64(0)
	for _, r := range z.table {
		for range r.n {
			b = binary.LittleEndian.AppendUint32(b, r.size)
			b = binary.LittleEndian.AppendUint32(b, uint32(z.length(i)))
			if i++; len(b) > 1<<20 {
				if _, err := z.w.Write(b); err != nil {
					return err
				}
				b = b[:0]
			}
		}
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(frames))
	b = append(b, 0)
	b = binary.LittleEndian.AppendUint32(b, seekMagic)
	_, err := z.w.Write(b)
	return err
}

// zeroFrame is the frame that we write for n zeros: blocks that repeat one byte, of 128 KiB, the greatest that are allowed (RFC 8878, section
// 3.1.1.2.3), and a checksum. [OpenZstd] knows holes by it.
func zeroFrame(n int64) []byte {
	const block = 128 << 10
	window := byte(max(bits.Len64(uint64(min(n, windowSize)-1)), 10)-10) << 3 // RFC 8878, section 3.1.1.1.2: 1 KiB << its upper 5 bits
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x84, window}                         // content size in 4 bytes, checksum
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	sum := xxhash.New()
	zeros := make([]byte, min(n, block))
	for left := n; left > 0; {
		k := min(left, block)
		left -= k
		header := uint32(k)<<3 | 1<<1 // a block of one byte repeated
		if left == 0 {
			header |= 1 // the last
		}
		b = append(b, byte(header), byte(header>>8), byte(header>>16), 0)
		sum.Write(zeros[:k])
	}
	return binary.LittleEndian.AppendUint32(b, uint32(sum.Sum64()))
}
