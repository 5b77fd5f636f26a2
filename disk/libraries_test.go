package disk

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"runtime"
	"testing"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/diskfs/go-diskfs/partition/mbr"
	"github.com/ulikunitz/xz/lzma"
)

// TestLibraries shows that the bugs in docs/libraries.md are still there. When one is mended, what works around it may go, and its section.
func TestLibraries(t *testing.T) {
	le := binary.LittleEndian
	t.Run("a forged GPT takes memory", func(t *testing.T) {
		disk := make([]byte, 1<<20)
		copy(disk[512:], "EFI PART\x00\x00\x01\x00")
		le.PutUint32(disk[512+12:], 92)
		le.PutUint64(disk[512+72:], 2)
		le.PutUint32(disk[512+80:], 1<<24)
		le.PutUint32(disk[512+84:], 128)
		le.PutUint64(disk[512+24:], 1)
		le.PutUint32(disk[512+16:], crc32.ChecksumIEEE(disk[512:512+92]))
		if took := allocates(func() {
			gpt.Read(backend{io.NewSectionReader(bytes.NewReader(disk), 0, int64(len(disk)))}, 512, 512)
		}); took < 1<<30 {
			t.Errorf("it takes %d bytes only", took)
		}
		if took := allocates(func() { ReadTable(bytes.NewReader(disk), int64(len(disk))) }); took > 1<<20 {
			t.Errorf("what works around it takes %d bytes", took)
		}
	})
	t.Run("logical partitions are not read", func(t *testing.T) {
		disk := make([]byte, 4<<20)
		entry := func(record, at int64, kind byte, start, size uint32) {
			e := disk[record*512+446+at*16:]
			e[4] = kind
			le.PutUint32(e[8:], start)
			le.PutUint32(e[12:], size)
			disk[record*512+510], disk[record*512+511] = 0x55, 0xaa
		}
		entry(0, 0, 0x05, 2048, 4096)
		entry(2048, 0, 0x83, 63, 1000)
		table, err := mbr.Read(backend{io.NewSectionReader(bytes.NewReader(disk), 0, int64(len(disk)))}, 512, 512)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range table.Partitions {
			if p.Type != mbr.Empty && p.Start != 2048 {
				t.Errorf("it reads %+v", p)
			}
		}
		if got, err := ReadTable(bytes.NewReader(disk), int64(len(disk))); err != nil || len(got.Partitions) != 2 {
			t.Errorf("what works around it gives %+v, %v", got, err)
		}
	})
	t.Run("xz takes the memory that a file names", func(t *testing.T) {
		if took := allocates(func() {
			lzma.Reader2Config{DictCap: 1 << 30}.NewReader2(bytes.NewReader([]byte{0}))
		}); took < 1<<30 {
			t.Errorf("it takes %d bytes only", took)
		}
	})
}

// allocates is how many bytes something takes.
func allocates(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
