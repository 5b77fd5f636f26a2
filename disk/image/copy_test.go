package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// ramp is a disk whose bytes are a function of their place, in extents of its own.
type ramp struct {
	size    int64
	extents []Extent
	short   int64 // what is really there; 0: all
	changed error
	reading atomic.Int64 // ReadAt calls under way
	read    atomic.Int64 // bytes
}

func (r *ramp) Size() int64 { return r.size }

func (r *ramp) ReadAt(p []byte, off int64) (int, error) {
	r.reading.Add(1)
	defer r.reading.Add(-1)
	r.read.Add(int64(len(p)))
	end := r.size
	if r.short > 0 {
		end = r.short
	}
	n := int(max(min(int64(len(p)), end-off), 0))
	clear(p[:n])
	for _, e := range r.extents {
		for at, end := max(e.Start, off), min(e.End(), off+int64(n)); at < end; {
			at += int64(copy(p[at-off:end-off], pattern[at%int64(len(pattern)):]))
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// pattern is what extents hold, again and again: no two pieces are the same, and no byte is zero.
var pattern = func() []byte {
	b := make([]byte, 65537)
	for i := range b {
		b[i] = byte(i*2654435761>>13) | 1
	}
	return b
}()

func (r *ramp) Extents(_ context.Context, f func(Extent) error) error {
	for _, e := range r.extents {
		if err := f(e); err != nil {
			return err
		}
	}
	return nil
}

func (r *ramp) Unchanged() error { return r.changed }

// recorder keeps what it is given.
type recorder struct {
	mu       sync.Mutex
	starts   []int64 // in the order of writes
	data     map[int64][]byte
	slow     time.Duration // of each write
	encodes  atomic.Int64
	writing  atomic.Int64
	active   atomic.Int64 // calls under way
	finished int
	fail     func(what string, start int64) error
}

func (w *recorder) failure(what string, start int64) error {
	if w.fail == nil {
		return nil
	}
	return w.fail(what, start)
}

func (w *recorder) Encode(p Piece) (func() error, error) {
	w.active.Add(1)
	defer w.active.Add(-1)
	w.encodes.Add(1)
	if err := w.failure("encode", p.Start); err != nil {
		return nil, err
	}
	if w.writing.Load() < 0 {
		return nil, nil
	}
	copied := bytes.Clone(p.Data)
	return func() error {
		w.active.Add(1)
		defer w.active.Add(-1)
		if w.writing.Add(1) != 1 {
			return errors.New("two writes at once")
		}
		defer w.writing.Add(-1)
		time.Sleep(w.slow)
		if err := w.failure("write", p.Start); err != nil {
			return err
		}
		if !bytes.Equal(copied, p.Data) {
			return errors.New("the piece has changed before it was written")
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.starts = append(w.starts, p.Start)
		if w.data == nil {
			w.data = map[int64][]byte{}
		}
		w.data[p.Start] = copied
		return nil
	}, nil
}

func (w *recorder) Finish() error {
	w.finished++
	return w.failure("finish", 0)
}

// check compares what a writer was given with the disk.
func (w *recorder) check(t *testing.T, src *ramp) {
	t.Helper()
	last := int64(-1)
	for _, at := range w.starts {
		if at <= last || at%PieceSize != 0 {
			t.Fatalf("a piece at %d after %d", at, last)
		}
		last = at
	}
	want := make([]byte, PieceSize)
	for at := int64(0); at < src.size; at += PieceSize {
		b := want[:min(PieceSize, src.size-at)]
		src.ReadAt(b, at)
		got, ok := w.data[at]
		if ok == IsZero(b) {
			t.Fatalf("the piece at %d came: %v; it is zeros: %v", at, ok, IsZero(b))
		}
		if ok && !bytes.Equal(got, b) {
			t.Fatalf("the piece at %d is another, or %d bytes long instead of %d", at, len(got), len(b))
		}
	}
	if w.finished != 1 {
		t.Fatalf("finished %d times", w.finished)
	}
}

func extents(size int64, seed uint64) []Extent {
	r := rand.New(rand.NewPCG(seed, 1))
	var list []Extent
	for at := int64(0); at < size; {
		at += r.Int64N(2*PieceSize) + 1
		n := min(r.Int64N(3*PieceSize)>>r.IntN(14)+1, size-at)
		if n > 0 {
			list = append(list, Extent{at, n})
		}
		at += n
	}
	return list
}

func TestCopy(t *testing.T) {
	for _, size := range []int64{0, 1, SectorSize, PieceSize, PieceSize + 1, 13*PieceSize + 777} {
		for _, workers := range []int{0, 1, 3, 100} {
			for _, writers := range []int{1, 3} {
				t.Run(fmt.Sprint(size, "/", workers, "/", writers), func(t *testing.T) {
					src := &ramp{size: size, extents: extents(size, uint64(size))}
					list, as := make([]*recorder, writers), make([]Writer, writers)
					for i := range list {
						list[i] = &recorder{slow: time.Duration(i) * time.Millisecond / 5}
						as[i] = list[i]
					}
					last, total := int64(-1), int64(0)
					for _, e := range src.extents {
						total += e.Size
					}
					err := Copy(t.Context(), src, CopyOptions{Workers: workers, Progress: func(done, of int64) {
						if done < last || of != total || done > of {
							t.Errorf("progress %d of %d after %d; there are %d", done, of, last, total)
						}
						last = done
					}}, as...)
					if err != nil {
						t.Fatal(err)
					}
					if last != total {
						t.Errorf("progress ended at %d of %d", last, total)
					}
					if read := src.read.Load(); read > size {
						t.Errorf("%d bytes were read of %d", read, size)
					}
					for _, w := range list {
						w.check(t, src)
					}
				})
			}
		}
	}
}

// TestCopySkipsZeros has extents that hold nothing but zeros.
func TestCopySkipsZeros(t *testing.T) {
	src := &zeroDisk{10 * PieceSize}
	w := &recorder{}
	if err := Copy(t.Context(), src, CopyOptions{}, w); err != nil {
		t.Fatal(err)
	}
	if len(w.starts) != 0 || w.encodes.Load() != 0 || w.finished != 1 {
		t.Errorf("%d writes, %d encodes, %d finishes", len(w.starts), w.encodes.Load(), w.finished)
	}
}

type zeroDisk struct{ size int64 }

func (z *zeroDisk) Size() int64                           { return z.size }
func (z *zeroDisk) ReadAt(p []byte, _ int64) (int, error) { clear(p); return len(p), nil }
func (z *zeroDisk) Extents(_ context.Context, f func(Extent) error) error {
	return f(Extent{0, z.size})
}

var errTest = errors.New("it broke")

// TestCopyErrors has each part fail, and wants that error, and nothing going on when Copy has returned.
func TestCopyErrors(t *testing.T) {
	size := int64(14 * PieceSize)
	whole := []Extent{{0, size}}
	at := func(what string, start int64) func(string, int64) error {
		return func(w string, s int64) error {
			if w == what && s >= start {
				return errTest
			}
			return nil
		}
	}
	for name, c := range map[string]struct {
		src  *ramp
		fail func(string, int64) error
		want string
	}{
		"encode":        {&ramp{size: size, extents: whole}, at("encode", 5*PieceSize), "it broke"},
		"write":         {&ramp{size: size, extents: whole}, at("write", 0), "it broke"},
		"last write":    {&ramp{size: size, extents: whole}, at("write", 13*PieceSize), "it broke"},
		"finish":        {&ramp{size: size, extents: whole}, at("finish", 0), "it broke"},
		"shorter":       {&ramp{size: size, extents: whole, short: 9*PieceSize + 5}, nil, "become shorter"},
		"changed":       {&ramp{size: size, extents: whole, changed: errTest}, nil, "it broke"},
		"backwards":     {&ramp{size: size, extents: []Extent{{PieceSize, 10}, {5, 10}}}, nil, "an extent of 10 bytes at 5"},
		"overlap":       {&ramp{size: size, extents: []Extent{{0, 10}, {5, 10}}}, nil, "an extent of 10 bytes at 5"},
		"empty extent":  {&ramp{size: size, extents: []Extent{{0, 0}}}, nil, "an extent of 0 bytes"},
		"negative":      {&ramp{size: size, extents: []Extent{{-1, 10}}}, nil, "at -1"},
		"beyond":        {&ramp{size: size, extents: []Extent{{size - 1, 2}}}, nil, "an extent of 2 bytes"},
		"far beyond":    {&ramp{size: size, extents: []Extent{{1 << 62, 1 << 62}}}, nil, "an extent of"},
		"negative size": {&ramp{size: size, extents: []Extent{{5, -3}}}, nil, "an extent of -3"},
	} {
		for _, second := range []bool{false, true} {
			t.Run(fmt.Sprint(name, "/", second), func(t *testing.T) {
				before := runtime.NumGoroutine()
				bad, good := &recorder{fail: c.fail}, &recorder{slow: time.Millisecond}
				writers := []Writer{bad, good}
				if second {
					writers = []Writer{good, bad}
				}
				err := Copy(t.Context(), c.src, CopyOptions{Workers: 4}, writers...)
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("got %v, want %q", err, c.want)
				}
				if c.src.reading.Load() != 0 || bad.active.Load() != 0 || good.active.Load() != 0 {
					t.Error("something goes on")
				}
				if name != "finish" && bad.finished+good.finished != 0 {
					t.Error("a writer was finished")
				}
				leaked(t, before)
			})
		}
	}
}

func leaked(t *testing.T, before int) {
	t.Helper()
	for range 100 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}

// TestCopyCancel cancels before, and on the way.
func TestCopyCancel(t *testing.T) {
	src := &ramp{size: 30 * PieceSize, extents: []Extent{{0, 30 * PieceSize}}}
	for _, after := range []int64{0, 1, 10 * PieceSize} {
		before := runtime.NumGoroutine()
		ctx, cancel := context.WithCancelCause(t.Context())
		if after == 0 {
			cancel(errTest)
		}
		w := &recorder{}
		err := Copy(ctx, src, CopyOptions{Progress: func(done, _ int64) {
			if done >= after {
				cancel(errTest)
			}
		}}, w)
		if !errors.Is(err, errTest) || w.finished != 0 {
			t.Errorf("cancelled after %d: %v, finished %d times", after, err, w.finished)
		}
		cancel(nil)
		leaked(t, before)
	}
}

// TestCopyBounded has a writer that does not go on, and counts how far the others and the reading come.
func TestCopyBounded(t *testing.T) {
	const workers = maxWorkers
	src := &ramp{size: 200 * PieceSize, extents: []Extent{{0, 1}}}
	src.extents = nil
	for at := int64(0); at < src.size; at += PieceSize {
		src.extents = append(src.extents, Extent{at, 1})
	}
	release := make(chan struct{})
	stuck := &recorder{fail: func(what string, _ int64) error {
		if what == "write" {
			<-release
		}
		return nil
	}}
	fast := &recorder{}
	done := make(chan error)
	go func() { done <- Copy(t.Context(), src, CopyOptions{Workers: workers}, fast, stuck) }()
	read := int64(-1)
	for read != src.read.Load()/PieceSize || read < workers {
		read = src.read.Load() / PieceSize
		time.Sleep(200 * time.Millisecond)
	}
	if read > 2*workers {
		t.Errorf("%d pieces were read while a writer is stuck, with %d workers", read, workers)
	}
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	fast.check(t, src)
	stuck.check(t, src)
}
