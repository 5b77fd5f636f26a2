package inspect

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"strings"
	"testing"
)

// gptHeader writes a header of a GPT with a right checksum into a sector.
func gptHeader(m memory, lba, other, entries uint64, count, size, sum uint32) {
	le := binary.LittleEndian
	h := m[lba*512 : lba*512+512]
	clear(h)
	copy(h, "EFI PART")
	le.PutUint32(h[8:], 0x10000)
	le.PutUint32(h[12:], 92)
	le.PutUint64(h[24:], lba)
	le.PutUint64(h[32:], other)
	le.PutUint64(h[40:], 34)
	le.PutUint64(h[48:], uint64(len(m)/512-34))
	le.PutUint64(h[72:], entries)
	le.PutUint32(h[80:], count)
	le.PutUint32(h[84:], size)
	le.PutUint32(h[88:], sum)
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
}

// forgedGPT is a disk whose second header has a right checksum and more entries than there are bytes to count them.
func forgedGPT() memory {
	m := make(memory, 1<<20)
	m[446+4] = 0xee
	binary.LittleEndian.PutUint32(m[446+8:], 1)
	binary.LittleEndian.PutUint32(m[446+12:], uint32(len(m)/512-1))
	m[510], m[511] = 0x55, 0xaa
	entry := m[1024:]
	copy(entry, "\xaf\x3d\xc6\x0f\x83\x84\x72\x47\x8e\x79\x3d\x69\xd8\x47\x7d\xe4")
	entry[16] = 1
	binary.LittleEndian.PutUint64(entry[32:], 64)
	binary.LittleEndian.PutUint64(entry[40:], 127)
	gptHeader(m, 1, 40, 2, 128, 128, crc32.ChecksumIEEE(m[1024:1024+128*128]))
	gptHeader(m, 40, 1, 2, math.MaxUint32, math.MaxUint32, 0)
	return m
}

func TestForgedGPT(t *testing.T) {
	r, err := Inspect(t.Context(), forgedGPT(), Options{})
	if err != nil || !r.PartitionTable.PrimaryValid || r.PartitionTable.BackupValid {
		t.Errorf("%+v, %v", r, err)
	}
}

// smallEFI is the shortest program whose headers are whole: it ends before the place where Linux has its magic.
func smallEFI() string {
	b := make([]byte, 512)
	copy(b, "MZ")
	b[0x3c] = 0x40
	copy(b[0x40:], "PE\x00\x00")
	return string(b)
}

func TestSmallEFI(t *testing.T) {
	for _, n := range []int{512, 514, 517} {
		b := (smallEFI() + "\x00\x00HdrS")[:n]
		l := EFILoader{Size: int64(n), Loader: "unknown"}
		if err := l.parse(strings.NewReader(b)); err != nil || l.Loader != "unknown" {
			t.Errorf("%d bytes: %+v, %v", n, l, err)
		}
	}
}
