package lvm

import (
	"context"
	"encoding/binary"
	"io"
	"testing"

	"github.com/ingot-image/ingot/disk/image"
)

// fix makes the checksums of a crafted volume right.
func fix(m memory) {
	le := binary.LittleEndian
	l, h := m[sector:2*sector], m[4096:4096+headerSize]
	le.PutUint32(l[16:], checksum(l[20:]))
	le.PutUint32(h, checksum(h[4:]))
	at, n := le.Uint64(h[40:]), le.Uint64(h[48:])
	if at < testMetadata && n <= testMetadata-at {
		le.PutUint32(h[56:], checksum(m[4096+at:4096+at+n]))
		le.PutUint32(h, checksum(h[4:]))
	}
}

// useAll does with a physical volume whatever can be done.
func useAll(t *testing.T, m memory) {
	volumes, err := Volumes(context.Background(), m)
	if err != nil {
		return
	}
	for _, v := range volumes {
		if v.Source == nil {
			if v.Reason == "" {
				t.Fatalf("%s has neither a source nor a reason", v.Name)
			}
			continue
		}
		b := make([]byte, 1<<16)
		for _, off := range []int64{0, v.Size / 2, max(0, v.Size-int64(len(b)))} {
			want := min(int64(len(b)), v.Size-off)
			if n, err := v.Source.ReadAt(b, off); int64(n) != want || n < len(b) && err != io.EOF {
				t.Fatalf("%s: read at %d of %d: %d, %v", v.Name, off, v.Size, n, err)
			}
		}
		last := int64(-1)
		err := v.Source.Extents(context.Background(), func(e image.Extent) error {
			if e.Start <= last || e.Size <= 0 || e.End() > v.Size {
				t.Fatalf("%s: extent %+v after %d, of %d", v.Name, e, last, v.Size)
			}
			last = e.End()
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
