package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func sampleHybrid() Hybrid {
	return Hybrid{Size: 320 * mib, DiskGUID: "11111111-2222-4333-8444-555555555555",
		BIOSGUID: "aaaaaaaa-0000-4000-8000-000000000014", ESPGUID: "aaaaaaaa-0000-4000-8000-000000000015",
		RootGUID: "aaaaaaaa-0000-4000-8000-000000000001", RootUUID: "c0ffee00-1234-4abc-8def-000000000001", ESPSerial: 0x12345678}
}

// sampleTree makes a root folder with what a reader of ext4 may trip over.
func sampleTree(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"etc", "usr/lib", "deep/a/b", "many"} {
		must(os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	must(os.WriteFile(filepath.Join(root, "usr/lib/os-release"), []byte("ID=test\n"), 0o644))
	must(os.Symlink("../usr/lib/os-release", filepath.Join(root, "etc/os-release")))
	must(os.Symlink("/usr/lib/os-release", filepath.Join(root, "deep/absolute")))
	must(os.Symlink("../../../../../../../etc/os-release", filepath.Join(root, "deep/escape")))
	must(os.Symlink("loop", filepath.Join(root, "loop")))
	must(os.Symlink("/"+strings.Repeat("deep/../", 60)+"usr", filepath.Join(root, "long"))) // longer than an inode holds
	must(os.WriteFile(filepath.Join(root, "secret"), bytes.Repeat([]byte("abc"), 100000), 0o600))
	must(os.WriteFile(filepath.Join(root, "odd \"name\"\nwith -R everything"), []byte("odd"), 0o644))
	for i := range 1500 { // a folder with a hash tree
		must(os.WriteFile(filepath.Join(root, "many", fmt.Sprintf("file-%04d", i)), []byte(fmt.Sprint(i)), 0o644))
	}
	f, err := os.Create(filepath.Join(root, "holes")) // many extents
	must(err)
	for i := range int64(400) {
		_, err := f.WriteAt([]byte(fmt.Sprintf("part %d", i)), i*3*4096+100)
		must(err)
	}
	must(f.Truncate(400*3*4096 + 12345))
	must(f.Close())
	return root
}

func sampleBoot() BootFiles {
	boot, core := make([]byte, 512), bytes.Repeat([]byte("core"), 9000)
	for i := range boot {
		boot[i] = byte(i)
	}
	boot[510], boot[511] = 0x55, 0xaa
	return BootFiles{Boot: boot, Core: core, ESP: map[string][]byte{
		"EFI/BOOT/BOOTX64.EFI": bytes.Repeat([]byte("shim"), 250000), "EFI/BOOT/grubx64.efi": []byte("grub"), "EFI/debian/grub.cfg": []byte("configfile\n"),
		"EFI/debian/a longer name.text": []byte("long"),
	}}
}

func makeHybrid(t testing.TB, tree string) string {
	t.Helper()
	need(t, mke2fs, mkfsVFAT, mcopy, mmd)
	path := filepath.Join(t.TempDir(), "disk@@5?offset=7.raw") // characters that mtools and e2fsprogs give a meaning
	h := sampleHybrid()
	if err := h.Partition(path); err != nil {
		t.Fatal(err)
	}
	if err := h.MakeRoot(t.Context(), path, tree); err != nil {
		t.Fatal(err)
	}
	if err := h.InstallBoot(t.Context(), path, sampleBoot()); err != nil {
		t.Fatal(err)
	}
	return path
}

// Everybody else's checkers must be content with the disk.
func TestHybrid(t *testing.T) {
	path := makeHybrid(t, sampleTree(t))
	h := sampleHybrid()
	if out := output(t, sgdisk, "-v", path); !strings.Contains(out, "No problems found") {
		t.Error(out)
	}
	n, err := CheckClean(t.Context(), path)
	if n != 1 || err != nil {
		t.Errorf("CheckClean: %d, %v", n, err)
	}
	img, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	esp := writeFile(t, "esp", img[h.ESP().Start:h.ESP().Start+h.ESP().Size])
	output(t, fsckVFAT, "-n", esp)
	for name, want := range sampleBoot().ESP {
		if got := output(t, Tool{Name: "mtype", Package: "mtools"}, "-i", esp, "::/"+name); got != string(want) {
			t.Errorf("%s: %d bytes, want %d", name, len(got), len(want))
		}
	}
	table, err := Partitions(path)
	if err != nil || table.Kind != "gpt" || len(table.Partitions) != 3 {
		t.Fatalf("%+v, %v", table, err)
	}
	bios, espPart, root := table.Partitions[0], table.Partitions[1], table.Partitions[2]
	if bios.Index != 14 || bios.Type != TypeBIOSBoot || espPart.Index != 15 || espPart.Type != TypeESP || root.Index != 1 {
		t.Errorf("order or types: %+v", table.Partitions)
	}
	if got := (Extent{Start: root.Start, Size: root.Size}); got != h.Root() || got.Start+got.Size != h.Size-mib {
		t.Errorf("root at %v", got)
	}
	if root.FileSystem.Type != "ext4" || root.FileSystem.UUID != h.RootUUID || espPart.FileSystem.UUID != h.ESPUUID() || espPart.FileSystem.Label != "ESP" {
		t.Errorf("file systems: %+v", table.Partitions)
	}
	if p, ok := FindRoot(path, table); !ok || p.Index != 1 {
		t.Errorf("root partition: %+v, %v", p, ok)
	}
	info, err := Probe(path)
	if err != nil || info.Format != Raw || info.Allocated > 64*mib {
		t.Errorf("not sparse: %+v, %v", info, err)
	}
	// BIOS boot code: the first sector leads to core.img, core.img to its rest.
	le := binary.LittleEndian
	if lba := le.Uint64(img[0x5c:]); lba != 2048 || img[0x64] != 0xff || img[510] != 0x55 || img[446+4] != 0xee {
		t.Errorf("boot sector leads to sector %d", lba)
	}
	core := img[2048*512:]
	if le.Uint64(core[0x1f4:]) != 2049 || le.Uint16(core[0x1fc:]) != uint16((36000+511)/512-1) || le.Uint16(core[0x1fe:]) != 0x820 {
		t.Error("block list of core.img")
	}
	if !bytes.Equal(core[512:36000], sampleBoot().Core[512:]) {
		t.Error("core.img differs")
	}
}

// The features must be those that old GRUBs and kernels know, whatever the host's mke2fs.conf says.
func TestRootFeatures(t *testing.T) {
	path := makeHybrid(t, t.TempDir())
	out := output(t, Tool{Name: "dumpe2fs", Package: "e2fsprogs"}, "-h", linkTo(t, path)+fmt.Sprintf("?offset=%d", sampleHybrid().Root().Start))
	for _, want := range []string{"has_journal", "resize_inode", "metadata_csum", "64bit", "extent"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s", want)
		}
	}
	for _, bad := range []string{"metadata_csum_seed", "orphan_file"} {
		if strings.Contains(out, bad) {
			t.Errorf("has %s", bad)
		}
	}
}

// linkTo gives an image a name without special characters, for tools that are called by name.
func linkTo(t testing.TB, path string) string {
	link := filepath.Join(t.TempDir(), "image")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	return link
}

func TestHybridRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d")
	h := sampleHybrid()
	h.Size = 100 * mib
	if err := h.Partition(path); err == nil {
		t.Error("100 MiB accepted")
	}
	h = sampleHybrid()
	if err := h.Partition(path); err != nil {
		t.Fatal(err)
	}
	if err := h.Partition(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("overwrote a file: %v", err)
	}
	for name, edit := range map[string]func(*BootFiles){
		"boot.img": func(b *BootFiles) { b.Boot = b.Boot[:100] },
		"core.img": func(b *BootFiles) { b.Core = make([]byte, 4*mib) },
		"empty":    func(b *BootFiles) { b.Core = nil },
		"path":     func(b *BootFiles) { b.ESP = map[string][]byte{"../x": nil} },
	} {
		need(t, mkfsVFAT, mcopy)
		b := sampleBoot()
		edit(&b)
		if err := h.InstallBoot(t.Context(), path, b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestCheckCleanFindsDamage(t *testing.T) {
	path := makeHybrid(t, sampleTree(t))
	root := sampleHybrid().Root().Start
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	poke := func(off int64, b ...byte) []byte {
		old := make([]byte, len(b))
		f.ReadAt(old, root+off)
		f.WriteAt(b, root+off)
		return old
	}
	var unclean *UncleanError
	check := func(what, want string) {
		t.Helper()
		if _, err := CheckClean(t.Context(), path); !errors.As(err, &unclean) || unclean.Partition != 1 || !strings.Contains(unclean.Reason, want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	old := poke(0x460, 0xc2|0x4) // INCOMPAT_RECOVER
	check("journal", "journal needs recovery")
	poke(0x460, old...)
	old = poke(0x43a, 0) // not valid
	check("state", "not cleanly unmounted")
	poke(0x43a, old...)
	if _, err := CheckClean(t.Context(), path); err != nil {
		t.Fatalf("restored: %v", err)
	}
	// A directory block overwritten: only e2fsck sees it.
	e, err := OpenExt(path, sampleHybrid().Root())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	dir, err := e.find("open", "deep", true)
	if err != nil {
		t.Fatal(err)
	}
	m, err := dir.mapping()
	if err != nil {
		t.Fatal(err)
	}
	block, _, err := m.place(0)
	if err != nil {
		t.Fatal(err)
	}
	poke(int64(block)*4096, bytes.Repeat([]byte{0x77}, 64)...)
	check("folder", "e2fsck: ")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := CheckClean(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
