package qcow2

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/ingot-image/ingot/disk/image"
)

// FuzzReader reads what may be an image: it must end, within bounds, and what is in no extent must read as zeros.
func FuzzReader(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := Probe(bytes.NewReader(b), int64(len(b))); err != nil && err.Error() == "" {
			t.Fatal("an error without words")
		}
		q, err := NewReader(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		const most = 1 << 20
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		end, n := int64(0), 0
		p := make([]byte, 64<<10)
		err = q.Extents(ctx, func(e image.Extent) error {
			if e.Size <= 0 || e.Start < end || end > 0 && e.Start == end || e.End() > q.Size() || e.End() < e.Start {
				t.Fatalf("extent %+v after %d on a disk of %d", e, end, q.Size())
			}
			if e.Start-end >= 512 {
				hole := p[:min(int64(len(p)), e.Start-end)]
				if _, err := q.ReadAt(hole, end); err == nil && !image.IsZero(hole) {
					t.Fatalf("a hole at %d has data", end)
				}
			}
			if end = e.End(); n < 64 {
				q.ReadAt(p, e.Start)
				q.ReadAt(p, e.End()-min(int64(len(p)), e.Size))
			}
			if n++; n > 10000 {
				return io.EOF
			}
			return nil
		})
		for off := int64(0); off < min(q.Size(), most); off += int64(len(p)) {
			if n, err := q.ReadAt(p, off); err == nil && n != len(p) {
				t.Fatalf("read %d bytes at %d", n, off)
			}
		}
	})
}

// TestSeeds reads the kept seeds, small images of every kind. INGOT_WRITE_SEEDS=1 makes them with qemu-img.
func TestSeeds(t *testing.T) {
	dir := filepath.Join("testdata", "fuzz", "FuzzReader")
	for name, options := range map[string][]string{
		"plain": {"-o", "cluster_size=512,compat=1.1"}, "v2": {"-o", "cluster_size=512,compat=0.10"}, "zlib": {"-c", "-o", "cluster_size=1k"},
		"zstd": {"-c", "-o", "cluster_size=1k,compression_type=zstd"}, "extended": {"-o", "extended_l2=on,cluster_size=16k"},
	} {
		path := filepath.Join(dir, name)
		if os.Getenv("INGOT_WRITE_SEEDS") != "" {
			raw, img := filepath.Join(t.TempDir(), "r"), filepath.Join(t.TempDir(), "q")
			b := make([]byte, 20<<10)
			copy(b[3<<10:], bytes.Repeat([]byte("golden image "), 100))
			if err := os.WriteFile(raw, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("qemu-img", append(append([]string{"convert", "-f", "raw", "-O", "qcow2"}, options...), raw, img)...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			b, err := os.ReadFile(img)
			if err != nil {
				t.Fatal(err)
			}
			os.MkdirAll(dir, 0o755)
			os.WriteFile(path, []byte("go test fuzz v1\n[]byte("+strconv.Quote(string(b))+")\n"), 0o644)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s, err := strconv.Unquote(string(text[len("go test fuzz v1\n[]byte(") : len(text)-2]))
		if err != nil {
			t.Fatal(err)
		}
		q, err := NewReader(bytes.NewReader([]byte(s)), int64(len(s)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		p := make([]byte, q.Size())
		if _, err := q.ReadAt(p, 0); err != nil || !bytes.HasPrefix(p[3<<10:], []byte("golden image golden")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
