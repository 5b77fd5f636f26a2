package disk

import (
	"errors"
	"sync/atomic"

	"github.com/ingot-image/ingot/disk/image"
)

// countedSource counts what is read of it.
type countedSource struct {
	image.Source
	read atomic.Int64
}

func (c *countedSource) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.Source.ReadAt(p, off)
	c.read.Add(int64(n))
	return n, err
}

// brokenSource cannot be read beyond its first half.
type brokenSource struct{ image.Source }

func (b *brokenSource) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > b.Size()/2 {
		return 0, errors.New("bad sector")
	}
	return b.Source.ReadAt(p, off)
}
