package compress

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"

	"github.com/ingot-image/ingot/disk/image"
)

// GzipWriter writes a disk as one gzip member (RFC 1952), which every reader of gzip expands. Pieces are deflated on their own, so that it goes
// in parallel and holes are data made beforehand; as with pigz, each ends with an empty stored block, on a byte's border.
//
// Deflate cannot say a run of zeros in less than a 1032nd of it: a hole of 1 TiB is 1 GiB, nearly all of which is zero bytes.
type GzipWriter struct {
	w        io.Writer
	size     int64
	at       int64  // how much of the disk is written
	crc      uint32 // of it
	zeros    []byte
	deflater sync.Pool
	buffers  sync.Pool
	began    bool
}

// NewGzipWriter writes a disk of size bytes to w.
func NewGzipWriter(w io.Writer, size int64, level image.Level) (*GzipWriter, error) {
	l, ok := map[image.Level]int{image.Fast: 2, image.Default: 6, image.Best: 8}[level] // the 9th takes many times as long for 1 %
	if !ok {
		return nil, fmt.Errorf("there is no level %d", level)
	}
	if size < 0 {
		return nil, fmt.Errorf("a disk of %d bytes", size)
	}
	g := &GzipWriter{w: w, size: size, zeros: make([]byte, 256<<10)}
	g.deflater.New = func() any { d, _ := flate.NewWriter(nil, l); return d }
	g.buffers.New = func() any { return new(bytes.Buffer) }
	return g, nil
}

// Encode deflates the piece.
func (g *GzipWriter) Encode(p image.Piece) (func() error, error) {
	out := g.buffers.Get().(*bytes.Buffer)
	out.Reset()
	d := g.deflater.Get().(*flate.Writer)
	d.Reset(out)
	if _, err := d.Write(p.Data); err != nil {
		return nil, err
	}
	if err := d.Flush(); err != nil {
		return nil, err
	}
	g.deflater.Put(d)
	crc, n := crc32.ChecksumIEEE(p.Data), int64(len(p.Data))
	return func() error {
		if err := g.reach(p.Start); err != nil {
			return err
		}
		if n > g.size-g.at {
			return fmt.Errorf("a piece of %d bytes at %d of a disk of %d", n, g.at, g.size)
		}
		if _, err := g.w.Write(out.Bytes()); err != nil {
			return err
		}
		g.buffers.Put(out)
		g.at += n
		g.crc = joinCRC(g.crc, crc, n)
		return nil
	}, nil
}

// reach writes the header, and zeros up to offset at.
func (g *GzipWriter) reach(at int64) error {
	if !g.began {
		g.began = true
		// Deflate, no flags, no time, nothing said of effort, no file system: nothing that differs between two runs.
		if _, err := g.w.Write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}); err != nil {
			return err
		}
	}
	n := at - g.at
	if n < 0 {
		return fmt.Errorf("a piece at %d after one that ends at %d", at, g.at)
	}
	if n == 0 {
		return nil
	}
	if err := deflateZeros(n).writeTo(g.w, g.zeros); err != nil {
		return err
	}
	g.at = at
	g.crc = zerosCRC(g.crc, n)
	return nil
}

// Finish writes the zeros at the disk's end and gzip's trailer.
func (g *GzipWriter) Finish() error {
	if err := g.reach(g.size); err != nil {
		return err
	}
	end := []byte{3, 0} // an empty last block
	end = binary.LittleEndian.AppendUint32(end, g.crc)
	end = binary.LittleEndian.AppendUint32(end, uint32(g.size))
	_, err := g.w.Write(end)
	return err
}
