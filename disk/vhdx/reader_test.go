package vhdx

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/disk/image"
)

// qemuImg runs qemu-img, which is somebody else's reader and writer.
func qemuImg(t *testing.T, args ...string) {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("qemu-img is not installed")
	}
	if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// rawDisk makes a raw disk of a size with some data here and there, its last sector among it.
func rawDisk(t *testing.T, size int64) string {
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
	r := rand.New(rand.NewPCG(1, uint64(size)))
	for range 40 {
		b := make([]byte, 1+r.IntN(200<<10))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		f.WriteAt(b[:min(int64(len(b)), size)], r.Int64N(max(1, size-int64(len(b)))))
	}
	f.WriteAt([]byte("the last sector"), size-512)
	return path
}

// vhdxOf converts a raw disk by QEMU.
func vhdxOf(t *testing.T, raw, options string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.vhdx")
	qemuImg(t, "convert", "-f", "raw", "-O", "vhdx", "-o", options, raw, path)
	return path
}

func open(t *testing.T, path string) *Reader {
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
	r, err := NewReader(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// same compares a disk with a raw file: all bytes, and that nothing but zeros lies between its extents.
func same(t *testing.T, r *Reader, raw string) {
	t.Helper()
	want, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	if r.Size() != int64(len(want)) {
		t.Fatalf("size %d, not %d", r.Size(), len(want))
	}
	got := make([]byte, len(want))
	if n, err := r.ReadAt(got, 0); n != len(got) || err != nil {
		t.Fatal(n, err)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("another disk")
	}
	clear(got)
	end := int64(-1)
	err = r.Extents(t.Context(), func(e image.Extent) error {
		if e.Size <= 0 || e.Start <= end || e.End() > r.Size() {
			t.Errorf("extent %+v after %d", e, end)
		}
		end = e.End()
		_, err := r.ReadAt(got[e.Start:e.End()], e.Start)
		return err
	})
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("its extents are another disk, %v", err)
	}
}

func TestReadsWhatQEMUWrites(t *testing.T) {
	for _, test := range []struct {
		size    int64
		options string
	}{
		{20 << 20, "subformat=dynamic"}, {20<<20 + 512, "subformat=dynamic,block_size=1M"}, {20<<20 - 512, "subformat=fixed"},
		{3 << 20, "subformat=dynamic,block_size=256M"}, {70 << 20, "subformat=dynamic,block_size=8M,log_size=2M"},
		{6 << 30, "subformat=dynamic,block_size=1M"}, // more than one chunk: entries of sector bitmaps between those of blocks
		{20 << 20, "subformat=dynamic,block_state_zero=off"},
	} {
		t.Run(test.options, func(t *testing.T) {
			raw := filepath.Join(t.TempDir(), "disk.raw")
			if test.size > 1<<30 { // compared in pieces
				qemuImg(t, "create", "-q", "-f", "raw", raw, strconv.FormatInt(test.size, 10))
				f, err := os.OpenFile(raw, os.O_RDWR, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				marks := []int64{0, 4<<30 - 512, 4 << 30, 4<<30 + 1<<20, test.size - 512}
				for _, at := range marks {
					f.WriteAt([]byte("here: "+strconv.FormatInt(at, 10)), at)
				}
				r := open(t, vhdxOf(t, raw, test.options))
				for _, at := range marks {
					b := make([]byte, 512)
					want := "here: " + strconv.FormatInt(at, 10)
					if _, err := r.ReadAt(b, at); err != nil || !bytes.HasPrefix(b, []byte(want)) {
						t.Errorf("at %d: %q, %v", at, b[:30], err)
					}
				}
				return
			}
			raw = rawDisk(t, test.size)
			path := vhdxOf(t, raw, test.options)
			same(t, open(t, path), raw)
			st, _ := os.Stat(path)
			f, _ := os.Open(path)
			defer f.Close()
			info, err := Probe(f, st.Size())
			variant := dynamic
			if strings.Contains(test.options, "fixed") {
				variant = fixed
			}
			if err != nil || info.Variant != variant || info.VirtualSize != test.size || info.Format != image.VHDX || info.ClusterSize == 0 || len(info.References) != 0 {
				t.Errorf("%+v, %v", info, err)
			}
		})
	}
}

// edited is an image with some of its bytes changed, and the checksums of what is there made right where they are asked for.
type edited []byte

func small(t *testing.T) edited {
	t.Helper()
	b, err := os.ReadFile(vhdxOf(t, rawDisk(t, 3<<20), "subformat=dynamic,block_size=1M"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (e edited) put(at int64, b ...byte) edited {
	c := bytes.Clone(e)
	copy(c[at:], b)
	return c
}

// seal makes the checksums of both headers and region tables right.
func (e edited) seal() edited {
	c := bytes.Clone(e)
	for at, size := range map[int]int{64 * kib: headerSize, 128 * kib: headerSize, 192 * kib: tableSize, 256 * kib: tableSize} {
		binary.LittleEndian.PutUint32(c[at+4:], checksum(c[at:at+size]))
	}
	return c
}

// item finds a metadata item's bytes, and its entry of the table.
func (e edited) item(id guid) (at, entry int64) {
	parts, err := readRegions(image.Headers{R: bytes.NewReader(e), Size: int64(len(e)), Format: image.VHDX})
	if err != nil {
		panic(err)
	}
	entry = parts.metadata.start + int64(bytes.Index(e[parts.metadata.start:][:tableSize], id[:]))
	return parts.metadata.start + int64(binary.LittleEndian.Uint32(e[entry+16:])), entry
}

func (e edited) bat() int64 {
	parts, err := readRegions(image.Headers{R: bytes.NewReader(e), Size: int64(len(e)), Format: image.VHDX})
	if err != nil {
		panic(err)
	}
	return parts.bat.start
}

func (e edited) open() (*Reader, error) { return NewReader(bytes.NewReader(e), int64(len(e))) }

func TestDamaged(t *testing.T) {
	whole := small(t)
	if _, err := whole.open(); err != nil {
		t.Fatal(err)
	}
	params, paramsEntry := whole.item(idFile())
	sector, _ := whole.item(idSectorSize())
	size, sizeEntry := whole.item(idDiskSize())
	bat := whole.bat()
	first := whole[bat : bat+8]
	both := func(at int64, b ...byte) edited { return whole.put(64*kib+at, b...).put(128*kib+at, b...).seal() }
	tables := func(at int64, b ...byte) edited { return whole.put(192*kib+at, b...).put(256*kib+at, b...).seal() }
	for name, test := range map[string]struct {
		b    edited
		want string
	}{
		"no signature":           {whole.put(0, 'x'), "does not begin with the signature"},
		"both headers":           {whole.put(64*kib+100, 1).put(128*kib+100, 1), "neither of its two headers"},
		"version":                {both(66, 2), "unknown version 2"},
		"log beyond the file":    {both(72, 0, 0, 0, 0, 1), "log of"},
		"log at an odd place":    {both(72, 1), "log of"},
		"log version":            {whole.put(64*kib+48, 1).put(128*kib+48, 1).put(64*kib+64, 1).put(128*kib+64, 1).seal(), "of the log"},
		"nothing in the log":     {whole.put(64*kib+48, 77).put(128*kib+48, 77).seal(), "nothing in its log is whole"},
		"both region tables":     {whole.put(192*kib+100, 1).put(256*kib+100, 1), "neither of its two region tables"},
		"too many regions":       {tables(8, 0, 8), "region table of 2048 entries"},
		"no regions":             {tables(8, 0, 0), "lacks the block allocation table"},
		"unknown region":         {tables(8, 3).put(192*kib+16+64, 9).put(192*kib+16+64+28, 1).put(256*kib+16+64, 9).put(256*kib+16+64+28, 1).seal(), "does not know"},
		"region beyond the file": {tables(16+16, 0, 0, 0, 0, 0, 1), "region"},
		"no metadata table":      {whole.put(bytes2at(whole, "metadata"), 'M'), "no metadata table"},
		"block size":             {whole.put(params, 1), "blocks of"},
		"block size, too small":  {whole.put(params, 0, 0, 8, 0), "blocks of 524288 bytes"},
		"sector size":            {whole.put(sector, 1), "sectors of"},
		"disk size":              {whole.put(size, 0, 0, 0, 0, 0, 0, 1), "64 TiB is the most"},
		"odd disk size":          {whole.put(size, 1), "in sectors of 512"},
		"larger disk":            {whole.put(size, 0, 0, 0, 0, 0, 1), "block allocation table of"},
		"item outside":           {whole.put(paramsEntry+16, 0, 0, 0, 0xff), "metadata item"},
		"item missing":           {whole.put(sizeEntry, 1, 2, 3).put(sizeEntry+24, 0), "lacks the virtual disk size"},
		"unknown item":           {whole.put(sizeEntry, 1, 2, 3), "must not leave out"},
		"state":                  {whole.put(bat, first[0]&^7|4), "state 4"},
		"partially present":      {whole.put(bat, first[0]&^7|7), "state 7"},
		"block in the header":    {whole.put(bat, 6, 0, 0, 0, 0, 0, 0, 0), "lies beyond"},
		"block beyond the file":  {whole.put(bat, 6, 0, 0, 0, 1, 0, 0, 0), "lies beyond"},
		"block nowhere":          {whole.put(bat, 6, 0, 0, 0, 0, 0, 0, 0xff), "lies beyond"},
		"blocks over each other": {whole.put(bat+8, first...), "over something else"},
		"block over a table":     {whole.put(bat, 6, 0, 0x10, 0, 0, 0, 0, 0), "over something else"},
		"cut off":                {whole[:len(whole)-mib], "cut off"},
		"cut off in the header":  {whole[:70*kib], "cut off"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := test.b.open()
			var damaged *image.FormatError
			if !errors.As(err, &damaged) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
	// One whole copy is enough, and the newer header counts.
	for name, b := range map[string]edited{
		"first header": whole.put(64*kib+100, 1), "second header": whole.put(128*kib+100, 1),
		"first table": whole.put(192*kib+100, 1), "second table": whole.put(256*kib+100, 1),
		"older header of another version": olderHeader(whole),
	} {
		if _, err := b.open(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, b := range map[string]edited{"4096": whole.put(sector, 0, 16), "differencing": differencingOf(whole)} {
		if _, err := b.open(); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
	info, err := Probe(bytes.NewReader(differencingOf(whole)), int64(len(whole)))
	if err != nil || info.Variant != differencing || len(info.References) != 1 || info.References[0].String() != `parent "..\\base.vhdx"` {
		t.Errorf("%+v, %v", info, err)
	}
}

func bytes2at(b []byte, s string) int64 { return int64(bytes.Index(b, []byte(s))) }

// olderHeader makes the header that does not count one that must not be read.
func olderHeader(e edited) edited {
	le := binary.LittleEndian
	older := int64(64 * kib)
	if le.Uint64(e[64*kib+8:]) > le.Uint64(e[128*kib+8:]) {
		older = 128 * kib
	}
	return e.put(older+66, 9).seal()
}

// differencingOf makes a disk that has a parent: a locator takes the place of the identifier of the disk.
func differencingOf(e edited) edited {
	params, _ := e.item(idFile())
	_, entry := e.item(parseGUID("BECA12AB-B2E6-4523-93EF-C309E000C746"))
	parts, err := readRegions(image.Headers{R: bytes.NewReader(e), Size: int64(len(e)), Format: image.VHDX})
	if err != nil {
		panic(err)
	}
	le := binary.LittleEndian
	var locator []byte
	wide := func(s string) (b []byte) {
		for _, c := range s {
			b = append(b, byte(c), 0)
		}
		return b
	}
	key, value := wide("relative_path"), wide(`..\base.vhdx`)
	locator = append(locator, make([]byte, 18)...)
	locator = le.AppendUint16(locator, 1)
	locator = le.AppendUint32(locator, 32)
	locator = le.AppendUint32(locator, uint32(32+len(key)))
	locator = le.AppendUint16(locator, uint16(len(key)))
	locator = le.AppendUint16(locator, uint16(len(value)))
	locator = append(append(locator, key...), value...)
	const at = 512 * kib
	id := idParent()
	c := e.put(params+4, 2).put(entry, id[:]...).put(parts.metadata.start+at, locator...)
	le.PutUint32(c[entry+16:], at)
	le.PutUint32(c[entry+20:], uint32(len(locator)))
	return c
}

func TestReadAtEnds(t *testing.T) {
	r, err := small(t).open()
	if err != nil {
		t.Fatal(err)
	}
	if n, err := r.ReadAt(make([]byte, 10), r.Size()-4); n != 4 || err == nil {
		t.Error(n, err)
	}
	if n, err := r.ReadAt(make([]byte, 10), r.Size()); n != 0 || err == nil {
		t.Error(n, err)
	}
	if _, err := r.ReadAt(nil, -1); err == nil {
		t.Error("read before the start")
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if err := r.Extents(ctx, func(image.Extent) error { return nil }); err == nil || err.Error() != "enough" {
		t.Error(err)
	}
}
