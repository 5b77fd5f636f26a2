package vhdx

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"testing"

	"github.com/ingot-image/ingot/disk/image"
)

// FuzzReader reads what may be an image: it must end, within bounds. An image has 3 MiB at least; a seed is what differs from zeros in one, as pieces:
// 4 bytes for the place, 2 for the length, the bytes. Checksums are made right, or nothing would get past them.
func FuzzReader(f *testing.F) {
	f.Add(pack(seed()))
	f.Fuzz(func(t *testing.T, b []byte) {
		img := edited(unpack(b))
		if len(img) >= 320*kib {
			img = img.seal()
			h, err := readHeader(image.Headers{R: bytes.NewReader(img), Size: int64(len(img)), Format: image.VHDX})
			if err == nil && h.logLength >= logSector {
				if n := int64(binary.LittleEndian.Uint32(img[h.logOffset+8:])); n >= 64 && n <= h.logLength {
					binary.LittleEndian.PutUint32(img[h.logOffset+4:], checksum(img[h.logOffset:h.logOffset+n]))
				}
			}
		}
		if _, err := Probe(bytes.NewReader(img), int64(len(img))); err != nil && err.Error() == "" {
			t.Fatal("an error without words")
		}
		r, err := img.open()
		if err != nil {
			return
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		end, n := int64(-1), 0
		p := make([]byte, 64*kib)
		r.Extents(ctx, func(e image.Extent) error {
			if e.Size <= 0 || e.Start <= end || e.End() > r.Size() || e.End() < e.Start {
				t.Fatalf("extent %+v after %d on a disk of %d", e, end, r.Size())
			}
			end = e.End()
			r.ReadAt(p, e.Start)
			if n++; n > 1000 {
				return io.EOF
			}
			return nil
		})
		for off := int64(0); off < min(r.Size(), mib); off += int64(len(p)) {
			if n, err := r.ReadAt(p, off); err == nil && n != len(p) {
				t.Fatalf("read %d bytes at %d", n, off)
			}
		}
	})
}

// seed is an image made by hand: a disk of 2 MiB in blocks of 1 MiB, the first of which is there, and a log that says so.
func seed() []byte {
	le := binary.LittleEndian
	b := make([]byte, 5*mib) // header section, log, table, metadata, a block
	copy(b, "vhdxfile")
	for _, at := range []int{64 * kib, 128 * kib} {
		h := b[at:]
		copy(h, "head")
		copy(h[48:], logID[:])
		le.PutUint16(h[66:], 1)
		le.PutUint32(h[68:], mib)
		le.PutUint64(h[72:], mib)
	}
	bat, metadata := parseGUID("2DC27766-F623-4200-9D64-115E9BFD4A08"), parseGUID("8B7CA206-4790-4B9A-B8FE-575F050F886E")
	for _, at := range []int{192 * kib, 256 * kib} {
		t := b[at:]
		copy(t, "regi")
		le.PutUint32(t[8:], 2)
		for i, id := range []guid{bat, metadata} {
			e := t[16+32*i:]
			copy(e, id[:])
			le.PutUint64(e[16:], uint64(2+i)*mib)
			le.PutUint32(e[24:], mib)
			le.PutUint32(e[28:], 1)
		}
	}
	m := b[3*mib:]
	copy(m, "metadata")
	le.PutUint16(m[10:], 3)
	for i, id := range []guid{idFile(), idDiskSize(), idSectorSize()} {
		e := m[32+32*i:]
		copy(e, id[:])
		le.PutUint32(e[16:], uint32(tableSize+16*i))
		le.PutUint32(e[20:], 8)
		le.PutUint32(e[24:], 4)
	}
	le.PutUint32(m[tableSize:], mib)
	le.PutUint64(m[tableSize+16:], 2*mib)
	le.PutUint32(m[tableSize+32:], 512)
	copy(b[4*mib:], "golden image")
	sector := make([]byte, logSector)
	le.PutUint64(sector, 4<<20|fullyPresent)
	copy(b[mib:], logEntry(logID, 1, 0, 5*mib, update{off: 2 * mib, zeros: logSector}, update{off: 2 * mib, data: sector}))
	return edited(b).seal()
}

func TestSeed(t *testing.T) {
	b := unpack(pack(seed()))
	if !bytes.Equal(b, seed()) {
		t.Fatal("packed and unpacked it is another")
	}
	r, err := edited(b).open()
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 12)
	if _, err := r.ReadAt(p, 0); err != nil || string(p) != "golden image" {
		t.Errorf("%q, %v", p, err)
	}
}

func pack(b []byte) (packed []byte) {
	packed = binary.LittleEndian.AppendUint32(nil, uint32(len(b)))
	const piece = 64
	for at := 0; at < len(b); at += piece {
		p := b[at:min(at+piece, len(b))]
		if image.IsZero(p) {
			continue
		}
		packed = binary.LittleEndian.AppendUint32(packed, uint32(at))
		packed = binary.LittleEndian.AppendUint16(packed, uint16(len(p)))
		packed = append(packed, p...)
	}
	return packed
}

func unpack(packed []byte) []byte {
	le := binary.LittleEndian
	if len(packed) < 4 {
		return nil
	}
	b := make([]byte, le.Uint32(packed)%(8*mib))
	packed = packed[4:]
	for len(packed) >= 6 {
		at, n := int(le.Uint32(packed)), int(le.Uint16(packed[4:]))
		packed = packed[6:]
		n = min(n, len(packed))
		if at < len(b) {
			copy(b[at:], packed[:n])
		}
		packed = packed[n:]
	}
	return b
}
