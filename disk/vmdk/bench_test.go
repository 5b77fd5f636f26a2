package vmdk

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/ingot-image/ingot/disk/image"
)

// benchDisk is the raw disk that INGOT_BENCH_DISK names.
func benchDisk(b *testing.B) (raw *image.File, held int64) {
	b.Helper()
	path := os.Getenv("INGOT_BENCH_DISK")
	if path == "" {
		b.Skip("INGOT_BENCH_DISK does not name a raw disk")
	}
	raw, err := image.OpenFile(path)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { raw.Close() })
	if err := raw.Extents(b.Context(), func(e image.Extent) error { held += e.Size; return nil }); err != nil {
		b.Fatal(err)
	}
	return raw, held
}

var levels = map[image.Level]string{image.Fast: "fast", image.Default: "default", image.Best: "best"}

// writeFile makes a VMDK of a disk, in a file that is there already.
func writeFile(b *testing.B, raw image.Source, path string, level image.Level) {
	b.Helper()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	w, err := NewWriter(f, raw.Size(), Options{Level: level})
	if err != nil {
		b.Fatal(err)
	}
	if err := image.Copy(b.Context(), raw, image.CopyOptions{}, w); err != nil {
		b.Fatal(err)
	}
}

// Converts the disk; MB/s are of what it holds, "bytes" is the file's length.
func BenchmarkWriter(b *testing.B) {
	raw, held := benchDisk(b)
	path := filepath.Join(b.TempDir(), "bench.vmdk")
	for _, level := range []image.Level{image.Fast, image.Default, image.Best} {
		b.Run(levels[level], func(b *testing.B) {
			b.SetBytes(held)
			for b.Loop() {
				writeFile(b, raw, path, level)
			}
			if st, err := os.Stat(path); err == nil {
				b.ReportMetric(float64(st.Size()), "bytes")
			}
		})
	}
}

// Reads all that a VMDK of the disk holds: by pieces in order, by pieces on all CPUs, and in steps of 4 KiB.
func BenchmarkReader(b *testing.B) {
	raw, held := benchDisk(b)
	path := filepath.Join(b.TempDir(), "bench.vmdk")
	writeFile(b, raw, path, image.Default)
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		b.Fatal(err)
	}
	steps := func(size int64) func(b *testing.B, r *Reader) {
		return func(b *testing.B, r *Reader) {
			p := make([]byte, size)
			err := r.Extents(b.Context(), func(e image.Extent) error {
				for off := e.Start; off < e.End(); off += size {
					if _, err := r.ReadAt(p[:min(size, e.End()-off)], off); err != nil && err != io.EOF {
						return err
					}
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name string
		run  func(b *testing.B, r *Reader)
	}{
		{"1MiB", steps(1 << 20)},
		{"4KiB", steps(4 << 10)},
		{"copy", func(b *testing.B, r *Reader) {
			if err := image.Copy(b.Context(), r, image.CopyOptions{}, nothing{}); err != nil {
				b.Fatal(err)
			}
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(held)
			for b.Loop() {
				r, err := NewReader(f, st.Size())
				if err != nil {
					b.Fatal(err)
				}
				c.run(b, r)
			}
		})
	}
}

// nothing is a writer of no file.
type nothing struct{}

func (nothing) Encode(image.Piece) (func() error, error) { return nil, nil }
func (nothing) Finish() error                            { return nil }
