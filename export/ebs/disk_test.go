package ebs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/ingot-image/ingot/disk/image"
)

// fake is a disk whose blocks are of one byte each.
type fake struct {
	size    int64
	blocks  map[int64]byte // by block; 0 is a block of zeros in an extent
	reads   atomic.Int64   // blocks read
	changed error
}

func (f *fake) Size() int64 { return f.size }

func (f *fake) ReadAt(p []byte, off int64) (int, error) {
	n := int(min(int64(len(p)), f.size-off))
	for at := 0; at < n; {
		block := (off + int64(at)) / BlockSize
		part := p[at:min(n, int((block+1)*BlockSize-off))]
		fill(part, f.blocks[block])
		at += len(part)
	}
	f.reads.Add(1)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func fill(p []byte, b byte) {
	p[0] = b
	for done := 1; done < len(p); done *= 2 {
		copy(p[done:], p[:done])
	}
}

func (f *fake) Extents(_ context.Context, yield func(image.Extent) error) error {
	var e image.Extent
	for _, i := range slices.Sorted(maps.Keys(f.blocks)) {
		start := i * BlockSize
		size := min(BlockSize, f.size-start)
		if e.Size > 0 && e.End() == start {
			e.Size += size
			continue
		}
		if e.Size > 0 {
			if err := yield(e); err != nil {
				return err
			}
		}
		e = image.Extent{Start: start, Size: size}
	}
	if e.Size == 0 {
		return nil
	}
	return yield(e)
}

func (f *fake) Unchanged() error { return f.changed }

// with is the disk with some blocks changed; -1 takes one away.
func (f *fake) with(blocks map[int64]int) *fake {
	next := &fake{size: f.size, blocks: maps.Clone(f.blocks)}
	for i, b := range blocks {
		if delete(next.blocks, i); b >= 0 {
			next.blocks[i] = byte(b)
		}
	}
	return next
}

// many is a disk of a GiB, a little less, with every third block written.
func many() *fake {
	f := &fake{size: 1<<30 - 1000, blocks: map[int64]byte{}}
	for i := int64(0); i < 2048; i += 3 {
		f.blocks[i] = byte(i%255) + 1
	}
	f.blocks[2047] = 77
	return f
}

// same compares two disks; what one has more is of zeros.
func same(t *testing.T, got, want image.Source) {
	t.Helper()
	a, b := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); at < got.Size(); at += int64(len(a)) {
		if n, err := got.ReadAt(a, at); n < len(a) {
			t.Fatalf("read at %d: %d bytes, %v", at, n, err)
		}
		clear(b)
		if at < want.Size() {
			if n, err := want.ReadAt(b, at); n < len(b) && !errors.Is(err, io.EOF) {
				t.Fatalf("read the source at %d: %d bytes, %v", at, n, err)
			}
		}
		if !bytes.Equal(a, b) {
			t.Fatalf("the disks differ in the MiB at %d", at)
		}
	}
}

// is makes sure that a snapshot holds a disk, as the server knows and as Open reads it.
func (s *service) is(t *testing.T, id string, want image.Source) {
	t.Helper()
	direct, err := s.Bytes(id)
	if err != nil {
		t.Fatal(err)
	}
	same(t, direct, want)
	opened, err := Open(t.Context(), s.client, id)
	if err != nil {
		t.Fatal(err)
	}
	same(t, opened, want)
}
