package vhd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/ingot-image/ingot/disk/image"
)

// tool runs a program of somebody else and returns what it prints; a failure fails the test.
func tool(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("skipped: %v", err)
	}
	var stderr bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s%s", name, args, err, out, stderr.Bytes())
	}
	return out
}

// shape is a disk of some size with data at some places.
type shape struct {
	name string
	size int64
	data []image.Extent
}

// shapes are disks that end and change where the format has its borders.
func shapes() []shape {
	const kib, mib = 1 << 10, 1 << 20
	every := func(size, step, length int64) (out []image.Extent) {
		for at := int64(0); at < size; at += step {
			out = append(out, image.Extent{Start: at, Size: min(length, size-at)})
		}
		return out
	}
	return []shape{
		{"a sector", 512, every(512, 512, 512)},
		{"a sector of zeros", 512, nil},
		{"a piece", mib, every(mib, mib, mib)},
		{"a block", 2 * mib, every(2*mib, 2*mib, 2*mib)},
		{"a block but a sector", 2*mib - 512, every(2*mib-512, mib, mib)},
		{"a block and a sector", 2*mib + 512, every(2*mib+512, mib, mib)},
		{"the last sector alone", 2*mib + 512, []image.Extent{{Start: 2 * mib, Size: 512}}},
		{"second pieces alone", 9 * mib, every(9*mib, 2*mib, 1)[1:]},
		{"only zeros", 7 * mib, nil},
		{"sectors", 5*mib + 5*512, every(5*mib+5*512, 7*512, 512)},
		{"pages and gaps of all lengths", 6 * mib, every(6*mib, 68*kib, 4*kib)},
		{"across blocks", 10 * mib, []image.Extent{{Start: 2*mib - 512, Size: 1024}, {Start: 6*mib - 4096, Size: 3 * mib}}},
		{"a table of more than a sector", 258 * mib, []image.Extent{{Start: 3, Size: 1}, {Start: 130 * mib, Size: mib}, {Start: 258*mib - 1, Size: 1}}},
	}
}

// raw makes the disk as a raw file with the holes it has.
func (s shape) raw(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(s.size); err != nil {
		t.Fatal(err)
	}
	random := rand.NewChaCha8([32]byte{byte(s.size)})
	for _, e := range s.data {
		b := make([]byte, e.Size)
		random.Read(b)
		b[0], b[e.Size-1] = 1, 2
		if _, err := f.WriteAt(b, e.Start); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// write writes the raw disk at a path as a VHD beside it.
func write(t testing.TB, raw string, o Options, c image.CopyOptions) string {
	t.Helper()
	src, err := image.OpenFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	path := raw + ".vhd"
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := NewWriter(f, src.Size(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := image.Copy(context.Background(), src, c, w); err != nil {
		t.Fatal(err)
	}
	return path
}

// sameDisk reads a source whole, by extents and by odd pieces, and compares it.
func sameDisk(t testing.TB, src image.Source, want []byte) {
	t.Helper()
	if src.Size() != int64(len(want)) {
		t.Fatalf("size %d, want %d", src.Size(), len(want))
	}
	got := make([]byte, len(want))
	last := int64(-1)
	err := src.Extents(context.Background(), func(e image.Extent) error {
		if e.Start <= last || e.Size <= 0 || e.End() > src.Size() {
			t.Fatalf("extent %+v after one that ends at %d", e, last)
		}
		last = e.End()
		_, err := src.ReadAt(got[e.Start:e.End()], e.Start)
		return err
	})
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("what its extents hold is something else (%v)", err)
	}
	clear(got)
	step := 1<<20 - 12345
	for at := 0; at < len(got); at += step {
		n, err := src.ReadAt(got[at:min(at+step, len(got))], int64(at))
		if n != min(step, len(got)-at) || err != nil && !errors.Is(err, io.EOF) {
			t.Fatalf("read at %d: %d, %v", at, n, err)
		}
	}
	if !bytes.Equal(got, want) {
		t.Error("what it reads is something else")
	}
	if n, err := src.ReadAt(make([]byte, 10), src.Size()); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("read at the end: %d, %v", n, err)
	}
	if n, err := src.ReadAt(make([]byte, 10), src.Size()-1); n != 1 || !errors.Is(err, io.EOF) {
		t.Errorf("read across the end: %d, %v", n, err)
	}
}

func openVHD(t testing.TB, path string) *Reader {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// qemuOptions open a VHD as a stranger does who only knows the format, and by the number of bytes.
func qemuOptions(path string) []string {
	file := ",file.driver=file,file.filename=" + path
	return []string{"driver=vpc" + file, "driver=vpc,force_size_calc=current_size" + file}
}

func virtualSize(t testing.TB, options string) (size int64) {
	t.Helper()
	var info struct {
		Size int64 `json:"virtual-size"`
	}
	if err := json.Unmarshal(tool(t, "qemu-img", "info", "--output=json", "--image-opts", options), &info); err != nil {
		t.Fatal(err)
	}
	return info.Size
}

func TestWhatIsWrittenIsReadByAll(t *testing.T) {
	for _, s := range shapes() {
		for _, fixed := range []bool{false, true} {
			name := s.name + " dynamic"
			if fixed {
				name = s.name + " fixed"
			}
			t.Run(name, func(t *testing.T) {
				raw := s.raw(t)
				path := write(t, raw, Options{Fixed: fixed}, image.CopyOptions{})
				want, err := os.ReadFile(raw)
				if err != nil {
					t.Fatal(err)
				}
				sameDisk(t, openVHD(t, path), want)
				for _, o := range qemuOptions(path) {
					if got := virtualSize(t, o); got != s.size {
						t.Errorf("qemu-img sees %d bytes, want %d", got, s.size)
					}
					tool(t, "qemu-img", "compare", "--image-opts", o, "driver=raw,file.driver=file,file.filename="+raw)
				}
				// Which looks at the sector bitmaps, and finds a fixed disk by itself.
				if got := tool(t, "7z", "x", "-so", "-tvhd", path); !bytes.Equal(got, want) {
					t.Error("7z reads something else")
				}
			})
		}
	}
}

func TestReadsWhatQemuImgWrites(t *testing.T) {
	for _, s := range shapes() {
		for _, options := range []string{"subformat=dynamic,force_size=on", "subformat=fixed,force_size=on", "subformat=dynamic", "subformat=fixed"} {
			t.Run(s.name+" "+options, func(t *testing.T) {
				raw := s.raw(t)
				path := raw + ".vhd"
				tool(t, "qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", options, raw, path)
				want, err := os.ReadFile(raw)
				if err != nil {
					t.Fatal(err)
				}
				r := openVHD(t, path)
				if more := r.Size() - s.size; more > 0 { // rounded up to the next geometry
					want = append(want, make([]byte, more)...)
				}
				sameDisk(t, r, want)
			})
		}
	}
}

func TestHolesOfAFixedDiskAreTheFiles(t *testing.T) {
	s := shape{size: 64 << 20, data: []image.Extent{{Start: 32 << 20, Size: 4096}}}
	r := openVHD(t, write(t, s.raw(t), Options{Fixed: true}, image.CopyOptions{}))
	sum := int64(0)
	if err := r.Extents(context.Background(), func(e image.Extent) error { sum += e.Size; return nil }); err != nil || sum > 1<<20 {
		t.Errorf("%d bytes in extents, %v", sum, err)
	}
}
