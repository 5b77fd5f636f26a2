package vmdk

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/ingot-image/ingot/disk/image"
)

// Whatever a file says, reading it ends, without a panic, and what is in no extent reads as zeros or not at all.
func FuzzReader(f *testing.F) {
	random := rand.New(rand.NewPCG(20, 21))
	raw := sparseDisk(f, random, 3*grainSize+1536, 3)
	odd := encode(f, raw, Options{}, image.CopyOptions{})
	f.Add(odd)
	f.Add(encode(f, holes(tableSpan+512), Options{Level: image.Fast}, image.CopyOptions{}))
	f.Add(monolithic(f, raw, 1, 8, 16, true, true))
	f.Add(monolithic(f, raw, 2, 128, 512, false, true))
	f.Add([]byte("# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicFlat\"\nRW 8 FLAT \"/etc/passwd\" 0\n"))
	f.Add([]byte("KDMV"))
	f.Fuzz(func(t *testing.T, b []byte) {
		info, probed := Probe(bytes.NewReader(b), int64(len(b)))
		r, err := NewReader(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		if probed == nil && info.VirtualSize != r.Size() {
			t.Fatalf("sizes of %d and %d bytes", info.VirtualSize, r.Size())
		}
		errStop := errors.New("enough")
		last, read := int64(-1), int64(0)
		p := make([]byte, 100_000)
		err = r.Extents(context.Background(), func(e image.Extent) error {
			if e.Start <= last || e.Size <= 0 || e.End() > r.Size() {
				t.Fatalf("extent %v after one that ends at %d on a disk of %d", e, last, r.Size())
			}
			if last+1 < e.Start {
				hole := p[:min(1000, e.Start-max(last, 0))]
				if n, err := r.ReadAt(hole, max(last, 0)); err == nil && (n < len(hole) || !image.IsZero(hole)) {
					t.Fatalf("data in the hole at %d", last)
				}
			}
			for off := e.Start; off < e.End(); off += int64(len(p)) {
				if read += int64(len(p)); read > 8<<20 {
					return errStop
				}
				n, err := r.ReadAt(p[:min(int64(len(p)), e.End()-off)], off)
				if err != nil && err != io.EOF {
					return err
				}
				if int64(n) < min(int64(len(p)), e.End()-off) {
					t.Fatalf("%d bytes at %d", n, off)
				}
			}
			last = e.End()
			return nil
		})
		if err != nil || read > 1<<20 || r.Size() > 64<<20 {
			return
		}
		// What can be read can be written, and is the same again.
		var out bytes.Buffer
		w, err := NewWriter(&out, r.Size(), Options{Level: image.Fast})
		if err != nil {
			t.Fatal(err)
		}
		if err := image.Copy(context.Background(), r, image.CopyOptions{Workers: 1}, w); err != nil {
			t.Fatal(err)
		}
		again, err := NewReader(bytes.NewReader(out.Bytes()), int64(out.Len()))
		if err != nil {
			t.Fatal(err)
		}
		if err := same(r, again); err != nil {
			t.Fatal(err)
		}
	})
}
