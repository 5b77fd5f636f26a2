package compress

import (
	"bufio"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/ingot-image/ingot/disk/image"
)

// maxWindow is how much of what came before a file may refer to, in bytes: what zstd(1) takes unless told otherwise.
const maxWindow = 128 << 20

// LimitError says that a compressed file holds more than it may.
type LimitError struct{ Limit int64 }

func (e *LimitError) Error() string {
	return fmt.Sprintf("the file expands to more than %d bytes", e.Limit)
}

// Expand writes what a compressed file holds into out, an empty file, and returns its size in bytes. Zeros become holes. progress, which may be
// nil, is told how much is expanded.
//
// The format is Gzip, Zstd, XZ or Bzip2, or RawGzip or RawZstd; members, frames or streams one after another are one disk. What is cut off,
// damaged, or followed by anything else is an [image.FormatError], but zeros after gzip data, and after xz data in fours, are padding, as for
// gzip and xz. Content beyond limit bytes is a [LimitError]; at most 128 MiB of what came before, of xz 64 MiB, are kept in
// memory for the content to refer to.
func Expand(ctx context.Context, r io.Reader, format image.Format, out *os.File, limit int64, progress func(done int64)) (int64, error) {
	in := &input{ctx: ctx, r: r}
	expanded, err := open(in, format)
	if err != nil {
		return 0, in.explain(format, err)
	}
	defer expanded.Close()
	raw, err := image.NewRawWriter(out, 0)
	if err != nil {
		return 0, err
	}
	size, buffer := int64(0), make([]byte, image.PieceSize)
	for {
		if ctx.Err() != nil { // a little that is read may expand to much
			return size, fmt.Errorf("expand %s file: %w", format, context.Cause(ctx))
		}
		n, err := fill(expanded, buffer)
		if int64(n) > limit-size {
			return size, &LimitError{limit}
		}
		if n > 0 {
			if _, err := raw.Encode(image.Piece{Start: size, Data: buffer[:n]}); err != nil {
				return size, err
			}
			if size += int64(n); progress != nil {
				progress(size)
			}
		}
		if err == io.EOF {
			if in.n == 0 {
				return 0, in.explain(format, io.ErrUnexpectedEOF)
			}
			return size, out.Truncate(size)
		}
		if err != nil {
			return size, in.explain(format, err)
		}
	}
}

// fill reads until b is full. Unlike io.ReadFull it tells content that ends within b, io.EOF, from a file that is cut off.
func fill(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		k := 0
		k, err = r.Read(b[n:])
		n += k
	}
	return n, err
}

// NewReader expands a gzip, zstd, xz or bzip2 file as it is read. Its memory is bounded; what comes out is not: that is the caller's to limit.
// Close it after use.
func NewReader(r io.Reader, format image.Format) (io.ReadCloser, error) { return open(r, format) }

func open(r io.Reader, format image.Format) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(r, 256<<10)
	switch format {
	case image.Gzip, image.RawGzip:
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, err
		}
		z.Multistream(false)
		return io.NopCloser(&members{z, buffered}), nil
	case image.Zstd, image.RawZstd:
		z, err := zstd.NewReader(buffered, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	case image.XZ:
		return io.NopCloser(newXZ(buffered)), nil
	case image.Bzip2:
		return io.NopCloser(bzip2.NewReader(buffered)), nil
	}
	return nil, fmt.Errorf("expand %s: no compressed format that is read", format)
}

// input remembers what went wrong with reading, which readers of formats report as they like.
type input struct {
	ctx context.Context
	r   io.Reader
	n   int64
	err error
}

func (in *input) Read(p []byte) (int, error) {
	if in.ctx.Err() != nil {
		in.err = context.Cause(in.ctx)
		return 0, in.err
	}
	n, err := in.r.Read(p)
	in.n += int64(n)
	if err != nil && err != io.EOF {
		in.err = err
	}
	return n, err
}

// explain tells errors of reading from those of what was read.
func (in *input) explain(format image.Format, err error) error {
	var known *image.FormatError
	switch {
	case in.err != nil:
		return fmt.Errorf("read %s file: %w", format, in.err)
	case errors.As(err, &known):
		return err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return image.Damaged(format, "it is cut off after %d bytes", in.n)
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return image.Damaged(format, "expanding it would take more than %d MiB of memory", maxWindow>>20)
	}
	return image.Damaged(format, "%v, in the first %d bytes", err, in.n)
}

// members reads gzip members one after another. What the library takes for the next one is an error of its own kind here, and padding is none.
type members struct {
	z *gzip.Reader
	r *bufio.Reader
}

func (m *members) Read(p []byte) (int, error) {
	n, err := m.z.Read(p)
	if err != io.EOF || n > 0 {
		if err == io.EOF {
			err = nil // it is said again
		}
		return n, err
	}
	next, err := m.r.Peek(2)
	if len(next) == 0 {
		return 0, err
	}
	if next[0] == 0x1f && len(next) == 2 && next[1] == 0x8b {
		if err := m.z.Reset(m.r); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		m.z.Multistream(false)
		return 0, nil
	}
	for {
		b, err := m.r.ReadByte()
		if err != nil {
			return 0, err
		}
		if b != 0 {
			return 0, image.Damaged(image.Gzip, "something else follows the compressed data")
		}
	}
}
