package qcow2

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ingot-image/ingot/disk/image"
)

func qemu(t testing.TB, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("skipped: %v (install the package qemu-utils)", err)
	}
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// sample makes a raw disk with data that compresses, data that does not, and holes.
func sample(t testing.TB, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, uint64(size)))
	for range 40 {
		b := make([]byte, 512*(1+r.IntN(600)))
		for i := range b {
			if b[i] = byte(r.Uint32()); r.IntN(3) > 0 {
				b[i] &= 7
			}
		}
		off := r.Int64N(max(size-int64(len(b)), 1)) / 512 * 512
		if off > size/4 && off < size/2 {
			continue // a large hole
		}
		f.WriteAt(b[:min(int64(len(b)), size-off)], off)
	}
	f.WriteAt([]byte("the end"), max(size-512, 0))
	return path
}

func open(t testing.TB, path string) *Reader {
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
	q, err := NewReader(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// same compares the disk in an image with the raw one, read in three ways, and its extents.
func same(t testing.TB, q *Reader, raw string) {
	t.Helper()
	want, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	if q.Size() != int64(len(want)) {
		t.Fatalf("size %d instead of %d", q.Size(), len(want))
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "out.raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w, err := image.NewRawWriter(out, q.Size())
	if err != nil {
		t.Fatal(err)
	}
	if err := image.Copy(context.Background(), q, image.CopyOptions{Workers: 4}, w); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(out.Name()); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("the copy differs (%v)", err)
	}
	all := make([]byte, len(want))
	if n, err := q.ReadAt(all, 0); n != len(want) || err != nil || !bytes.Equal(all, want) {
		t.Fatalf("read as a whole: %d, %v", n, err)
	}
	var group sync.WaitGroup
	for g := range 4 {
		group.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 9))
			for range 30 {
				off := r.Int64N(q.Size())
				p := make([]byte, 1+r.IntN(200<<10))
				n, err := q.ReadAt(p, off)
				if rest := q.Size() - off; int64(len(p)) > rest {
					if int64(n) != rest || err != io.EOF {
						t.Errorf("read at %d: %d, %v", off, n, err)
					}
				} else if n != len(p) || err != nil {
					t.Errorf("read at %d: %d, %v", off, n, err)
				}
				if !bytes.Equal(p[:n], want[off:off+int64(n)]) {
					t.Errorf("read at %d: other bytes", off)
				}
			}
		})
	}
	group.Wait()
}

func TestImagesOfQEMU(t *testing.T) {
	type variant struct {
		name, options string
		compress      bool
	}
	variants := []variant{
		{"plain", "compat=1.1", false}, {"v2", "compat=0.10", false}, {"zlib", "", true}, {"v2 zlib", "compat=0.10", true}, {"zstd", "compression_type=zstd", true},
		{"extended", "extended_l2=on,cluster_size=128k", false}, {"extended small", "extended_l2=on,cluster_size=16k", false}, {"extended zstd", "extended_l2=on,cluster_size=64k,compression_type=zstd", true},
		{"preallocated metadata", "preallocation=metadata", false}, {"preallocated", "preallocation=falloc", false}, {"lazy", "lazy_refcounts=on", false}, {"narrow refcounts", "refcount_bits=1", true},
	}
	for bits := 9; bits <= 21; bits++ {
		size := fmt.Sprintf("cluster_size=%d", 1<<bits)
		variants = append(variants, variant{size, size, false})
		if bits == 9 || bits == 12 || bits == 21 {
			variants = append(variants, variant{size + " zlib", size, true}, variant{size + " zstd", size + ",compression_type=zstd", true})
		}
	}
	for _, size := range []int64{24 << 20, 5<<20 + 512*7} {
		raw := sample(t, size)
		for i, v := range variants {
			if size < 24<<20 && i >= 8 && !strings.Contains(v.name, "=512") && !strings.Contains(v.name, "=2097152") {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", v.name, size), func(t *testing.T) {
				img := filepath.Join(t.TempDir(), "i.qcow2")
				args := []string{"convert", "-f", "raw", "-O", "qcow2"}
				if v.compress {
					args = append(args, "-c")
				}
				if v.options != "" {
					args = append(args, "-o", v.options)
				}
				qemu(t, "qemu-img", append(args, raw, img)...)
				q := open(t, img)
				same(t, q, raw)
				held := int64(0)
				if err := q.Extents(t.Context(), func(e image.Extent) error { held += e.Size; return nil }); err != nil {
					t.Fatal(err)
				}
				if !strings.HasPrefix(v.name, "prealloc") && size == 24<<20 && held > size*9/10 {
					t.Errorf("%d of %d bytes are in extents: no holes", held, size)
				}
			})
		}
	}
}

func TestZeroClustersDiscardsAndRewrites(t *testing.T) {
	for _, options := range []string{"", "extended_l2=on", "compression_type=zstd", "cluster_size=4k", "cluster_size=2M"} {
		t.Run(options, func(t *testing.T) {
			raw, img := sample(t, 24<<20), filepath.Join(t.TempDir(), "i.qcow2")
			qemu(t, "qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", "compat=1.1"+strings.TrimSuffix(","+options, ","), raw, img)
			for _, f := range []struct{ format, path string }{{"raw", raw}, {"qcow2", img}} {
				qemu(t, "qemu-io", "-f", f.format, "-c", "write -P 7 1000448 70000", "-c", "write -z 3M 1M", "-c", "write -z -u 6M 2M", "-c", "write -z 9000k 3k", "-c", "write -P 9 10M 512", "-c", "write -z 10486272 512", f.path)
			}
			qemu(t, "qemu-img", "snapshot", "-c", "one", img)
			for _, f := range []struct{ format, path string }{{"raw", raw}, {"qcow2", img}} {
				qemu(t, "qemu-io", "-f", f.format, "-c", "write -P 3 12M 100k", f.path)
			}
			same(t, open(t, img), raw)
			err := open(t, img).Extents(t.Context(), func(e image.Extent) error {
				if e.Start < 8<<20 && e.End() > 6<<20 {
					return fmt.Errorf("%+v was zeroed", e)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWhatIsElsewhereIsRefusedByName(t *testing.T) {
	dir := t.TempDir()
	base := sample(t, 1<<20)
	backed, data, secret := filepath.Join(dir, "backed"), filepath.Join(dir, "data"), filepath.Join(dir, "secret")
	qemu(t, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, backed)
	qemu(t, "qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file="+data+".raw", data, "1M")
	qemu(t, "qemu-img", "create", "-q", "-f", "qcow2", secret, "1M")
	qemu(t, "qemu-io", "-f", "raw", "-c", "write -P 0 32 3", "-c", "write -P 2 35 1", secret) // the header's crypt_method: LUKS
	for path, want := range map[string]string{backed: base, data: data + ".raw", secret: "encrypted"} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var unsupported *UnsupportedError
		if _, err := NewReader(bytes.NewReader(b), int64(len(b))); !errors.As(err, &unsupported) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// damaged makes an image of 64 KiB clusters and changes it.
func damaged(t testing.TB, change func(b []byte, l1, l2 int64) []byte, options ...string) error {
	t.Helper()
	img := filepath.Join(t.TempDir(), "i.qcow2")
	qemu(t, "qemu-img", append(append([]string{"convert", "-f", "raw", "-O", "qcow2"}, options...), sample(t, 2<<20), img)...)
	b, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	be := binary.BigEndian
	l1 := int64(be.Uint64(b[40:]))
	b = change(b, l1, int64(be.Uint64(b[l1:])&offsetMask))
	q, err := NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return err
	}
	if err := q.Extents(t.Context(), func(image.Extent) error { return nil }); err != nil {
		return err
	}
	_, err = q.ReadAt(make([]byte, q.Size()), 0)
	return err
}

func TestDamageIsAnError(t *testing.T) {
	be := binary.BigEndian
	put := func(b []byte, at int64, v uint64) []byte { be.PutUint64(b[at:], v); return b }
	for _, test := range []struct {
		name, want string
		compress   bool
		change     func(b []byte, l1, l2 int64) []byte
	}{
		{"signature", "signature", false, func(b []byte, _, _ int64) []byte { b[0]++; return b }},
		{"marked corrupt", "corrupt", false, func(b []byte, _, _ int64) []byte { b[79] |= corrupt; return b }},
		{"compression type", "compression type 9", false, func(b []byte, _, _ int64) []byte { b[104] = 9; return b }},
		{"L1 table outside", "beyond the end", false, func(b []byte, l1, _ int64) []byte { return put(b, 40, 1<<40) }},
		{"L2 table outside", "beyond the end", false, func(b []byte, l1, _ int64) []byte { return put(b, l1, 1<<40) }},
		{"L2 table unaligned", "unaligned", false, func(b []byte, l1, l2 int64) []byte { return put(b, l1, uint64(l2+512)) }},
		{"data outside", "beyond the end", false, func(b []byte, _, l2 int64) []byte { return put(b, l2, 1<<40) }},
		{"data unaligned", "unaligned", false, func(b []byte, _, l2 int64) []byte { return put(b, l2, 1<<17+512) }},
		{"cut off", "beyond the end", false, func(b []byte, _, _ int64) []byte { return b[:len(b)-65536] }},
		{"compressed outside", "beyond the end", true, func(b []byte, _, l2 int64) []byte { return put(b, l2, compressedFlag|1<<40) }},
		{"compressed cut off", "compressed cluster", true, func(b []byte, _, _ int64) []byte { return b[:len(b)-65536] }},
		{"compressed garbage", "compressed cluster", true, func(b []byte, _, l2 int64) []byte { return put(b, l2, compressedFlag|uint64(l2)) }},
		{"huge disk", "L1 table", false, func(b []byte, _, _ int64) []byte { return put(b, 24, 1<<61) }},
		{"odd disk", "multiple", false, func(b []byte, _, _ int64) []byte { return put(b, 24, 1000) }},
		{"subclusters", "subclusters", false, func(b []byte, _, l2 int64) []byte {
			b[79] |= extendedL2
			for i := int64(0); i < 65536; i += 16 {
				put(b, l2+i, 3<<16)
				put(b, l2+i+8, 1<<32|1)
			}
			return b
		}},
	} {
		options := []string{"-o", "compat=1.1"}
		if test.compress {
			options = append(options, "-c")
		}
		var fe *image.FormatError
		if err := damaged(t, test.change, options...); !errors.As(err, &fe) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	twice := func(b []byte, l1, l2 int64) []byte {
		put(b, 24, 1<<30)
		be.PutUint32(b[36:], 2)
		return put(put(b, l1, uint64(l2)), l1+8, uint64(l2))
	}
	if err := damaged(t, twice); err == nil || !strings.Contains(err.Error(), "used twice") {
		t.Errorf("L2 table used twice: %v", err)
	}
}

// counting counts what is read of a file.
type counting struct {
	io.ReaderAt
	mu sync.Mutex
	n  int64
}

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	c.mu.Lock()
	c.n += int64(len(p))
	c.mu.Unlock()
	return c.ReaderAt.ReadAt(p, off)
}

func TestHugeEmptyDiskCostsNothing(t *testing.T) {
	img := filepath.Join(t.TempDir(), "i.qcow2")
	qemu(t, "qemu-img", "create", "-q", "-f", "qcow2", img, "2T")
	qemu(t, "qemu-io", "-f", "qcow2", "-c", "write -P 1 1500G 64k", img)
	b, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	c := &counting{ReaderAt: bytes.NewReader(b)}
	q, err := NewReader(c, int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var got []image.Extent
	if err := q.Extents(t.Context(), func(e image.Extent) error { got = append(got, e); return nil }); err != nil {
		t.Fatal(err)
	}
	if want := (image.Extent{Start: 1500 << 30, Size: 64 << 10}); len(got) != 1 || got[0] != want || c.n > 1<<20 {
		t.Fatalf("%+v, %d bytes read", got, c.n)
	}
}

func TestSmallReadsExpandAClusterOnce(t *testing.T) {
	raw, img := sample(t, 8<<20), filepath.Join(t.TempDir(), "i.qcow2")
	qemu(t, "qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=2M", raw, img)
	b, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	c := &counting{ReaderAt: bytes.NewReader(b)}
	q, err := NewReader(c, int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	for off := int64(0); off < q.Size(); off += 4096 {
		if _, err := q.ReadAt(make([]byte, 4096), off); err != nil {
			t.Fatal(err)
		}
	}
	if c.n > 2*int64(len(b)) {
		t.Fatalf("%d bytes read of a file of %d", c.n, len(b))
	}
}

// BenchmarkCopy reads the image in INGOT_BENCH_QCOW2 and writes it as a raw file.
func BenchmarkCopy(b *testing.B) {
	path := os.Getenv("INGOT_BENCH_QCOW2")
	if path == "" {
		b.Skip("skipped: INGOT_BENCH_QCOW2 names no image")
	}
	for b.Loop() {
		q := open(b, path)
		out, err := os.Create(filepath.Join(b.TempDir(), "out.raw"))
		if err != nil {
			b.Fatal(err)
		}
		w, err := image.NewRawWriter(out, q.Size())
		if err != nil {
			b.Fatal(err)
		}
		if err := image.Copy(b.Context(), q, image.CopyOptions{}, w); err != nil {
			b.Fatal(err)
		}
		out.Close()
		os.Remove(out.Name())
	}
}
