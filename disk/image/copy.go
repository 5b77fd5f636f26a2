package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
)

// CopyOptions are options of [Copy].
type CopyOptions struct {
	// Workers is how many pieces are encoded at once, 0 for as many as there are CPUs, 8 at most.
	Workers int
	// Progress is told how much of what the source holds is written, in bytes, from one goroutine. It must not block.
	Progress func(done, total int64)
}

const maxWorkers = 8

// Copy reads a source once, from its beginning to its end, and gives every piece that is not all zeros to all writers. Holes cost nothing. It
// holds a few pieces for each worker at a time, whatever the size of the disk. When it returns nobody uses the source or a writer any more.
//
// The error is the first of the source, of a writer or ctx's cause; the files are then worth nothing. A source that has become shorter, or
// that says that it was changed (see [Unchanged]), is an error.
func Copy(ctx context.Context, src Source, o CopyOptions, writers ...Writer) error {
	c := copying{src: src, writers: writers, workers: o.Workers, progress: o.Progress}
	if c.workers <= 0 {
		c.workers = runtime.GOMAXPROCS(0)
	}
	c.workers = min(c.workers, maxWorkers)
	if o.Progress != nil {
		if err := src.Extents(ctx, func(e Extent) error { c.total += e.Size; return nil }); err != nil {
			return err
		}
	}
	if err := c.run(ctx); err != nil {
		return err
	}
	if u, ok := src.(Unchanged); ok {
		if err := u.Unchanged(); err != nil {
			return err
		}
	}
	for _, w := range writers {
		if err := w.Finish(); err != nil {
			return err
		}
	}
	if c.progress != nil {
		c.progress(c.total, c.total)
	}
	return nil
}

type copying struct {
	src      Source
	writers  []Writer
	workers  int
	progress func(done, total int64)
	total    int64
	buffers  sync.Pool
	stop     context.CancelCauseFunc
}

// parcel is a piece on its way.
type parcel struct {
	Piece
	held   int64 // bytes of extents in it
	buffer *[]byte
	writes []func() error // of each writer; nil for a piece of zeros
	done   chan struct{}  // closed when writes are there
	users  atomic.Int32   // writers that have not written it yet
}

// run has one goroutine that plans pieces, some that read and encode them, and one for each writer that writes them in order. A piece is
// planned when the queues have room, so work is ahead of the slowest writer by a bounded number of pieces.
func (c *copying) run(ctx context.Context) error {
	ctx, c.stop = context.WithCancelCause(ctx)
	defer c.stop(nil)
	work := make(chan *parcel)
	queues := make([]chan *parcel, len(c.writers))
	for i := range queues {
		queues[i] = make(chan *parcel, c.workers+min(c.workers, 4))
	}
	var group sync.WaitGroup
	for range c.workers {
		group.Go(func() {
			for p := range work {
				if err := c.encode(ctx, p); err != nil {
					c.stop(err)
				}
				close(p.done)
			}
		})
	}
	for i := range queues {
		group.Go(func() {
			done := int64(0)
			for p := range queues[i] {
				<-p.done
				if ctx.Err() == nil && p.writes != nil && p.writes[i] != nil {
					if err := p.writes[i](); err != nil {
						c.stop(err)
					}
				}
				if done += p.held; i == 0 && c.progress != nil && ctx.Err() == nil {
					c.progress(min(done, c.total), c.total) // a source may have grown since it was counted
				}
				if p.users.Add(-1) == 0 {
					c.buffers.Put(p.buffer)
				}
			}
		})
	}
	err := c.plan(ctx, func(e Extent, held int64) error {
		p := &parcel{Piece: Piece{Start: e.Start}, held: held, done: make(chan struct{})}
		p.users.Store(int32(len(c.writers)))
		p.buffer, _ = c.buffers.Get().(*[]byte)
		if p.buffer == nil {
			b := make([]byte, PieceSize)
			p.buffer = &b
		}
		p.Data = (*p.buffer)[:e.Size]
		select {
		case work <- p:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		for _, q := range queues { // each has a reader that never stops before it is closed
			q <- p
		}
		return nil
	})
	if err != nil {
		c.stop(err)
	}
	close(work)
	for _, q := range queues {
		close(q)
	}
	group.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// plan calls f for each piece that extents are in, with how much of them.
func (c *copying) plan(ctx context.Context, f func(e Extent, held int64) error) error {
	size, at, held := c.src.Size(), int64(-1), int64(0)
	give := func() error {
		if held == 0 {
			return nil
		}
		return f(Extent{at, min(PieceSize, size-at)}, held)
	}
	last := int64(0)
	err := c.src.Extents(ctx, func(e Extent) error {
		if e.Start < last || e.Size <= 0 || e.Size > size-e.Start {
			return fmt.Errorf("the source has an extent of %d bytes at %d, after one that ends at %d, on a disk of %d", e.Size, e.Start, last, size)
		}
		last = e.End()
		for e.Size > 0 {
			if start := e.Start / PieceSize * PieceSize; start != at {
				if err := give(); err != nil {
					return err
				}
				at, held = start, 0
			}
			n := min(e.Size, at+PieceSize-e.Start)
			held += n
			e = Extent{e.Start + n, e.Size - n}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return give()
}

func (c *copying) encode(ctx context.Context, p *parcel) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if n, err := c.src.ReadAt(p.Data, p.Start); n < len(p.Data) {
		if err == nil || errors.Is(err, io.EOF) {
			err = errors.New("the source has become shorter")
		}
		return fmt.Errorf("read at %d: %w", p.Start, err)
	}
	if IsZero(p.Data) {
		return nil
	}
	writes := make([]func() error, len(c.writers))
	for i, w := range c.writers {
		write, err := w.Encode(p.Piece)
		if err != nil {
			return err
		}
		writes[i] = write
	}
	p.writes = writes
	return nil
}

var zeros [64 << 10]byte

// IsZero tells whether all bytes are zero.
func IsZero(b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), len(zeros))
		if !bytes.Equal(b[:n], zeros[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}
