package vhd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/disk/image"
)

func TestWriterIsDeterministic(t *testing.T) {
	for _, fixed := range []bool{false, true} {
		s := shape{size: 20<<20 + 512, data: []image.Extent{{Start: 5, Size: 3 << 20}, {Start: 9 << 20, Size: 100}, {Start: 20 << 20, Size: 512}}}
		raw := s.raw(t)
		want, err := os.ReadFile(write(t, raw, Options{Fixed: fixed}, image.CopyOptions{Workers: 1}))
		if err != nil {
			t.Fatal(err)
		}
		full, err := os.ReadFile(raw) // which os.WriteFile writes without holes
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(raw+".full", full, 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(write(t, raw+".full", Options{Fixed: fixed}, image.CopyOptions{Workers: 8}))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("fixed %t: not the same file (%v)", fixed, err)
		}
		full[12345] ^= 1
		if err := os.WriteFile(raw+".full", full, 0o644); err != nil {
			t.Fatal(err)
		}
		got, err = os.ReadFile(write(t, raw+".full", Options{Fixed: fixed}, image.CopyOptions{}))
		if err != nil {
			t.Fatal(err)
		}
		if id := func(b []byte) string { return string(b[len(b)-footerSize+68:][:16]) }; id(got) == id(want) {
			t.Errorf("fixed %t: two disks with one identifier", fixed)
		}
	}
}

func TestAlign(t *testing.T) {
	for _, test := range []struct{ size, align, want int64 }{
		{1 << 20, AzureAlign, 1 << 20}, {1<<20 + 512, AzureAlign, 2 << 20}, {1, 512, 512}, {1000, AzureAlign, 1 << 20}, {MaxSize - 1, AzureAlign, MaxSize},
	} {
		for _, fixed := range []bool{false, true} {
			f := &memory{limit: -1}
			w, err := NewWriter(f, test.size, Options{Fixed: fixed, Align: test.align})
			if err != nil || w.Size() != test.want {
				t.Errorf("%+v: %v", test, err)
			}
		}
	}
	s := shape{size: 5<<20 + 512, data: []image.Extent{{Start: 5 << 20, Size: 512}}}
	raw := s.raw(t)
	path := write(t, raw, Options{Fixed: true, Align: AzureAlign}, image.CopyOptions{})
	for _, o := range qemuOptions(path) {
		if got := virtualSize(t, o); got != 6<<20 {
			t.Errorf("%d bytes", got)
		}
	}
	if st, err := os.Stat(path); err != nil || st.Size() != 6<<20+512 {
		t.Errorf("a file of %d bytes, %v", st.Size(), err)
	}
	want, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	sameDisk(t, openVHD(t, path), append(want, make([]byte, 1<<20-512)...))
}

func TestSizesThatCannotBe(t *testing.T) {
	for _, test := range []struct {
		size, align int64
		want        string
	}{
		{0, 0, "no empty disk"}, {-512, 0, "no empty disk"}, {MaxSize + 512, 0, "at most 2040 GiB"}, {1 << 62, 1 << 20, "at most 2040 GiB"},
		{1000, 0, "whole sectors"}, {1000, 3, "alignment"}, {1000, -512, "alignment"}, {MaxSize - 512, 1 << 40, "at most 2040 GiB"}, {1000, 1 << 62, "alignment"},
	} {
		if _, err := NewWriter(&memory{limit: -1}, test.size, Options{Align: test.align}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v", test, err)
		}
	}
}

func TestTwoTebibytesOfHoles(t *testing.T) {
	s := shape{size: MaxSize, data: []image.Extent{{Start: 0, Size: 512}, {Start: 1 << 40, Size: 3 << 20}, {Start: MaxSize - 512, Size: 512}}}
	raw := s.raw(t)
	for _, fixed := range []bool{false, true} {
		begin := time.Now()
		path := write(t, raw, Options{Fixed: fixed}, image.CopyOptions{})
		r := openVHD(t, path)
		held := int64(0)
		if err := r.Extents(context.Background(), func(e image.Extent) error { held += e.Size; return nil }); err != nil || held > 4<<20 {
			t.Errorf("fixed %t: %d bytes in extents, %v", fixed, held, err)
		}
		if d := time.Since(begin); d > 5*time.Second {
			t.Errorf("fixed %t: took %v", fixed, d)
		}
		st, err := os.Stat(path)
		if err != nil || !fixed && st.Size() > 16<<20 {
			t.Errorf("fixed %t: a file of %d bytes, %v", fixed, st.Size(), err)
		}
		for _, o := range qemuOptions(path) {
			if got := virtualSize(t, o); got != s.size {
				t.Errorf("qemu-img sees %d bytes", got)
			}
			tool(t, "qemu-img", "compare", "--image-opts", o, "driver=raw,file.driver=file,file.filename="+raw)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

var errFull = errors.New("no space left")

// memory is a file that fails after a number of writes.
type memory struct {
	data  []byte
	limit int // writes that succeed, -1: all
}

func (m *memory) Truncate(n int64) error {
	m.data = append(m.data[:0], make([]byte, min(n, 64<<20))...)
	return nil
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	if m.limit == 0 {
		return 0, errFull
	}
	m.limit--
	if more := off + int64(len(p)) - int64(len(m.data)); more > 0 {
		m.data = append(m.data, make([]byte, more)...)
	}
	return copy(m.data[off:], p), nil
}

// pattern is a disk of bytes that are nowhere zero.
type pattern int64

func (p pattern) Size() int64 { return int64(p) }
func (p pattern) ReadAt(b []byte, off int64) (int, error) {
	for i := range b {
		b[i] = byte((off+int64(i))%255 + 1)
	}
	return len(b), nil
}
func (p pattern) Extents(_ context.Context, f func(image.Extent) error) error {
	return f(image.Extent{Size: int64(p)})
}

func TestWriteErrors(t *testing.T) {
	for _, fixed := range []bool{false, true} {
		writes := 0
		for ; ; writes++ {
			m := &memory{limit: writes}
			w, err := NewWriter(m, 5<<20, Options{Fixed: fixed})
			if err != nil {
				t.Fatal(err)
			}
			err = image.Copy(context.Background(), pattern(5<<20), image.CopyOptions{Workers: 1}, w)
			if err == nil {
				if r, err := NewReader(bytes.NewReader(m.data), int64(len(m.data))); err != nil || r.Size() != 5<<20 {
					t.Errorf("%v", err)
				}
				break
			}
			if !errors.Is(err, errFull) {
				t.Fatalf("after %d writes: %v", writes, err)
			}
		}
		if writes < 6 {
			t.Errorf("fixed %t: complete after %d writes", fixed, writes)
		}
	}
}

func TestFileMustBeEmpty(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "full"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("something"); err != nil {
		t.Fatal(err)
	}
	if _, err := NewWriter(f, 1<<20, Options{}); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Error(err)
	}
}

func TestPiecesThatDoNotBelong(t *testing.T) {
	w, err := NewWriter(&memory{limit: -1}, 3<<20, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []image.Piece{{}, {Start: 512, Data: make([]byte, 512)}, {Start: 3 << 20, Data: make([]byte, 512)}, {Start: -1 << 20, Data: make([]byte, 512)}, {Data: make([]byte, 2<<20)}} {
		if _, err := w.Encode(p); err == nil {
			t.Errorf("a piece of %d bytes at %d was taken", len(p.Data), p.Start)
		}
	}
	if put, err := w.Encode(image.Piece{Data: make([]byte, 1<<20)}); err != nil || put != nil {
		t.Errorf("a piece of zeros is written (%v)", err)
	}
}

var _ io.WriterAt = (*memory)(nil)
