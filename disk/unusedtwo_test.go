package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// mdSuperblock is what mdadm writes for a version 1 array.
func mdSuperblock() []byte {
	b := make([]byte, 256)
	le := binary.LittleEndian
	le.PutUint32(b, 0xa92b4efc)
	le.PutUint32(b[4:], 1)
	copy(b[16:], "0123456789abcdef")
	copy(b[32:], "host:0")
	return b
}

// What lies over an old file system is its data, whatever the old one calls free.
func TestUnusedUnderAnotherSignature(t *testing.T) {
	need(t, mke2fs, mkfsVFAT, mkswap)
	const size, offset = 40 << 20, 1 << 20
	makers := map[string]func(t *testing.T, path string){
		"ext4": func(t *testing.T, path string) { output(t, mke2fs, "-q", "-F", "-t", "ext4", "-b", "4096", path) },
		"vfat": func(t *testing.T, path string) { output(t, mkfsVFAT, "-F", "16", path) },
		"swap": func(t *testing.T, path string) { output(t, mkswap, "-q", path) },
	}
	old := make([]byte, 4096)
	le := binary.LittleEndian
	le.PutUint32(old, 0xa92b4efc)
	le.PutUint32(old[8:], 90)
	for _, test := range []struct {
		over string
		want string // type
		at   int64
		data []byte
		on   []string
	}{
		{"RAID 1.1", "linux_raid_member", 0, mdSuperblock(), []string{"ext4", "swap"}},
		{"RAID 1.2", "linux_raid_member", 4096, mdSuperblock(), []string{"ext4", "swap", "vfat"}},
		{"RAID 1.0", "", size - 8192, mdSuperblock(), []string{"ext4", "swap", "vfat"}},
		{"RAID 0.90", "", size - 65536, old, []string{"ext4", "swap", "vfat"}},
		{"Intel RAID", "", size - 1024, []byte("Intel Raid ISM Cfg Sig. 1.3.00"), []string{"ext4", "swap", "vfat"}},
		{"LUKS", "crypto_LUKS", 0, []byte("LUKS\xba\xbe\x00\x02"), []string{"ext4", "swap"}},
		{"LVM2", "LVM2_member", 512, []byte("LABELONE\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x20\x00\x00\x00LVM2 001"), []string{"ext4", "swap"}},
		{"BitLocker", "BitLocker", 0, []byte("\xeb\x58\x90-FVE-FS-"), []string{"ext4", "swap"}},
		{"bcache", "bcache", 4096 + 24, []byte("\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"), []string{"ext4", "swap"}},
		{"ZFS", "", 132 << 10, []byte("\x0c\xb1\xba\x00\x00\x00\x00\x00"), []string{"ext4", "swap", "vfat"}},
		{"swap", "swap", 4086, []byte("SWAPSPACE2"), []string{"ext4", "vfat"}},
		{"btrfs", "btrfs", 0x10040, []byte("_BHRfS_M"), []string{"ext4", "swap", "vfat"}},
	} {
		for _, kind := range test.on {
			t.Run(test.over+" over "+kind, func(t *testing.T) {
				part := filepath.Join(t.TempDir(), "part")
				if err := os.WriteFile(part, make([]byte, size), 0o600); err != nil {
					t.Fatal(err)
				}
				makers[kind](t, part)
				poke(t, part, test.at, test.data...)
				poke(t, part, size/2, bytes.Repeat([]byte("data"), 1<<18)...)
				b, err := os.ReadFile(part)
				if err != nil {
					t.Fatal(err)
				}
				path := sfdiskTable(t, size+2*offset, "label: gpt\nstart="+strconv.Itoa(offset/512)+", size="+strconv.Itoa(size/512)+"\n")
				poke(t, path, offset, b...)
				if b, err = os.ReadFile(path); err != nil {
					t.Fatal(err)
				}
				report, err := PunchUnused(context.Background(), path)
				if err != nil || len(report.FileSystems) != 1 {
					t.Fatalf("%+v, %v", report, err)
				}
				want := test.want
				if want == "" {
					want = kind
				}
				if f := report.FileSystems[0]; f.Unused != 0 || f.Type != want || !strings.Contains(f.Kept, "signatures of two file systems") || !strings.Contains(f.Kept, kind) {
					t.Errorf("%+v", f)
				}
				if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, b) {
					t.Errorf("data is lost, %v", err)
				}
			})
		}
	}
}

// A disk that is a RAID member as a whole may hold but a part of each file system.
func TestUnusedOfARaidMember(t *testing.T) {
	need(t, mke2fs)
	path := sfdiskTable(t, 64<<20, "label: dos\nstart=1MiB, size=40MiB\n")
	output(t, mke2fs, "-q", "-F", "-t", "ext4", "-E", "offset="+strconv.Itoa(1<<20), path, "40M")
	poke(t, path, 64<<20-8192, mdSuperblock()...)
	poke(t, path, 21<<20, bytes.Repeat([]byte("data"), 1<<18)...)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	report, err := PunchUnused(context.Background(), path)
	if err != nil || len(report.FileSystems) != 1 || report.Size() != 0 || !strings.Contains(report.FileSystems[0].Kept, "RAID") {
		t.Fatalf("%+v, %v", report, err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, before) {
		t.Errorf("data is lost, %v", err)
	}
}
