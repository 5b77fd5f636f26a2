package vhdx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/disk/image"
)

// update is one of a log entry: a whole sector of data, or zeros.
type update struct {
	off   int64
	data  []byte
	zeros int64
}

// logEntry writes an entry as section 2.3.1 has it.
func logEntry(id guid, sequence uint64, tail, fileSize int64, updates ...update) []byte {
	le := binary.LittleEndian
	b := make([]byte, (64+32*len(updates)+logSector-1)/logSector*logSector)
	for i, u := range updates {
		d := b[64+32*i:]
		le.PutUint64(d[16:], uint64(u.off))
		le.PutUint64(d[24:], sequence)
		if u.data == nil {
			copy(d, "zero")
			le.PutUint64(d[8:], uint64(u.zeros))
			continue
		}
		copy(d, "desc")
		copy(d[4:8], u.data[logSector-4:])
		copy(d[8:16], u.data[:8])
		s := bytes.Clone(u.data)
		copy(s, "data")
		le.PutUint32(s[4:], uint32(sequence>>32))
		le.PutUint32(s[logSector-4:], uint32(sequence))
		b = append(b, s...)
	}
	copy(b, "loge")
	le.PutUint32(b[8:], uint32(len(b)))
	le.PutUint32(b[12:], uint32(tail))
	le.PutUint64(b[16:], sequence)
	le.PutUint32(b[24:], uint32(len(updates)))
	copy(b[32:], id[:])
	le.PutUint64(b[48:], uint64(fileSize))
	le.PutUint64(b[56:], uint64(fileSize))
	le.PutUint32(b[4:], checksum(b))
	return b
}

var logID = guid{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

// withLog puts entries into the log at offsets, and lets both headers say that it is in use.
func withLog(t *testing.T, e edited, entries map[int64][]byte) edited {
	t.Helper()
	h, err := readHeader(image.Headers{R: bytes.NewReader(e), Size: int64(len(e)), Format: image.VHDX})
	if err != nil {
		t.Fatal(err)
	}
	c := e.put(64*kib+48, logID[:]...).put(128*kib+48, logID[:]...).seal()
	clear(c[h.logOffset : h.logOffset+h.logLength])
	for at, b := range entries {
		for i, v := range b { // round the end
			c[h.logOffset+(at+int64(i))%h.logLength] = v
		}
	}
	return c
}

// lost makes a disk whose first block is there but was taken out of the table, and the sector of the table that has it.
func lost(t *testing.T) (e edited, off int64, sector []byte) {
	whole := small(t)
	off = whole.bat()
	return whole.put(off, 0, 0, 0, 0, 0, 0, 0, 0), off, bytes.Clone(whole[off : off+logSector])
}

// TestLogReplayed reads disks whose tables are only right with the log, and compares them with what QEMU makes of them.
func TestLogReplayed(t *testing.T) {
	e, bat, sector := lost(t)
	size := int64(len(e))
	wrong := bytes.Repeat([]byte{0}, logSector)
	put := func(data []byte) update { return update{off: bat, data: data} }
	for name, entries := range map[string]map[int64][]byte{
		"one entry":                      {0: logEntry(logID, 7, 0, size, put(sector))},
		"in the middle":                  {12 * kib: logEntry(logID, 7, 12*kib, size, put(sector))},
		"round the end":                  {mib - 4*kib: logEntry(logID, 1<<40, mib-4*kib, size, put(sector))},
		"in their order":                 {0: logEntry(logID, 7, 0, size, put(wrong)), 8 * kib: logEntry(logID, 8, 0, size, put(sector))},
		"newest sequence":                {0: logEntry(logID, 17, 0, size, put(sector)), 32 * kib: logEntry(logID, 8, 32*kib, size, put(wrong))},
		"what is done is not done again": {0: logEntry(logID, 7, 0, size, update{off: bat, zeros: mib}), 4 * kib: logEntry(logID, 8, 4*kib, size, put(sector))},
		"zeros, then data":               {0: logEntry(logID, 7, 0, size, update{off: bat, zeros: 64 * kib}, put(sector))},
		"another log's entries":          {0: logEntry(logID, 7, 0, size, put(sector)), 32 * kib: logEntry(guid{9}, 90, 32*kib, size, put(wrong))},
		"a torn entry at the end":        {0: logEntry(logID, 7, 0, size, put(sector)), 8 * kib: logEntry(logID, 8, 0, size, put(wrong))[:logSector]},
	} {
		t.Run(name, func(t *testing.T) {
			c := withLog(t, e, entries)
			r, err := c.open()
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, r.Size())
			if _, err := r.ReadAt(got, 0); err != nil {
				t.Fatal(err)
			}
			// QEMU replays a log only into the file.
			path := filepath.Join(t.TempDir(), "disk.vhdx")
			if err := os.WriteFile(path, c, 0o600); err != nil {
				t.Fatal(err)
			}
			raw := filepath.Join(t.TempDir(), "disk.raw")
			exec.Command("qemu-img", "check", "-q", "-r", "all", path).Run() // tells by its status that there was something
			qemuImg(t, "convert", "-f", "vhdx", "-O", "raw", path, raw)
			want, err := os.ReadFile(raw)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Error("QEMU reads another disk")
			}
			if image.IsZero(got[:mib]) {
				t.Error("the block is lost")
			}
		})
	}
}

// TestLogGrowsTheFile replays what lies beyond the end of the file: it is as long as the log says then.
func TestLogGrowsTheFile(t *testing.T) {
	e, bat, sector := lost(t)
	size := int64(len(e))
	binary.LittleEndian.PutUint64(sector, uint64(size/mib)<<20|fullyPresent) // a block that was not written any more
	b := logEntry(logID, 7, 0, size, update{off: bat, data: sector})
	binary.LittleEndian.PutUint64(b[56:], uint64(size+mib))
	binary.LittleEndian.PutUint32(b[4:], checksum(b))
	r, err := withLog(t, e, map[int64][]byte{0: b}).open()
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, mib)
	if _, err := r.ReadAt(got, 0); err != nil || !image.IsZero(got) {
		t.Error("no zeros", err)
	}
	if err := r.Extents(t.Context(), func(e image.Extent) error {
		if e.Start == 0 {
			t.Errorf("extent %+v", e)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func TestLogRefused(t *testing.T) {
	e, bat, sector := lost(t)
	size := int64(len(e))
	data := func(off int64) update { return update{off: off, data: sector} }
	torn := logEntry(logID, 7, 0, size, data(bat))
	torn[5000]++
	fewer := logEntry(logID, 7, 0, size, data(bat))
	copy(fewer[64:], "zero")
	binary.LittleEndian.PutUint64(fewer[64+8:], logSector)
	binary.LittleEndian.PutUint32(fewer[4:], checksum(fewer))
	other := logEntry(logID, 7, 0, size, data(bat))
	binary.LittleEndian.PutUint64(other[64+24:], 6)
	binary.LittleEndian.PutUint32(other[4:], checksum(other))
	at := binary.LittleEndian.Uint64(sector) >> 20 * mib
	for name, test := range map[string]struct {
		entries map[int64][]byte
		want    string
	}{
		"empty":                      {nil, "nothing in its log is whole"},
		"torn":                       {map[int64][]byte{0: torn}, "nothing in its log is whole"},
		"its tail is gone":           {map[int64][]byte{8 * kib: logEntry(logID, 8, 0, size, data(bat))}, "nothing in its log is whole"},
		"a gap":                      {map[int64][]byte{0: logEntry(logID, 7, 4*kib, size, data(bat)), 8 * kib: logEntry(logID, 9, 0, size, data(bat))}, "nothing in its log is whole"},
		"the file was longer":        {map[int64][]byte{0: logEntry(logID, 7, 0, size+mib, data(bat))}, "cut off"},
		"more data than descriptors": {map[int64][]byte{0: fewer}, "more data sectors"},
		"another entry's descriptor": {map[int64][]byte{0: other}, "descriptor of another entry"},
		"data at an odd place":       {map[int64][]byte{0: logEntry(logID, 7, 0, size, data(bat+8))}, "no place"},
		"data at a negative place":   {map[int64][]byte{0: logEntry(logID, 7, 0, size, data(-4096))}, "no place"},
		"a block of data":            {map[int64][]byte{0: logEntry(logID, 7, 0, size, data(bat), data(int64(at)+8*kib))}, "changes a block of data"},
		"zeros over a block of data": {map[int64][]byte{0: logEntry(logID, 7, 0, size, update{off: int64(at) - 4*kib, zeros: 8 * kib}, data(bat))}, "changes a block of data"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := withLog(t, e, test.entries).open()
			var damaged *image.FormatError
			if !errors.As(err, &damaged) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}
