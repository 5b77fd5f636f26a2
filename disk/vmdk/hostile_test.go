package vmdk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zlib"

	"github.com/ingot-image/ingot/disk/image"
)

// readAll reads all that a VMDK holds, in order.
func readAll(b []byte) error {
	r, err := NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return err
	}
	if err := image.Copy(context.Background(), r, image.CopyOptions{Workers: 1}, nothing{}); err != nil {
		return err
	}
	_, err = r.ReadAt(make([]byte, min(r.Size(), 1000)), 0)
	return err
}

// Damage and lies are errors that say what is wrong, never other data.
func TestReadDamage(t *testing.T) {
	const grains = 40
	random := rand.New(rand.NewPCG(18, 19))
	content := make([]byte, grains*grainSize)
	for i := range content {
		content[i] = byte(random.Uint32N(16))
	}
	raw := memory(content)
	stream, sparse := encode(t, raw, Options{}, image.CopyOptions{}), monolithic(t, raw, 1, 128, 512, true, false)
	le := binary.LittleEndian
	footer := func(b []byte) []byte { return b[len(b)-2*sectorSize:] }
	directory := func(b []byte) []byte { return b[le.Uint64(footer(b)[56:])*sectorSize:] }
	table := func(b []byte) []byte { return b[le.Uint32(directory(b))*sectorSize:] }
	grain := func(b []byte, n int) []byte { return b[le.Uint32(table(b)[4*n:])*sectorSize:] }
	// deflated puts other data into the first grain.
	deflated := func(b, data []byte) {
		var z bytes.Buffer
		w := zlib.NewWriter(&z)
		w.Write(data)
		w.Close()
		le.PutUint32(grain(b, 0)[8:], uint32(z.Len()))
		copy(grain(b, 0)[markerSize:], z.Bytes())
	}
	for _, c := range []struct {
		name string
		from []byte
		edit func(b []byte) []byte
		want string
	}{
		{"another grain's place", stream, func(b []byte) []byte { le.PutUint64(grain(b, 3), 999); return b }, "says sector 999 of the disk instead of 384"},
		{"entries swapped", stream, func(b []byte) []byte {
			x := table(b)
			a, c := le.Uint32(x[8:]), le.Uint32(x[12:])
			le.PutUint32(x[8:], c)
			le.PutUint32(x[12:], a)
			return b
		}, "says sector"},
		{"one grain twice", stream, func(b []byte) []byte { copy(table(b)[4:8], table(b)[:4]); return b }, "says sector 0 of the disk instead of 128"},
		{"bomb", stream, func(b []byte) []byte { deflated(b, make([]byte, 20<<20)); return b }, "more than the 65536 bytes of a grain"},
		{"a byte more", stream, func(b []byte) []byte { deflated(b, make([]byte, grainSize+1)); return b }, "more than the 65536 bytes of a grain"},
		{"a byte less", stream, func(b []byte) []byte { deflated(b, make([]byte, grainSize-1)); return b }, "65535 bytes instead of 65536"},
		{"no bytes", stream, func(b []byte) []byte { le.PutUint32(grain(b, 5)[8:], 0); return b }, "says 0 bytes"},
		{"length beyond all", stream, func(b []byte) []byte { le.PutUint32(grain(b, 5)[8:], 1<<31); return b }, "says 2147483648 bytes"},
		{"length cut", stream, func(b []byte) []byte { le.PutUint32(grain(b, 5)[8:], 100); return b }, "cut off"},
		{"flipped bit", stream, func(b []byte) []byte { grain(b, 7)[300] ^= 4; return b }, "grain at sector"},
		{"flipped checksum", stream, func(b []byte) []byte {
			g := grain(b, 7)
			g[markerSize+le.Uint32(g[8:])-1]++
			return b
		}, "checksum"},
		{"grain beyond the end", stream, func(b []byte) []byte { le.PutUint32(table(b)[8:], 1<<31); return b }, "beyond the end of the file"},
		{"table beyond the end", stream, func(b []byte) []byte { le.PutUint32(directory(b), 1<<31); return b }, "beyond the end of the file"},
		{"directory beyond the end", stream, func(b []byte) []byte { le.PutUint64(footer(b)[56:], 1<<52); return b }, "grain directory"},
		{"no directory", stream, func(b []byte) []byte { le.PutUint64(footer(b)[56:], 0); return b }, "grain directory"},
		{"footer differs", stream, func(b []byte) []byte { footer(b)[12]++; return b }, "do not agree"},
		{"no footer", stream, func(b []byte) []byte { return b[:len(b)-512] }, "no footer"},
		{"cut off", stream, func(b []byte) []byte { return b[:len(b)/2] }, "no footer"},
		{"header alone", stream, func(b []byte) []byte { return b[:512] }, "beyond the end of the file"},
		{"as text", stream, func(b []byte) []byte { copy(b[73:], "\n \n\n"); return b }, "transferred as a text"},
		{"version", stream, func(b []byte) []byte { b[4] = 4; return b }, "unknown version 4"},
		{"flags", stream, func(b []byte) []byte { b[11] = 0x80; return b }, "unknown flags"},
		{"no markers", stream, func(b []byte) []byte { b[10] &^= 2; return b }, "without markers"},
		{"algorithm", stream, func(b []byte) []byte { b[77] = 2; return b }, "compression algorithm 2"},
		{"large grains", stream, func(b []byte) []byte {
			for _, h := range [][]byte{b, footer(b)} {
				le.PutUint64(h[20:], 4096)
			}
			return b
		}, "grain size of 4096"},
		{"large disk of small grains", stream, func(b []byte) []byte {
			for _, h := range [][]byte{b, footer(b)} {
				le.PutUint64(h[12:], 1<<53)
			}
			return b
		}, "grain directory of"},
		{"parent", stream, func(b []byte) []byte { return other(b, "parentCID=ffffffff", "parentCID=00000001") }, "parent"},
		{"extent elsewhere", stream, func(b []byte) []byte { return other(b, `SPARSE "disk.vmdk"`, `SPARSE "/etc/shadow"`) }, `extent "/etc/shadow"`},
		{"flat", stream, func(b []byte) []byte { return other(b, `SPARSE "disk`, `FLAT "disk`) }, `extent "disk.vmdk"`},
		{"other type", stream, func(b []byte) []byte { return other(b, `"streamOptimized"`, `"custom"`) }, `type "custom"`},
		{"descriptor alone", stream, func([]byte) []byte {
			return []byte("# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicFlat\"\nRW 8 FLAT \"/etc/passwd\" 0\n")
		}, `extent "/etc/passwd"`},
		{"ESX 3", stream, func(b []byte) []byte { copy(b, "COWD"); return b }, "COWD"},
		{"empty", stream, func([]byte) []byte { return nil }, "not read"},
		{"grain beyond the end, sparse", sparse, func(b []byte) []byte { return b[:len(b)-1] }, "beyond the end of the file"},
		{"many grains in one place", sparse, func(b []byte) []byte {
			x := b[3*sectorSize:]
			for i := range grains {
				copy(x[4*i:4*i+4], x[4:8])
			}
			return b[:3*sectorSize+4*sectorSize+10*grainSize]
		}, "grains overlap"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := readAll(c.edit(bytes.Clone(c.from)))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, not %q", err, c.want)
			}
		})
	}
	for _, good := range [][]byte{stream, sparse} {
		if err := readAll(good); err != nil {
			t.Error(err)
		}
	}
}

// other replaces a text in the descriptor, whose length may change.
func other(b []byte, from, to string) []byte {
	text := bytes.Replace(b[512:][:20*512], []byte(from), []byte(to), 1)
	return append(append(bytes.Clone(b[:512]), append(text, make([]byte, 512)...)[:20*512]...), b[21*512:]...)
}

// A small file whose directory names one table over and over is done with soon.
func TestReadManyTables(t *testing.T) {
	const entries = maxDirectory
	b := make([]byte, 3*sectorSize+entries*4)
	h := header{version: 1, flags: flagNewline, capacity: entries * 512 * 8, grain: 8, perTable: 512, directory: 3, newlines: newlines}
	copy(b, h.encode())
	for i := range entries {
		binary.LittleEndian.PutUint32(b[3*sectorSize+4*i:], 1)
	}
	start := time.Now()
	var damaged *image.FormatError
	if err := readAll(b); !errors.As(err, &damaged) || !strings.Contains(err.Error(), "overlap") {
		t.Errorf("error %v", err)
	}
	if _, err := Probe(bytes.NewReader(b), int64(len(b))); !errors.As(err, &damaged) {
		t.Errorf("error %v", err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

// memory is a disk in memory.
func memory(b []byte) image.Source {
	return oneExtent{sized{bytes.NewReader(b)}}
}

type sized struct{ *bytes.Reader }

func (s sized) Extents(ctx context.Context, f func(image.Extent) error) error { return nil }

// A file that has become shorter is an error.
func TestReadShorter(t *testing.T) {
	b := encode(t, memory(bytes.Repeat([]byte("data"), 100_000*128)), Options{}, image.CopyOptions{})
	r, err := NewReader(&shrinking{Reader: bytes.NewReader(b)}, int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	r.s.R.(*shrinking).now = true
	if _, err := r.ReadAt(make([]byte, 10), 0); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

type shrinking struct {
	*bytes.Reader
	now bool
}

func (s *shrinking) ReadAt(p []byte, off int64) (int, error) {
	if s.now {
		return 0, io.EOF
	}
	return s.Reader.ReadAt(p, off)
}
