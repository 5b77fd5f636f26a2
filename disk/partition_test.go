package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sfdiskTable makes a disk with a table written by sfdisk.
func sfdiskTable(t testing.TB, size int64, script string) string {
	t.Helper()
	tool := Tool{Name: "sfdisk", Package: "fdisk"}
	bin, err := tool.Find()
	if err != nil {
		t.Skipf("skipped: %v", err)
	}
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-q", path)
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v\n%s", err, out)
	}
	return path
}

func TestPartitionsOfSfdisk(t *testing.T) {
	path := sfdiskTable(t, 64*mib, "label: dos\nlabel-id: 0x1a2b3c4d\n"+
		"start=2048, size=8192, type=83, bootable\nstart=10240, size=4096, type=82\nstart=16384, size=65536, type=5\nstart=18432, size=8192, type=83\nstart=30720, size=8192, type=8e\n")
	table, err := Partitions(path)
	if err != nil || table.Kind != "mbr" {
		t.Fatalf("%+v, %v", table, err)
	}
	want := []Partition{
		{Index: 1, Start: 2048 * 512, Size: 8192 * 512, Type: "0x83", GUID: "1a2b3c4d-01", Active: true},
		{Index: 2, Start: 10240 * 512, Size: 4096 * 512, Type: "0x82", GUID: "1a2b3c4d-02"},
		{Index: 3, Start: 16384 * 512, Size: 65536 * 512, Type: "0x05", GUID: "1a2b3c4d-03"},
		{Index: 5, Start: 18432 * 512, Size: 8192 * 512, Type: "0x83", GUID: "1a2b3c4d-05"},
		{Index: 6, Start: 30720 * 512, Size: 8192 * 512, Type: "0x8e", GUID: "1a2b3c4d-06"},
	}
	if len(table.Partitions) != len(want) {
		t.Fatalf("%d partitions: %+v", len(table.Partitions), table.Partitions)
	}
	for i, p := range table.Partitions {
		if p != want[i] {
			t.Errorf("got %+v, want %+v", p, want[i])
		}
	}

	path = sfdiskTable(t, 64*mib, "label: gpt\nstart=2048, size=8192, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=esp, uuid=12345678-1234-4234-8234-123456789ABC\n")
	table, err = Partitions(path)
	if err != nil || table.Kind != "gpt" || len(table.Partitions) != 1 {
		t.Fatalf("%+v, %v", table, err)
	}
	if got, want := table.Partitions[0], (Partition{Index: 1, Start: mib, Size: 8192 * 512, Type: TypeESP, GUID: "12345678-1234-4234-8234-123456789ABC", Name: "esp"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	// With the primary header gone the backup is read.
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt(make([]byte, 512), 512)
	f.Close()
	if table, err := Partitions(path); err != nil || !table.FromBackup || len(table.Partitions) != 1 {
		t.Errorf("backup: %+v, %v", table, err)
	}
}

func TestHostilePartitionTables(t *testing.T) {
	le := binary.LittleEndian
	mbrDisk := func(edit func(b []byte)) []byte {
		b := make([]byte, 1<<20)
		b[510], b[511] = 0x55, 0xaa
		b[446+4] = 0x83
		le.PutUint32(b[446+8:], 8)
		le.PutUint32(b[446+12:], 100)
		edit(b)
		return b
	}
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"nothing":    {make([]byte, 1<<20), "no partition table"},
		"tiny":       {make([]byte, 100), "no partition table"},
		"beyond":     {mbrDisk(func(b []byte) { le.PutUint32(b[446+12:], 1<<30) }), "reaches beyond the disk"},
		"chain loop": {mbrDisk(func(b []byte) { b[446+4] = 5; copy(b[8*512:], b[:512]); b[8*512+462+4] = 5; b[8*512+462+12] = 1 }), "chain of logical partitions is broken"},
		"chain away": {mbrDisk(func(b []byte) { b[446+4] = 5; le.PutUint32(b[446+8:], 1<<31) }), "chain of logical partitions is broken"},
		"gpt entries": {mbrDisk(func(b []byte) {
			copy(b[512:], "EFI PART")
			le.PutUint32(b[512+80:], 1<<31)
			le.PutUint32(b[512+84:], 128)
		}), "entries of"},
		"gpt length": {mbrDisk(func(b []byte) {
			copy(b[512:], "EFI PART")
			le.PutUint32(b[512+80:], 4)
			le.PutUint32(b[512+84:], 1<<31)
		}), "entries of"},
		"gpt place": {mbrDisk(func(b []byte) {
			copy(b[512:], "EFI PART")
			le.PutUint64(b[512+72:], 1<<63)
			le.PutUint32(b[512+80:], 4)
			le.PutUint32(b[512+84:], 128)
		}), "entries of"},
		"gpt sums": {mbrDisk(func(b []byte) {
			copy(b[512:], "EFI PART")
			le.PutUint64(b[512+72:], 2)
			le.PutUint32(b[512+80:], 4)
			le.PutUint32(b[512+84:], 128)
		}), "GPT"},
	} {
		table, err := ReadTable(bytes.NewReader(test.data), int64(len(test.data)))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %+v, %v, want %q", name, table, err, test.want)
		}
	}
	if _, err := Partitions(writeFile(t, "x", make([]byte, 4096))); !errors.Is(err, ErrNoPartitionTable) {
		t.Errorf("empty disk: %v", err)
	}
}

func TestDetectFileSystem(t *testing.T) {
	image := func(at int, magic string, more ...func(b []byte)) []byte {
		b := make([]byte, 128<<10)
		copy(b[at:], magic)
		for _, f := range more {
			f(b)
		}
		return b
	}
	uuid := func(at int) func([]byte) {
		return func(b []byte) {
			for i := range 16 {
				b[at+i] = byte(0x11 * (i % 16))
			}
		}
	}
	put := func(at int, s string) func([]byte) { return func(b []byte) { copy(b[at:], s) } }
	const id = "00112233-4455-6677-8899-aabbccddeeff"
	for _, test := range []struct {
		data []byte
		want FileSystem
	}{
		{make([]byte, 128<<10), FileSystem{}},
		{nil, FileSystem{}},
		{image(0, "XFSB", uuid(32), put(108, "data")), FileSystem{Type: "xfs", UUID: id, Label: "data"}},
		{image(0x10040, "_BHRfS_M", uuid(0x10020), put(0x1012b, "b\xff")), FileSystem{Type: "btrfs", UUID: id, Label: "b?"}},
		{image(0, "LUKS\xba\xbe", put(168, id)), FileSystem{Type: "crypto_LUKS", UUID: id}},
		{image(4086, "SWAPSPACE2", uuid(1036)), FileSystem{Type: "swap", UUID: id}},
		{image(0x8001, "CD001", put(0x8028, "cidata   ")), FileSystem{Type: "iso9660", Label: "cidata"}},
		{image(0, "hsqs"), FileSystem{Type: "squashfs"}},
		{image(512, "LABELONE", put(536, "LVM2 001"), put(544, "abcdef1234123412341234123456abcd")), FileSystem{Type: "LVM2_member", UUID: "abcdef-1234-1234-1234-1234-1234-56abcd"}},
		{image(510, "\x55\xaa", put(54, "FAT16   "), put(39, "\x78\x56\x34\x12"), put(43, "NO NAME    ")), FileSystem{Type: "vfat", UUID: "1234-5678"}},
	} {
		got, err := DetectFileSystem(bytes.NewReader(test.data), int64(len(test.data)))
		if err != nil || got != test.want {
			t.Errorf("got %+v, %v, want %+v", got, err, test.want)
		}
	}
	// And what the tools make, against blkid.
	for _, test := range []struct {
		tool Tool
		args []string
		kind string
	}{
		{Tool{Name: "mkswap", Package: "util-linux"}, []string{"-q", "-L", "lab"}, "swap"},
		{mkfsVFAT, []string{"-n", "LAB"}, "vfat"},
		{mke2fs, []string{"-q", "-F", "-t", "ext3", "-L", "lab"}, "ext3"},
		{Tool{Name: "mkfs.xfs", Package: "xfsprogs"}, []string{"-q", "-L", "lab"}, "xfs"},
		{Tool{Name: "mkfs.btrfs", Package: "btrfs-progs"}, []string{"-q", "-L", "lab"}, "btrfs"},
	} {
		t.Run(test.tool.Name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "fs")
			os.WriteFile(path, nil, 0o600)
			os.Truncate(path, 400*mib)
			output(t, test.tool, append(test.args, path)...)
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			got, err := DetectFileSystem(f, 400*mib)
			if err != nil || got.Type != test.kind || !strings.EqualFold(got.Label, "lab") {
				t.Errorf("%+v, %v", got, err)
			}
			if want := strings.TrimSpace(output(t, Tool{Name: "blkid", Package: "util-linux"}, "-p", "-o", "value", "-s", "UUID", path)); got.UUID != want {
				t.Errorf("UUID %s, blkid says %s", got.UUID, want)
			}
		})
	}
}
