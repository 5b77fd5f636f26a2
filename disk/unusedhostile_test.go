package disk

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/disk/image"
)

// hostileExt is the superblock of a clean ext2 of blocks of 4096 bytes, with nothing behind it.
func hostileExt(blocks, perGroup uint32) []byte {
	b := make([]byte, 1024)
	le := binary.LittleEndian
	for at, v := range map[int]uint32{0: 16, 4: blocks, 0x18: 2, 0x1c: 2, 0x20: perGroup, 0x24: perGroup, 0x28: 16, 0x4c: 1, 0x60: extIncompatFiletyp} {
		le.PutUint32(b[at:], v)
	}
	le.PutUint16(b[0x38:], 0xef53)
	le.PutUint16(b[0x3a:], extStateValid)
	le.PutUint16(b[0x58:], 128)
	return b
}

// A few bytes that claim terabytes are answered at once, and a context ends what takes longer.
func TestUnusedOfHostileExt(t *testing.T) {
	const size = 15 << 40
	for name, perGroup := range map[string]uint32{"small groups": 256, "full groups": 32768} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk")
			if err := os.WriteFile(path, append(make([]byte, 1024), hostileExt(size/4096, perGroup)...), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, size); err != nil {
				t.Skipf("no file of 15 TiB can be made here: %v", err)
			}
			raw, err := image.OpenFile(path)
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			start := time.Now()
			_, report, err := Unused(ctx, raw)
			if err != nil || len(report.FileSystems) != 1 || report.Size() != 0 || !strings.Contains(report.FileSystems[0].Kept, "groups") {
				t.Fatalf("%+v, %v after %v", report, err, time.Since(start))
			}
			if report, err := PunchUnused(ctx, path); err != nil || report.Size() != 0 {
				t.Errorf("%+v, %v", report, err)
			}
		})
	}
}

// Each group is looked at only while the context lasts, whatever is in it.
func TestUnusedIsCancelled(t *testing.T) {
	need(t, mke2fs, mkfsVFAT)
	for name, make := range map[string]func(path string){
		"ext": func(path string) { output(t, mke2fs, "-q", "-F", "-t", "ext4", path, "200M") },
		"FAT": func(path string) {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, 200<<20); err != nil {
				t.Fatal(err)
			}
			output(t, mkfsVFAT, "-F", "32", path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "fs")
			make(path)
			raw, err := image.OpenFile(path)
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			table, err := ReadTable(raw, raw.Size())
			if err != nil {
				t.Fatal(err)
			}
			space, kept, err := freeSpaceOf(raw, table.Partitions[0])
			if err != nil || kept != "" {
				t.Fatal(kept, err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			calls := 0
			if err := space.free(ctx, 0, raw.Size(), func(int64, int64) error { calls++; return nil }); err != context.Canceled || calls > 0 {
				t.Errorf("%d ranges, %v", calls, err)
			}
		})
	}
}
