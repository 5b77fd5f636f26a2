package vmdk

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/disk/image"
)

// qemuImg runs qemu-img.
func qemuImg(t *testing.T, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("qemu-img is not installed (package qemu-utils)")
	}
	out, err := exec.Command("qemu-img", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("qemu-img %q: %v\n%s", args, err, out)
	}
	return out
}

// sparseDisk writes a raw file with random data at random places, some of it written zeros.
func sparseDisk(t testing.TB, random *rand.Rand, size int64, pieces int) *image.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "sparse.raw"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for i := range pieces {
		data := make([]byte, 1+random.IntN(200_000))
		if i%4 != 0 {
			for j := range data {
				data[j] = byte(random.Uint32N(1 << uint(1+i%8)))
			}
		}
		at := random.Int64N(size)
		if _, err := f.WriteAt(data[:min(int64(len(data)), size-at)], at); err != nil {
			t.Fatal(err)
		}
	}
	return openRaw(t, f)
}

func openRaw(t testing.TB, f *os.File) *image.File {
	t.Helper()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := image.OpenFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	return raw
}

// encode is the VMDK of a disk.
func encode(t testing.TB, src image.Source, o Options, c image.CopyOptions) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, src.Size(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := image.Copy(t.Context(), src, c, w); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func reader(t testing.TB, b []byte) *Reader {
	t.Helper()
	r, err := NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// save puts bytes into a file.
func save(t testing.TB, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// same compares two disks: sizes, what a's extents hold, what b's extents hold.
func same(a, b image.Source) error {
	if a.Size() != b.Size() {
		return fmt.Errorf("%d and %d bytes", a.Size(), b.Size())
	}
	for _, src := range []image.Source{a, b} {
		last := int64(-1)
		err := src.Extents(context.Background(), func(e image.Extent) error {
			if e.Start <= last || e.Size <= 0 || e.End() > src.Size() {
				return fmt.Errorf("extent %v after one that ends at %d", e, last)
			}
			last = e.End()
			x, y := make([]byte, image.PieceSize), make([]byte, image.PieceSize)
			for off := e.Start; off < e.End(); off += image.PieceSize {
				n := min(image.PieceSize, e.End()-off)
				for s, p := range map[image.Source][]byte{a: x, b: y} {
					if m, err := s.ReadAt(p[:n], off); int64(m) < n || (err != nil && err != io.EOF) {
						return fmt.Errorf("read %d at %d: %d, %w", n, off, m, err)
					}
				}
				if !bytes.Equal(x[:n], y[:n]) {
					return fmt.Errorf("they differ in the %d bytes at %d", n, off)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// checkQEMU lets qemu-img check a VMDK and compare it with the raw disk it was made of.
func checkQEMU(t *testing.T, vmdk, raw string) {
	t.Helper()
	var r struct {
		Corruptions int `json:"corruptions"`
		CheckErrors int `json:"check-errors"`
	}
	if err := json.Unmarshal(qemuImg(t, "check", "--output=json", "-f", "vmdk", vmdk), &r); err != nil || r.Corruptions+r.CheckErrors != 0 {
		t.Errorf("qemu-img check: %+v, %v", r, err)
	}
	if out := string(qemuImg(t, "compare", "-f", "raw", "-F", "vmdk", raw, vmdk)); strings.Contains(out, "Warning") || !strings.Contains(out, "identical") {
		t.Errorf("qemu-img compare: %s", out)
	}
}
