package compress

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/ingot-image/ingot/disk/image"
)

// small is a disk that a seed of a fuzz target can hold.
func small() []byte { return append(append(text(1, 3000), make([]byte, 70000)...), "end"...) }

func FuzzOpenZstd(f *testing.F) {
	disk := &memory{size: 200000}
	disk.add(100, text(1, 2000))
	f.Add(zstdOf(f, disk))
	f.Add(zstdOf(f, &memory{}))
	f.Add(zstdOf(f, &memory{size: 77}))
	f.Add(zstdOf(f, &memory{size: 2*frameSize + 1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		z, err := OpenZstd(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			explained(t, err)
			return
		}
		defer z.decoder.Close()
		last := int64(0)
		err = z.Extents(t.Context(), func(e image.Extent) error {
			if e.Start < last || e.Size <= 0 || e.Size > z.Size()-e.Start {
				t.Fatalf("extent %v of a disk of %d after %d", e, z.Size(), last)
			}
			last = e.End()
			_, err := io.Copy(io.Discard, io.NewSectionReader(z, e.Start, min(e.Size, 1<<20)))
			return err
		})
		if err != nil {
			explained(t, err)
		}
		if n, err := z.ReadAt(make([]byte, 1), z.Size()); n != 0 || err != io.EOF {
			t.Fatal(n, err)
		}
	})
}

// explained wants errors to be of a known kind: there is nothing to go wrong with reading.
func explained(t *testing.T, err error) {
	t.Helper()
	var damaged *image.FormatError
	var tooMuch *LimitError
	if !errors.As(err, &damaged) && !errors.As(err, &tooMuch) && !errors.Is(err, ErrNotSeekable) {
		t.Fatalf("an error of no kind: %v", err)
	}
}

func fuzzExpand(f *testing.F, format image.Format) {
	for _, tool := range packers[format] {
		file := pack(f, tool, small())
		f.Add(file)
		f.Add(append(bytes.Clone(file), file...))
		f.Add(file[:len(file)/2])
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1 << 20
		out, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		n, err := Expand(t.Context(), bytes.NewReader(b), format, out, limit, nil)
		if err != nil {
			explained(t, err)
		}
		if n > limit {
			t.Fatalf("%d bytes", n)
		}
	})
}

func FuzzGzip(f *testing.F)  { fuzzExpand(f, image.Gzip) }
func FuzzZstd(f *testing.F)  { fuzzExpand(f, image.Zstd) }
func FuzzXZ(f *testing.F)    { fuzzExpand(f, image.XZ) }
func FuzzBzip2(f *testing.F) { fuzzExpand(f, image.Bzip2) }

// FuzzWriters wants what the writers make of any disk to be read back as it was; n says where the content lies.
func FuzzWriters(f *testing.F) {
	f.Add([]byte("content"), uint32(0), uint32(0))
	f.Add(text(2, 5000), uint32(mib-100), uint32(9*mib))
	f.Add([]byte{0, 0, 1}, uint32(frameSize-2), uint32(258))
	f.Fuzz(func(t *testing.T, b []byte, before, behind uint32) {
		before, behind = before%(9*mib), behind%(9*mib)
		disk := &memory{size: int64(before) + int64(len(b)) + int64(behind), holes: len(b) > 0}
		if len(b) > 0 {
			disk.add(int64(before), b)
		}
		want := sumOf(t, disk)
		for format, m := range makers(image.Fast) {
			var file bytes.Buffer
			write(t, disk, m, 2, &file)
			out, err := os.Create(filepath.Join(t.TempDir(), "out"))
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			if n, err := Expand(t.Context(), &file, format, out, disk.size, nil); err != nil || n != disk.size {
				t.Fatal(n, err)
			}
			if sum(t, out) != want {
				t.Fatalf("%s gives something else", format)
			}
		}
	})
}
