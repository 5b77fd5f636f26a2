package ebs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"io"
	"maps"
	"slices"

	"github.com/ingot-image/ingot/disk/image"
)

// content is a completed snapshot as a disk.
type content struct {
	size   int64
	blocks map[int32]block // that change no more
}

func (c *content) Size() int64 { return c.size }

func (c *content) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) && off < c.size {
		part := p[n:]
		part = part[:min(int64(len(part)), BlockSize-off%BlockSize, c.size-off)]
		if err := c.blocks[int32(off/BlockSize)].readAt(part, off); err != nil {
			return n, err
		}
		n, off = n+len(part), off+int64(len(part))
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// readAt reads what of the disk is in the block; of a block that is nowhere, zeros.
func (b block) readAt(p []byte, off int64) error {
	var r io.ReaderAt = b.file
	switch {
	case b.source != nil:
		here := max(min(int64(len(p)), b.source.Size()-off), 0) // the last block may be longer than the disk
		clear(p[here:])
		r, p = b.source, p[:here]
	case b.file == nil:
		clear(p)
		return nil
	}
	if n, err := r.ReadAt(p, off); n < len(p) {
		return cmp.Or(err, io.ErrUnexpectedEOF)
	}
	return nil
}

func (c *content) Extents(ctx context.Context, f func(image.Extent) error) error {
	var e image.Extent
	for _, i := range slices.Sorted(maps.Keys(c.blocks)) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		start := int64(i) * BlockSize
		if e.Size > 0 && e.End() == start {
			e.Size += BlockSize
			continue
		}
		if e.Size > 0 {
			if err := f(e); err != nil {
				return err
			}
		}
		e = image.Extent{Start: start, Size: BlockSize}
	}
	if e.Size == 0 {
		return nil
	}
	return f(e)
}

// blocksOf lists the blocks that a source's extents touch.
func blocksOf(src image.Source) (map[int32]block, error) {
	blocks := map[int32]block{}
	buffer := make([]byte, BlockSize)
	err := src.Extents(context.Background(), func(e image.Extent) error {
		for i := e.Start / BlockSize; i*BlockSize < e.End(); i++ {
			b := block{source: src}
			if err := b.readAt(buffer, i*BlockSize); err != nil {
				return err
			}
			b.sum = sha256.Sum256(buffer)
			blocks[int32(i)] = b
		}
		return nil
	})
	return blocks, err
}
