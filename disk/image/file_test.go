package image

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sparse makes a file of a disk; holes stay holes.
func sparse(t *testing.T, src Source) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := NewRawWriter(f, src.Size())
	if err != nil {
		t.Fatal(err)
	}
	if err := Copy(t.Context(), src, CopyOptions{}, w); err != nil {
		t.Fatal(err)
	}
	return path
}

func allocated(t *testing.T, path string) int64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

func list(t *testing.T, src Source) (l []Extent) {
	t.Helper()
	if err := src.Extents(t.Context(), func(e Extent) error { l = append(l, e); return nil }); err != nil {
		t.Fatal(err)
	}
	return l
}

// TestRawRoundTrip writes raw disks of odd sizes and reads them again, with others' reader too.
func TestRawRoundTrip(t *testing.T) {
	for _, size := range []int64{0, 1, SectorSize, rawBlock - 1, 9*PieceSize + 300, 16 * PieceSize} {
		src := &ramp{size: size, extents: extents(size, uint64(size)+3)}
		path := sparse(t, src)
		f, err := OpenFile(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if f.Size() != size {
			t.Fatalf("%d bytes instead of %d", f.Size(), size)
		}
		w := &recorder{}
		if err := Copy(t.Context(), f, CopyOptions{Workers: 2}, w); err != nil {
			t.Fatal(err)
		}
		w.check(t, src)
		want := make([]byte, size)
		src.ReadAt(want, 0)
		for _, e := range list(t, f) {
			clear(want[e.Start:e.End()])
		}
		if !IsZero(want) {
			t.Errorf("a disk of %d bytes: there is something outside the extents", size)
		}
	}
}

// TestRawHoles writes one disk from sources that know their holes and ones that do not: the files are the same, holes too.
func TestRawHoles(t *testing.T) {
	size := int64(12*PieceSize + 512)
	knows := &ramp{size: size, extents: []Extent{{100, 1}, {3*PieceSize + rawBlock, 2 * rawBlock}, {9 * PieceSize, PieceSize}, {size - 1, 1}}}
	content := make([]byte, size)
	knows.ReadAt(content, 0)
	full := filepath.Join(t.TempDir(), "full")
	if err := os.WriteFile(full, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(full)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a, b := sparse(t, knows), sparse(t, f)
	one, _ := os.ReadFile(a)
	two, _ := os.ReadFile(b)
	if !bytes.Equal(one, content) || !bytes.Equal(two, content) {
		t.Error("another content")
	}
	if x, y := allocated(t, a), allocated(t, b); x != y || x > 2*PieceSize {
		t.Errorf("%d and %d bytes are allocated", x, y)
	}
	if out, err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", "raw", a, full).CombinedOutput(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			t.Skip("qemu-img is not installed")
		}
		t.Errorf("qemu-img compare: %v: %s", err, out)
	}
}

func TestRawWriterRefuses(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "x"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := NewRawWriter(f, -1); err == nil {
		t.Error("a negative size is taken")
	}
	f.WriteString("x")
	if _, err := NewRawWriter(f, 100); err == nil {
		t.Error("a file that is not empty is taken")
	}
	ro, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer ro.Close()
	if w, err := NewRawWriter(ro, 1<<20); err == nil {
		_, err = w.Encode(Piece{Data: []byte{1}})
		if err == nil {
			t.Error("a file that cannot be written is written")
		}
	}
}

// TestFileHuge copies a disk of 2 TiB that holds next to nothing.
func TestFileHuge(t *testing.T) {
	src := &ramp{size: 2 << 40, extents: []Extent{{5, 10}, {1 << 40, 70000}, {2<<40 - 3, 3}}}
	dir := t.TempDir()
	probe, err := os.Create(filepath.Join(dir, "probe"))
	if err != nil {
		t.Fatal(err)
	}
	defer probe.Close()
	if err := probe.Truncate(src.size); err != nil {
		t.Skipf("no file of 2 TiB can be made here: %v", err)
	}
	start := time.Now()
	path := sparse(t, src)
	f, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var held int64
	for _, e := range list(t, f) {
		held += e.Size
	}
	if held > 4*PieceSize || held == 0 {
		t.Errorf("the file has %d bytes in extents", held)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestFileReadAt(t *testing.T) {
	src := &ramp{size: 1000, extents: []Extent{{0, 1000}}}
	path := sparse(t, src)
	f, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, c := range []struct {
		off  int64
		len  int
		want int
		err  error
	}{{0, 1000, 1000, nil}, {0, 1001, 1000, io.EOF}, {999, 1, 1, nil}, {999, 2, 1, io.EOF}, {1000, 1, 0, io.EOF}, {5000, 1, 0, io.EOF}} {
		b, want := make([]byte, c.len), make([]byte, c.want)
		src.ReadAt(want, c.off)
		n, err := f.ReadAt(b, c.off)
		if n != c.want || err != c.err || !bytes.Equal(b[:n], want) {
			t.Errorf("%d bytes at %d: %d, %v", c.len, c.off, n, err)
		}
	}
	if _, err := f.ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("a negative offset is read")
	}
	// What is appended later is no part of the disk.
	a, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	a.WriteString("more")
	a.Close()
	if n, err := f.ReadAt(make([]byte, 10), 995); n != 5 || err != io.EOF {
		t.Errorf("beyond the size: %d, %v", n, err)
	}
}

// TestFileChanges has files that others write while they are copied.
func TestFileChanges(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"shorter": func(path string) error { return os.Truncate(path, 3*PieceSize) },
		"empty":   func(path string) error { return os.Truncate(path, 0) },
		"longer":  func(path string) error { return os.Truncate(path, 30*PieceSize) },
		"written": func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt([]byte("x"), 100)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := sparse(t, &ramp{size: 10 * PieceSize, extents: []Extent{{0, 10 * PieceSize}}})
			f, err := OpenFile(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			time.Sleep(20 * time.Millisecond) // times of files have the grain of the kernel's tick
			for i, src := range []Source{f, Section(f, Extent{0, 9 * PieceSize})} {
				first := i == 0
				w := &recorder{fail: func(what string, start int64) error {
					if what == "write" && start == 0 && first {
						return change(path)
					}
					return nil
				}}
				err = Copy(t.Context(), src, CopyOptions{Workers: 1}, w)
				if err == nil || w.finished != 0 {
					t.Errorf("source %d: %v, finished %d times", i, err, w.finished)
				}
			}
		})
	}
}

// TestFileCutOffInHole cuts a file off where it holds nothing: what is behind is no hole.
func TestFileCutOffInHole(t *testing.T) {
	path := sparse(t, &ramp{size: 10 * PieceSize, extents: []Extent{{0, PieceSize}, {9 * PieceSize, PieceSize}}})
	f, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Truncate(path, 5*PieceSize); err != nil {
		t.Fatal(err)
	}
	err = f.Extents(t.Context(), func(Extent) error { return nil })
	if err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("%v", err)
	}
}

func TestOpenFileRefuses(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, fifo, "/dev/null", filepath.Join(dir, "none")} {
		if f, err := OpenFile(path); err == nil {
			f.Close()
			t.Errorf("%s is opened", path)
		} else if !strings.Contains(err.Error(), path) {
			t.Errorf("an error without the name: %v", err)
		}
	}
}

func TestSection(t *testing.T) {
	src := &ramp{size: 1000, extents: []Extent{{0, 10}, {100, 100}, {300, 50}, {990, 10}}}
	for _, c := range []struct {
		at   Extent
		size int64
		want []Extent
	}{
		{Extent{0, 1000}, 1000, src.extents},
		{Extent{5, 100}, 100, []Extent{{0, 5}, {95, 5}}},
		{Extent{150, 1}, 1, []Extent{{0, 1}}},
		{Extent{200, 100}, 100, nil},
		{Extent{320, 5000}, 680, []Extent{{0, 30}, {670, 10}}},
		{Extent{-5, 20}, 20, []Extent{{0, 10}}},
		{Extent{2000, 5}, 0, nil},
		{Extent{10, -5}, 0, nil},
	} {
		s := Section(src, c.at)
		if got := list(t, s); s.Size() != c.size || !slices.Equal(got, c.want) {
			t.Errorf("%v: %d bytes, %v", c.at, s.Size(), got)
		}
		b, want := make([]byte, c.size), make([]byte, c.size)
		if n, err := s.ReadAt(b, 0); n != int(c.size) || err != nil && err != io.EOF {
			t.Errorf("%v: %d, %v", c.at, n, err)
		}
		src.ReadAt(want, max(min(c.at.Start, 1000), 0))
		if !bytes.Equal(b, want) {
			t.Errorf("%v: other bytes", c.at)
		}
		if n, err := s.ReadAt(make([]byte, 1), c.size); n != 0 || err != io.EOF {
			t.Errorf("%v: %d, %v behind the end", c.at, n, err)
		}
	}
	inner := Section(Section(src, Extent{50, 500}), Extent{60, 50})
	if got := list(t, inner); !slices.Equal(got, []Extent{{0, 50}}) {
		t.Errorf("a section of a section: %v", got)
	}
	if err := inner.Extents(context.Background(), func(Extent) error { return errTest }); err != errTest {
		t.Errorf("f's error: %v", err)
	}
}

func TestHeaders(t *testing.T) {
	h := Headers{R: bytes.NewReader(make([]byte, 100)), Size: 100, Format: VMDK}
	if b, err := h.At("it", 90, 10); len(b) != 10 || err != nil {
		t.Error(len(b), err)
	}
	for _, c := range [][2]int64{{-1, 1}, {0, -1}, {0, 101}, {100, 1}, {101, 0}, {1 << 62, 1 << 62}, {50, 1<<63 - 1}} {
		var damaged *FormatError
		if _, err := h.At("it", c[0], c[1]); !errors.As(err, &damaged) || !strings.Contains(err.Error(), "damaged vmdk image: it at offset") {
			t.Errorf("%d bytes at %d: %v", c[1], c[0], err)
		}
	}
	h.Size = 200 // says more than there is
	if _, err := h.At("it", 90, 20); err == nil {
		t.Error("more was read than there is")
	}
}
