package vhd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/ingot-image/ingot/disk/image"
)

// Reader is the disk in a fixed or dynamic VHD. It is an [image.Source].
//
// What a dynamic disk's sector bitmaps do not mark as used are zeros, as the specification says; QEMU does not look at them.
type Reader struct {
	header
	file   io.ReaderAt
	length int64 // of the file
}

var _ interface {
	image.Source
	image.Unchanged
} = (*Reader)(nil)

// NewReader reads the headers of an image, size bytes long, and its block allocation table. If r is an [image.Source] or an [os.File] the holes of a
// fixed disk are the file's, otherwise it has none.
//
// The error is an [image.FormatError] when the image is damaged, or wraps [errors.ErrUnsupported] for a differencing disk, whose parent is never
// opened.
func NewReader(r io.ReaderAt, size int64) (*Reader, error) {
	if f, ok := r.(*os.File); ok {
		if raw, err := image.NewFile(f); err == nil {
			r = raw
		}
	}
	h, err := parse(r, size)
	if err != nil {
		return nil, err
	}
	if h.variant == differencing {
		return nil, fmt.Errorf("a differencing VHD, what it does not hold itself is in %q: merge it into that first: %w", h.parent, errors.ErrUnsupported)
	}
	return &Reader{h, r, size}, nil
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

// ReadAt reads from the disk.
func (r *Reader) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("VHD: read at %d", off)
	}
	if off >= r.size {
		return 0, io.EOF
	}
	if most := r.size - off; int64(len(p)) > most {
		p, err = p[:most], io.EOF
	}
	for n < len(p) {
		at := off + int64(n)
		length := len(p) - n
		if r.variant == dynamic {
			length = int(min(int64(length), r.block-at%r.block))
		}
		if err := r.read(p[n:n+length], at); err != nil {
			return n, err
		}
		n += length
	}
	return n, err
}

// read reads from one block, or a fixed disk.
func (r *Reader) read(p []byte, off int64) error {
	if r.variant == fixed {
		return r.load("disk", p, off)
	}
	block, ok := r.place(off / r.block)
	if !ok {
		clear(p)
		return nil
	}
	in := off % r.block
	first, behind := in/512, (in+int64(len(p))+511)/512
	bits, err := r.bits(block, first, behind)
	if err != nil {
		return err
	}
	return runs(bits, first, behind, func(from, to int64, used bool) error {
		from, to = max(from*512, in), min(to*512, in+int64(len(p)))
		part := p[from-in : to-in]
		if !used {
			clear(part)
			return nil
		}
		return r.load("block", part, block+r.bitmap()+from)
	})
}

// place tells where in the file a block is; its bitmap comes first.
func (r *Reader) place(n int64) (int64, bool) {
	s := binary.BigEndian.Uint32(r.table[4*n:])
	return int64(s) * 512, s != unused
}

// bits reads the bits of the sectors of a block from first to that before behind; the first byte has that of first.
func (r *Reader) bits(block, first, behind int64) ([]byte, error) {
	b := make([]byte, (behind+7)/8-first/8)
	return b, r.load("sector bitmap", b, block+first/8)
}

func (r *Reader) load(what string, p []byte, off int64) error {
	n, err := r.file.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return image.Damaged(image.VHD, "%s at offset %d lies beyond the end of the file: it has become shorter", what, off)
	}
	return fmt.Errorf("VHD: read %s at offset %d: %w", what, off, err)
}

// runs calls f for each run of sectors from first to that before behind whose bits are the same.
func runs(bits []byte, first, behind int64, f func(from, to int64, used bool) error) error {
	used := func(s int64) bool { return bits[s/8-first/8]&(0x80>>(s%8)) != 0 }
	for s := first; s < behind; {
		from, u := s, used(s)
		for s++; s < behind && used(s) == u; s++ {
		}
		if err := f(from, s, u); err != nil {
			return err
		}
	}
	return nil
}

// Extents calls f for what the sector bitmaps mark as used, or in a fixed disk for what is no hole of the file.
func (r *Reader) Extents(ctx context.Context, f func(image.Extent) error) error {
	if r.size == 0 {
		return nil
	}
	if r.variant == fixed {
		whole := image.Extent{Size: r.size}
		if s, ok := r.file.(image.Source); ok {
			return image.Section(s, whole).Extents(ctx, f)
		}
		return f(whole)
	}
	var last image.Extent
	give := func() error {
		if last.Size == 0 {
			return nil
		}
		return f(last)
	}
	for n := range r.blocks() {
		if n%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		block, ok := r.place(n)
		if !ok {
			continue
		}
		start := n * r.block
		sectors := min(r.block, r.size-start) / 512
		bits, err := r.bits(block, 0, sectors)
		if err != nil {
			return err
		}
		err = runs(bits, 0, sectors, func(from, to int64, used bool) error {
			e := image.Extent{Start: start + from*512, Size: (to - from) * 512}
			if !used {
				return nil
			}
			if last.Size > 0 && last.End() == e.Start {
				last.Size += e.Size
				return nil
			}
			err := give()
			last = e
			return err
		})
		if err != nil {
			return err
		}
	}
	return give()
}
