package qcow2

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/ingot-image/ingot/disk/image"
)

// Each of the two caches holds at most this many bytes.
const cacheSize = 16 << 20

// Reader is the disk in an image. It is an [image.Source].
type Reader struct {
	file
	layout
	l1       []byte // entries that the disk needs
	l2       *cache // of tables, by offset
	clusters *cache // of what was compressed, by offset in the file
	zstd     *zstd.Decoder
	deflate  sync.Pool // of io.ReadCloser with flate.Resetter
	input    sync.Pool // of *[]byte
}

var _ image.Source = (*Reader)(nil)

// UnsupportedError says what a well-formed image needs that is not read here.
type UnsupportedError struct{ Reason string }

func (e *UnsupportedError) Error() string { return "qcow2 image: " + e.Reason }

// NewReader reads the header and the L1 table of an image, size bytes long. The error is an [image.FormatError] where they are damaged, and an
// [UnsupportedError] where the disk is not in this file alone, or is encrypted. Damage that is met later is an error of ReadAt and Extents.
//
// It takes at most 64 MiB of memory besides the L1 table, which has 8 bytes for each 512 MiB with the usual clusters, and is read up to 32 MiB; and, for each goroutine that reads what is compressed, two clusters.
func NewReader(r io.ReaderAt, size int64) (*Reader, error) {
	q := &Reader{file: file{image.Headers{R: r, Size: size, Format: image.Qcow2}}}
	magic, err := q.At("header", 0, 4)
	if err != nil {
		return nil, err
	}
	if string(magic) != "QFI\xfb" {
		return nil, image.Damaged(image.Qcow2, "it does not begin with the signature %q", "QFI\xfb")
	}
	info, l, err := q.parse()
	if err != nil {
		return nil, err
	}
	for _, ref := range info.References {
		return nil, &UnsupportedError{fmt.Sprintf("it needs the %s, which is not opened; convert it into one file first (qemu-img convert)", ref)}
	}
	if info.Encrypted {
		return nil, &UnsupportedError{"it is encrypted; convert it with qemu-img and its key first"}
	}
	if l.size%image.SectorSize != 0 {
		return nil, image.Damaged(image.Qcow2, "virtual size of %d bytes, which is not a multiple of %d", l.size, image.SectorSize)
	}
	q.layout = l
	if q.l1, err = q.At("L1 table", l.l1, l.l1Needed*8); err != nil {
		return nil, err
	}
	if _, err := q.l2Tables(l, q.l1); err != nil {
		return nil, err
	}
	q.l2, q.clusters = newCache(int(max(cacheSize/l.cluster, 1))), newCache(int(max(cacheSize/l.cluster, 1)))
	if l.zstd {
		q.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxMemory(2<<20)) // the largest cluster
		if err != nil {
			return nil, fmt.Errorf("read qcow2 image: %w", err)
		}
	}
	return q, nil
}

func (q *Reader) l2Offset(i int64) int64 {
	return int64(binary.BigEndian.Uint64(q.l1[i*8:]) & offsetMask)
}

// Size of the disk in bytes.
func (q *Reader) Size() int64 { return q.size }

// ReadAt reads the disk. Several goroutines may do so at once.
func (q *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read qcow2 image: negative offset %d", off)
	}
	if off >= q.size {
		return 0, io.EOF
	}
	end := min(int64(len(p)), q.size-off) + off
	for at := off; at < end; {
		r, err := q.run(at, end)
		if err == nil {
			err = q.fill(p[at-off:r.end-off], at, r)
		}
		if err != nil {
			return int(at - off), fmt.Errorf("read at %d: %w", at, err)
		}
		at = r.end
	}
	if n := int(end - off); n < len(p) {
		return n, io.EOF
	}
	return len(p), nil
}

// fill reads a part of the disk that is of one kind.
func (q *Reader) fill(p []byte, off int64, r run) error {
	switch r.kind {
	case hole:
		clear(p)
		return nil
	case plain:
		if r.host > q.Headers.Size-int64(len(p)) {
			return image.Damaged(image.Qcow2, "data at offset %d, %d bytes, lies beyond the end of the file (%d bytes)", r.host, len(p), q.Headers.Size)
		}
		if n, err := q.R.ReadAt(p, r.host); n < len(p) {
			if err == io.EOF || err == nil {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		return nil
	}
	if int64(len(p)) == q.cluster {
		return q.expand(p, r.entry)
	}
	whole, err := q.clusters.get(r.host, func() ([]byte, error) {
		b := make([]byte, q.cluster)
		return b, q.expand(b, r.entry)
	})
	if err != nil {
		return err
	}
	copy(p, whole[off%q.cluster:])
	return nil
}

// Extents calls f for each range that the image has data for. It reads all L2 tables in use, and not the data.
func (q *Reader) Extents(ctx context.Context, f func(image.Extent) error) error {
	var last image.Extent
	for at, n := int64(0), 0; at < q.size; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r, err := q.run(at, q.size)
		if err != nil {
			return fmt.Errorf("list extents at %d: %w", at, err)
		}
		if r.kind != hole {
			if last.End() != at && last.Size > 0 {
				if err := f(last); err != nil {
					return err
				}
				last.Size = 0
			}
			if last.Size == 0 {
				last.Start = at
			}
			last.Size = r.end - last.Start
		}
		at = r.end
	}
	if last.Size > 0 {
		return f(last)
	}
	return nil
}
