package compress

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ingot-image/ingot/disk/image"
)

// memory is a disk in memory: parts, and zeros between them.
type memory struct {
	size  int64
	parts map[int64][]byte // by offset
	holes bool             // tell them; else all is one extent
	order []int64
}

func (m *memory) add(off int64, b []byte) {
	if m.parts == nil {
		m.parts = map[int64][]byte{}
	}
	m.parts[off] = b
	m.order = append(m.order, off)
}

func (m *memory) Size() int64 { return m.size }

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	n := int(min(int64(len(p)), m.size-off))
	clear(p[:n])
	for start, b := range m.parts {
		if at := max(start, off); at < min(start+int64(len(b)), off+int64(n)) {
			copy(p[at-off:n], b[at-start:])
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (m *memory) Extents(_ context.Context, f func(image.Extent) error) error {
	if !m.holes {
		if m.size == 0 {
			return nil
		}
		return f(image.Extent{Size: m.size})
	}
	for _, off := range m.order {
		if err := f(image.Extent{Start: off, Size: int64(len(m.parts[off]))}); err != nil {
			return err
		}
	}
	return nil
}

// text is content that compresses about as a disk does.
func text(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 5))
	words := make([][]byte, 300)
	for i := range words {
		words[i] = make([]byte, 2+r.IntN(9))
		for j := range words[i] {
			words[i][j] = byte(r.IntN(64) + 32)
		}
	}
	var b bytes.Buffer
	for b.Len() < n {
		b.Write(words[r.IntN(len(words))])
		if r.IntN(500) == 0 {
			b.Write(make([]byte, r.IntN(5000)))
		}
	}
	return b.Bytes()[:n]
}

func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed)})
	r.Read(b)
	return b
}

const mib = 1 << 20

func disks() map[string]*memory {
	d := map[string]*memory{
		"empty":          {},
		"one zero":       {size: 1},
		"sector of hole": {size: 512},
		"hole of 259":    {size: 259},
		"hole, odd":      {size: 3*mib + 12345},
		"hole of frames": {size: 3 * frameSize},
		"byte":           {size: 1},
		"text":           {size: 5*mib + 777},
		"noise":          {size: 9*mib + 512},
		"islands":        {size: 70 * mib},
		"last byte":      {size: 2*frameSize + mib + 1},
		"frame's end":    {size: 2 * frameSize},
	}
	d["byte"].add(0, []byte{7})
	d["text"].add(0, text(1, 5*mib+777))
	d["noise"].add(0, noise(2, 9*mib+512))
	d["islands"].add(3*mib+5, text(3, 2*mib))
	d["islands"].add(20*mib, noise(4, 4096))
	d["islands"].add(31*mib, text(5, 12*mib+1))
	d["islands"].add(69*mib, []byte("x"))
	d["last byte"].add(2*frameSize+mib, []byte{1})
	d["frame's end"].add(2*frameSize-1, []byte{1})
	return d
}

type maker func(w io.Writer, size int64) (image.Writer, error)

func makers(level image.Level) map[image.Format]maker {
	return map[image.Format]maker{
		image.RawGzip: func(w io.Writer, size int64) (image.Writer, error) { return NewGzipWriter(w, size, level) },
		image.RawZstd: func(w io.Writer, size int64) (image.Writer, error) { return NewZstdWriter(w, size, level) },
	}
}

func write(t *testing.T, src image.Source, m maker, workers int, w io.Writer) {
	t.Helper()
	out, err := m(w, src.Size())
	if err != nil {
		t.Fatal(err)
	}
	if err := image.Copy(context.Background(), src, image.CopyOptions{Workers: workers}, out); err != nil {
		t.Fatal(err)
	}
}

func sum(t *testing.T, r io.Reader) [32]byte {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		t.Fatal(err)
	}
	return [32]byte(h.Sum(nil))
}

func sumOf(t *testing.T, src image.Source) [32]byte {
	return sum(t, io.NewSectionReader(src, 0, src.Size()))
}

// tools are others' readers: a command that writes what is in a file to its output, and one that checks it.
var tools = map[image.Format][][]string{
	image.RawGzip: {{"gzip", "-dc"}, {"pigz", "-dc"}},
	image.RawZstd: {{"zstd", "-dcq"}},
}

// TestWriters has disks written by all writers at all levels and read back by others' tools and ours.
func TestWriters(t *testing.T) {
	for name, disk := range disks() {
		want := sumOf(t, disk)
		for _, level := range []image.Level{image.Fast, image.Default, image.Best} {
			for format, m := range makers(level) {
				t.Run(fmt.Sprint(name, "/", format, "/", level), func(t *testing.T) {
					path := filepath.Join(t.TempDir(), "disk")
					f, err := os.Create(path)
					if err != nil {
						t.Fatal(err)
					}
					defer f.Close()
					write(t, disk, m, 0, f)
					for _, tool := range tools[format] {
						if got := runTool(t, tool, path); got != want {
							t.Errorf("%s reads something else", tool[0])
						}
					}
					out, err := os.Create(path + ".raw")
					if err != nil {
						t.Fatal(err)
					}
					defer out.Close()
					f.Seek(0, io.SeekStart)
					n, err := Expand(t.Context(), f, format, out, disk.size, nil)
					if err != nil || n != disk.size {
						t.Fatal(n, err)
					}
					if got := sum(t, out); got != want {
						t.Error("Expand gives something else")
					}
				})
			}
		}
	}
}

func runTool(t *testing.T, tool []string, path string) [32]byte {
	t.Helper()
	if _, err := exec.LookPath(tool[0]); err != nil {
		t.Skipf("%s is not installed", tool[0])
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := exec.Command(tool[0], tool[1:]...)
	c.Stdin = f
	h := sha256.New()
	var say bytes.Buffer
	c.Stdout, c.Stderr = h, &say
	if err := c.Run(); err != nil || say.Len() > 0 {
		t.Fatalf("%v: %v %s", tool, err, say.Bytes())
	}
	return [32]byte(h.Sum(nil))
}

// TestSameBytes wants a file to be a function of the disk alone.
func TestSameBytes(t *testing.T) {
	for name, disk := range disks() {
		for format, m := range makers(image.Default) {
			var first []byte
			for i, workers := range []int{1, 2, 7, 16} {
				disk.holes = i%2 == 0
				var b bytes.Buffer
				write(t, disk, m, workers, &b)
				if first == nil {
					first = b.Bytes()
				} else if !bytes.Equal(first, b.Bytes()) {
					t.Errorf("%s: %s with %d workers, holes %v: other bytes", name, format, workers, disk.holes)
				}
			}
		}
	}
}

// TestLargeHoles writes a disk of 2 TiB with little on it.
func TestLargeHoles(t *testing.T) {
	disk := &memory{size: 2 << 40, holes: true}
	disk.add(5*mib, text(1, 3*mib))
	disk.add(1<<40+7, text(2, 100))
	disk.add(2<<40-512, noise(3, 512))
	for format, m := range makers(image.Default) {
		var n counting
		start := time.Now()
		write(t, disk, m, 0, &n)
		took := time.Since(start)
		t.Logf("%s: %d MiB in %v", format, int64(n)>>20, took)
		if most := map[image.Format]int64{image.RawGzip: 2 << 40 / 1000, image.RawZstd: 100 * mib}[format]; int64(n) > most {
			t.Errorf("%s has %d bytes, more than %d", format, int64(n), most)
		}
		if took > 20*time.Second {
			t.Errorf("%s took %v", format, took)
		}
	}
}

type counting int64

func (c *counting) Write(p []byte) (int, error) {
	*c += counting(len(p))
	return len(p), nil
}

var errFull = errors.New("no space left")

// full takes some bytes.
type full struct{ left int }

func (f *full) Write(p []byte) (int, error) {
	n := min(len(p), f.left)
	f.left -= n
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

// TestWriteError has every writer meet a full disk at several places.
func TestWriteError(t *testing.T) {
	disk := disks()["islands"]
	for format, m := range makers(image.Fast) {
		var whole counting
		write(t, disk, m, 2, &whole)
		for _, left := range []int{0, 1, 15, 100, 70000, int(whole) / 2, int(whole) - 20, int(whole) - 1} {
			out, err := m(&full{left}, disk.size)
			if err != nil {
				t.Fatal(err)
			}
			if err := image.Copy(t.Context(), disk, image.CopyOptions{}, out); !errors.Is(err, errFull) {
				t.Errorf("%s with room for %d bytes of %d: %v", format, left, whole, err)
			}
		}
	}
}

// TestCancel stops writers on the way.
func TestCancel(t *testing.T) {
	disk := disks()["islands"]
	why := errors.New("enough")
	for format, m := range makers(image.Default) {
		ctx, cancel := context.WithCancelCause(t.Context())
		out, err := m(io.Discard, disk.size)
		if err != nil {
			t.Fatal(err)
		}
		var n atomic.Int64
		err = image.Copy(ctx, disk, image.CopyOptions{Progress: func(done, _ int64) {
			if n.Add(1) == 3 {
				cancel(why)
			}
		}}, out)
		if !errors.Is(err, why) {
			t.Errorf("%s: %v", format, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	for format, m := range makers(image.Default) {
		if _, err := m(io.Discard, -1); err == nil {
			t.Errorf("%s takes a negative size", format)
		}
		for name, p := range map[string][]image.Piece{
			"beyond the end": {{Start: 4 * mib, Data: make([]byte, mib)}},
			"backwards":      {{Start: mib, Data: make([]byte, mib)}, {Start: 0, Data: make([]byte, mib)}},
		} {
			out, err := m(io.Discard, 4*mib+5)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range p {
				do, e := out.Encode(p)
				if e == nil {
					e = do()
				}
				err = errors.Join(err, e)
			}
			if err == nil {
				t.Errorf("%s takes pieces %s", format, name)
			}
		}
		for _, l := range []image.Level{-1, 3} {
			if _, err := makers(l)[format](io.Discard, 5); err == nil {
				t.Errorf("%s has a level %d", format, l)
			}
		}
	}
	if _, err := NewZstdWriter(io.Discard, 1<<62, image.Default); err == nil {
		t.Error("a disk of 4 EiB is written")
	}
}
