package vhd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/disk/image"
)

// sample is a dynamic disk of 5 MiB with data in its first and last block.
func sample(t testing.TB, fixed bool) []byte {
	t.Helper()
	m := &memory{limit: -1}
	w, err := NewWriter(m, 5<<20, Options{Fixed: fixed})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []image.Piece{{Start: 0, Data: bytes.Repeat([]byte("data"), 1<<18)}, {Start: 4 << 20, Data: append(make([]byte, 1<<20-512), bytes.Repeat([]byte{7}, 512)...)}} {
		put, err := w.Encode(p)
		if err == nil {
			err = put()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	return m.data
}

// seal puts the checksums right after an edit, and the copy of the footer.
func seal(b []byte) []byte {
	be := binary.BigEndian
	foot := b[len(b)-footerSize:]
	be.PutUint32(foot[footerChecksum:], checksum(foot, footerChecksum))
	if be.Uint32(foot[60:]) != typeFixed {
		copy(b, foot)
		dyn := b[footerSize:][:headerSize]
		be.PutUint32(dyn[headerChecksum:], checksum(dyn, headerChecksum))
	}
	return b
}

func TestDamage(t *testing.T) {
	be := binary.BigEndian
	dyn := func(b []byte) []byte { return b[footerSize:] }
	table := func(b []byte) []byte { return b[tableAt:] }
	foot := func(b []byte) []byte { return b[len(b)-footerSize:] }
	for _, test := range []struct {
		name  string
		fixed bool
		edit  func(b []byte) []byte
		want  string
	}{
		{"cut off", false, func(b []byte) []byte { return b[:len(b)-512] }, "no footer"},
		{"cut off", true, func(b []byte) []byte { return b[:len(b)-512] }, "no footer"},
		{"empty", false, func(b []byte) []byte { return nil }, "beyond the end"},
		{"fixed, too short", true, func(b []byte) []byte { return b[512:] }, "cut off"},
		{"flipped", false, func(b []byte) []byte { foot(b)[9] ^= 1; return b }, "checksum of the footer"},
		{"copy differs", false, func(b []byte) []byte { b[70] ^= 1; return b }, "not identical"},
		{"type", false, func(b []byte) []byte { foot(b)[63] = 9; return seal(b) }, "unknown disk type 9"},
		{"size", false, func(b []byte) []byte { be.PutUint64(foot(b)[48:], 1<<63); return seal(b) }, "virtual size"},
		{"odd size", false, func(b []byte) []byte { be.PutUint64(foot(b)[48:], 1000); return seal(b) }, "virtual size"},
		{"larger than the table", false, func(b []byte) []byte { be.PutUint64(foot(b)[48:], 1<<40); return seal(b) }, "block allocation table of 3 entries"},
		{"header beyond", false, func(b []byte) []byte { be.PutUint64(foot(b)[16:], 1<<63); return seal(b) }, "beyond the end"},
		{"header at the end", false, func(b []byte) []byte { be.PutUint64(foot(b)[16:], uint64(len(b)-512)); return seal(b) }, "beyond the end"},
		{"no header", false, func(b []byte) []byte { be.PutUint64(foot(b)[16:], 4096); return seal(b) }, "no dynamic disk header"},
		{"header flipped", false, func(b []byte) []byte { dyn(b)[33] ^= 1; return b }, "checksum of the dynamic disk header"},
		{"block size", false, func(b []byte) []byte { be.PutUint32(dyn(b)[32:], 3<<20); return seal(b) }, "block size"},
		{"small blocks", false, func(b []byte) []byte { be.PutUint32(dyn(b)[32:], 256); return seal(b) }, "block size"},
		{"table beyond", false, func(b []byte) []byte { be.PutUint64(dyn(b)[16:], 1<<63); return seal(b) }, "beyond the end"},
		{"many entries", false, func(b []byte) []byte { be.PutUint32(dyn(b)[28:], 1<<31); return seal(b) }, "beyond the end"},
		{"a table of gigabytes", false, func(b []byte) []byte {
			be.PutUint64(foot(b)[48:], 1<<41)
			be.PutUint32(dyn(b)[28:], 1<<32-1)
			be.PutUint32(dyn(b)[32:], 512)
			return seal(b)
		}, "block allocation table"},
		{"block beyond", false, func(b []byte) []byte { be.PutUint32(table(b)[4:], uint32(len(b)/512-100)); return b }, "beyond the end"},
		{"blocks over another", false, func(b []byte) []byte {
			copy(table(b)[4:], table(b)[:4])
			copy(table(b)[8:], table(b)[:4])
			be.PutUint64(dyn(b)[16:], tableAt)
			return append(b[:2<<20+8192], foot(b)...)
		}, "one over another"},
	} {
		b := test.edit(sample(t, test.fixed))
		_, err := NewReader(bytes.NewReader(b), int64(len(b)))
		var fe *image.FormatError
		if !errors.As(err, &fe) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
		if _, err := Probe(bytes.NewReader(b), int64(len(b))); err == nil {
			t.Errorf("%s: Probe takes it", test.name)
		}
	}
}

func TestDifferencingIsRefusedByName(t *testing.T) {
	b := sample(t, false)
	b[len(b)-footerSize+63] = typeDifferencing
	copy(b[footerSize+64:], "\x00p\x00a\x00r\x00.\x00v\x00h\x00d")
	seal(b)
	_, err := NewReader(bytes.NewReader(b), int64(len(b)))
	if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), `"par.vhd"`) {
		t.Error(err)
	}
	info, err := Probe(bytes.NewReader(b), int64(len(b)))
	if err != nil || len(info.References) != 1 || info.References[0].Name != "par.vhd" {
		t.Errorf("%+v, %v", info, err)
	}
}

// Virtual PC before 2004 wrote a footer of 511 bytes.
func TestShortFooter(t *testing.T) {
	b := sample(t, true)
	r, err := NewReader(bytes.NewReader(b[:len(b)-1]), int64(len(b)-1))
	if err != nil {
		t.Fatal(err)
	}
	sameDisk(t, r, b[:5<<20])
}

// What is not marked as used is zeros, whatever lies there.
func TestBitmapsAreLookedAt(t *testing.T) {
	b := sample(t, false)
	at := int(binary.BigEndian.Uint32(b[tableAt:])) * 512
	b[at] = 0b1010_0000
	r, err := NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 8*512)
	if _, err := r.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		if used := i == 0 || i == 2; image.IsZero(got[i*512:][:512]) == used {
			t.Errorf("sector %d: used %t", i, !used)
		}
	}
}

// shrinking is a file that is shorter than it was.
type shrinking struct {
	*bytes.Reader
	end int64
}

func (s shrinking) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > s.end {
		return 0, io.EOF
	}
	return s.Reader.ReadAt(p, off)
}

func TestFileBecomesShorter(t *testing.T) {
	for _, fixed := range []bool{false, true} {
		b := sample(t, fixed)
		s := &shrinking{bytes.NewReader(b), int64(len(b))}
		r, err := NewReader(s, int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		s.end = 1 << 20
		w, err := NewWriter(&memory{limit: -1}, r.Size(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := image.Copy(context.Background(), r, image.CopyOptions{}, w); err == nil || !strings.Contains(err.Error(), "shorter") {
			t.Errorf("fixed %t: %v", fixed, err)
		}
	}
}

func FuzzReader(f *testing.F) {
	short := func(b []byte) []byte { // little enough to be turned over many times: a block of 4 KiB
		be := binary.BigEndian
		foot := append([]byte(nil), b[len(b)-footerSize:]...)
		out := append(append([]byte(nil), b[:tableAt]...), make([]byte, 512+512+4096)...)
		be.PutUint32(out[tableAt:], (tableAt+512)/512)
		be.PutUint32(out[tableAt+4:], unused)
		out[tableAt+512] = 0xb1
		copy(out[tableAt+1024:], bytes.Repeat([]byte("block"), 800))
		be.PutUint32(out[footerSize+28:], 2)
		be.PutUint32(out[footerSize+32:], 4096)
		be.PutUint64(foot[48:], 6144)
		return seal(append(out, foot...))
	}
	dynamic := sample(f, false)
	fixed := sample(f, true)
	f.Add(short(dynamic))
	f.Add(append(make([]byte, 1024), encodeFooter(1024, typeFixed, noOffset, [16]byte{1})...))
	f.Add(append(make([]byte, 1024), fixed[len(fixed)-footerSize:]...))
	differencing := short(dynamic)
	differencing[len(differencing)-footerSize+63] = typeDifferencing
	f.Add(seal(differencing))
	f.Fuzz(func(t *testing.T, b []byte) {
		begin := time.Now()
		if len(b) >= tableAt+footerSize {
			// With signatures and checksums that are right more of it is reached.
			mended := append([]byte(nil), b...)
			foot := mended[len(b)-footerSize:]
			copy(foot, cookie)
			foot[60], foot[61], foot[62] = 0, 0, 0
			binary.BigEndian.PutUint64(foot[16:], footerSize)
			copy(mended[footerSize:], headerCookie)
			read(t, seal(mended))
		}
		read(t, b)
		if d := time.Since(begin); d > 5*time.Second {
			t.Errorf("took %v", d)
		}
	})
}

// read reads a disk whole if it is not too long, by its extents and by pieces, and expects the same.
func read(t *testing.T, b []byte) {
	r, err := NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return
	}
	end, held := int64(0), int64(0)
	err = r.Extents(context.Background(), func(e image.Extent) error {
		if e.Size <= 0 || e.Start < end || e.End() > r.Size() {
			t.Fatalf("extent %+v after %d on a disk of %d", e, end, r.Size())
		}
		if e.Start > end {
			gap := make([]byte, min(e.Start-end, 64<<10))
			if _, err := r.ReadAt(gap, end); err != nil || !image.IsZero(gap) {
				t.Fatalf("%d bytes at %d are in no extent: %v", len(gap), end, err)
			}
		}
		end, held = e.End(), held+e.Size
		return nil
	})
	if err != nil || held > int64(len(b)) {
		t.Fatalf("%d bytes in the extents of a file of %d: %v", held, len(b), err)
	}
	p := make([]byte, 10000)
	for off := int64(0); off < min(r.Size(), 1<<20); off += int64(len(p)) {
		if n, err := r.ReadAt(p, off); n != int(min(int64(len(p)), r.Size()-off)) {
			t.Fatalf("read at %d: %d, %v", off, n, err)
		}
	}
}
