package preflight

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/ingot-image/ingot/disk/image"
	"github.com/ingot-image/ingot/disk/inspect"
)

// tool runs a tool of somebody else, or skips the test where it is absent.
func tool(t testing.TB, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path = "/sbin/" + name
		if _, err := os.Stat(path); err != nil {
			t.Skipf("skipped: %s is not installed", name)
		}
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// gpt is an empty disk with partitions of the given sizes in MiB, the first at 1 MiB, and gives where each begins.
func gpt(t testing.TB, sizes ...int64) (file string, starts []int64) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "disk.raw")
	args, at := []string{}, int64(1)
	for i, size := range sizes {
		args = append(args, "-n", fmt.Sprintf("%d:%d:+%dM", i+1, at*2048, size))
		starts = append(starts, at<<20)
		at += size
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, (at+1)<<20); err != nil {
		t.Fatal(err)
	}
	tool(t, "sgdisk", append(args, file)...)
	return file, starts
}

// ext4 puts a file system of so many MiB with some files at an offset of a disk.
func ext4(t testing.TB, file string, at, mib int64, files map[string]string) {
	t.Helper()
	f := &fixture{files: files}
	tool(t, "mke2fs", "-q", "-F", "-t", "ext4", "-d", f.tree(t), "-E", fmt.Sprintf("offset=%d,nodiscard", at), file, fmt.Sprintf("%dm", mib))
}

// mounted mounts every file system that asks for it as the files of a folder.
func mounted(t testing.TB, files map[string]string) Options {
	t.Helper()
	folder := (&fixture{files: files}).tree(t)
	return Options{Inspect: inspect.Options{Mount: func(context.Context, image.Source, string, []string) (fs.FS, io.Closer, error) {
		root, err := os.OpenRoot(folder)
		if err != nil {
			return nil, nil, err
		}
		return root.FS(), root, nil
	}}}
}

// levels demands that a check fails as table 5.5 of the AWS reference says: with these levels for import-image, import-snapshot and ebs-direct.
func levels(t testing.TB, id, file string, levels [3]Level, where, seen string, o ...Options) {
	t.Helper()
	for i, path := range []Path{ImportImage, ImportSnapshot, EBSDirect} {
		fails(t, id, file, Request{Path: path}, levels[i], where, seen, o...)
	}
}

var (
	fatalOnImportImage = [3]Level{Fatal, Warning, Warning}
	alwaysWarning      = [3]Level{Warning, Warning, Warning}
	alwaysFatal        = [3]Level{Fatal, Fatal, Fatal}
)

func TestB01Table(t *testing.T) {
	raw := good().raw(t)
	passes(t, "B01", raw, Request{})
	grown := change(t, raw, func(f *os.File, size int64) { f.Truncate(size + 1<<20) })
	levels(t, "B01", grown, fatalOnImportImage, "sector 1312767", "the disk has grown")
	shrunk := change(t, raw, func(f *os.File, size int64) { f.Truncate(size - 1<<20) })
	levels(t, "B01", shrunk, fatalOnImportImage, "sector", "")
	levels(t, "B01", change(t, raw, func(f *os.File, _ int64) { poke(t, f, 512+60, 1) }), fatalOnImportImage, "sector 1", "first copy")
	levels(t, "B01", change(t, raw, func(f *os.File, size int64) { poke(t, f, size-512+60, 1) }), fatalOnImportImage, "sector", "second copy of the GPT is missing or damaged")
	empty := write(t, "disk.raw", make([]byte, 1<<20))
	levels(t, "B01", empty, fatalOnImportImage, "sector 1", "neither a partition table")

	plain := filepath.Join(t.TempDir(), "disk.raw")
	tool(t, "mke2fs", "-q", "-F", "-t", "ext4", plain, "8m")
	if f := fails(t, "B01", plain, Request{Path: ImportImage}, Fatal, "sector 0", "no partition table"); f.Prevents != noBootable || f.Fixable {
		t.Errorf("%+v", f)
	}
	table := make([]byte, 4<<20)
	copy(table[446:], "\x80\x00\x02\x00\x83\xff\xff\xff\x00\x08\x00\x00\x00\x08\x00\x00")
	table[510], table[511] = 0x55, 0xaa
	passes(t, "B01", write(t, "disk.raw", table), Request{Path: ImportImage})
	table[446] = 0
	levels(t, "B01", write(t, "disk.raw", table), alwaysWarning, "0x1be", "no partition is marked active")
	table[446+12+3] = 1 // its length
	levels(t, "B01", write(t, "disk.raw", table), alwaysFatal, "table", "beyond the disk")
}

func TestB02Root(t *testing.T) {
	raw := good().raw(t)
	passes(t, "B02", raw, Request{})
	f := good()
	f.files = map[string]string{"srv/data": "nothing"}
	levels(t, "B02", f.raw(t), fatalOnImportImage, "the disk", "no installed system was found: partition 15 is vfat")
	blank := change(t, raw, func(f *os.File, _ int64) { poke(t, f, 128<<20+1024+56, 0, 0) })
	levels(t, "B02", blank, fatalOnImportImage, "the disk", "partition 15 is vfat")

	// What this machine does not read may hold a system.
	file, starts := gpt(t, 320)
	part := filepath.Join(t.TempDir(), "part")
	if err := os.WriteFile(part, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(part, 320<<20); err != nil {
		t.Fatal(err)
	}
	tool(t, "mkfs.xfs", "-q", part)
	place(t, file, starts[0], part)
	ends(t, "B02", file, Request{}, Unknown, "partition 1 (xfs) could not be read")
	passes(t, "B02", file, Request{Path: ImportImage}, mounted(t, debian()))
}

// place copies a file to an offset of a disk, without its zeros.
func place(t testing.TB, file string, at int64, part string) {
	t.Helper()
	tool(t, "dd", "if="+part, "of="+file, "bs=1M", fmt.Sprintf("seek=%d", at>>20), "conv=notrunc,sparse", "status=none")
}

func TestB03Subvolumes(t *testing.T) {
	passes3 := func(id, file string, o Options) { t.Helper(); passes(t, id, file, Request{Path: ImportImage}, o) }
	file, starts := gpt(t, 320)
	part := filepath.Join(t.TempDir(), "part")
	if err := os.WriteFile(part, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(part, 320<<20); err != nil {
		t.Fatal(err)
	}
	tool(t, "mkfs.btrfs", "-q", part)
	place(t, file, starts[0], part)
	passes3("B03", file, mounted(t, debian()))
	inside := map[string]string{}
	for name, content := range debian() {
		inside["@/"+name] = content
	}
	levels(t, "B03", file, fatalOnImportImage, "partition 1", "/ is the subvolume @", mounted(t, inside))
	files := debian()
	files["etc/fstab"] = "/dev/sda1 / btrfs defaults 0 0\n/dev/sda1 /home btrfs subvolid=257 0 0\n"
	levels(t, "B03", file, fatalOnImportImage, "/etc/fstab:2", "/home is mounted by subvolid=257", mounted(t, files))
	ends(t, "B03", good().raw(t), Request{}, Skipped, "no Btrfs")
	ends(t, "B03", file, Request{}, Unknown, "")
}

func TestB04Encryption(t *testing.T) {
	raw := good().raw(t)
	passes(t, "B04", raw, Request{})
	luks := change(t, raw, func(f *os.File, _ int64) { poke(t, f, 1<<20, []byte("LUKS\xba\xbe\x00\x02")...) })
	levels(t, "B04", luks, fatalOnImportImage, "partition 14", "LUKS 2")
	locker := change(t, raw, func(f *os.File, _ int64) { poke(t, f, 1<<20, []byte("\xeb\x58\x90-FVE-FS-")...) })
	levels(t, "B04", locker, fatalOnImportImage, "partition 14", "BitLocker")
}

func TestB05Systems(t *testing.T) {
	passes(t, "B05", good().raw(t), Request{})
	file, starts := gpt(t, 16, 16)
	for i, id := range []string{"debian", "fedora"} {
		ext4(t, file, starts[i], 16, map[string]string{"etc/os-release": "ID=" + id + "\nPRETTY_NAME=\"" + id + " of the test\"\n"})
	}
	levels(t, "B05", file, fatalOnImportImage, "partition 1, partition 2", "debian of the test in partition 1, fedora of the test in partition 2")
	f := good()
	f.esp["EFI/Microsoft/Boot/bootmgfw.efi"] = append(peFile(0x8664), "bootmgfw.efi"...)
	levels(t, "B05", f.raw(t), fatalOnImportImage, "EFI/Microsoft", "Windows")
}

// unpacked expands a physical volume of package lvm's tests into a file.
func unpacked(t testing.TB, name string) string {
	t.Helper()
	f, err := os.Open(filepath.Join("../../disk/lvm/testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, name, data)
}

func TestB06LVM(t *testing.T) {
	ends(t, "B06", good().raw(t), Request{}, Skipped, "no LVM")
	file, starts := gpt(t, 64)
	place(t, file, starts[0], unpacked(t, "pv.img.zst"))
	passes(t, "B06", file, Request{Path: ImportImage})
	file, starts = gpt(t, 64)
	place(t, file, starts[0], unpacked(t, "first-of-two.img.zst"))
	levels(t, "B06", file, fatalOnImportImage, "two/there", "which is not on the disk")
}

func TestB07Clean(t *testing.T) {
	raw := good().raw(t)
	passes(t, "B07", raw, Request{})
	const super = 128<<20 + 1024
	recovery := change(t, raw, func(f *os.File, _ int64) { poke(t, f, super+0x60, 0xc6) }) // needs_recovery among the incompatible features
	for _, path := range []Path{ImportImage, ImportSnapshot, EBSDirect} {
		if f := fails(t, "B07", recovery, Request{Path: path}, Warning, "partition 1", "journal of ext4 waits"); !f.Fixable {
			t.Errorf("%+v", f)
		}
	}
	levels(t, "B07", change(t, raw, func(f *os.File, _ int64) { poke(t, f, super+0x3a, 0) }), alwaysWarning, "partition 1", "not cleanly unmounted")
}

func TestB08Space(t *testing.T) {
	passes(t, "B08", good().raw(t), Request{Path: ImportImage})
	f := good()
	f.size = 320 << 20
	levels(t, "B08", f.raw(t), fatalOnImportImage, "/, partition 1", "MB are free")
	// A small /boot is no reason for AWS to refuse the image.
	file, starts := gpt(t, 32, 400)
	files := debian()
	files["etc/fstab"] = "/dev/sda2 / ext4 defaults 0 1\n/dev/sda1 /boot ext4 defaults 0 2\n"
	for name := range files {
		if strings.HasPrefix(name, "boot/") {
			delete(files, name)
		}
	}
	files["boot/"] = ""
	ext4(t, file, starts[0], 32, map[string]string{"vmlinuz-" + fixtureKernel: bzImage(fixtureKernel)})
	ext4(t, file, starts[1], 400, files)
	levels(t, "B08", file, alwaysWarning, "/boot, partition 1", "MB are free")
}

func TestB09Last(t *testing.T) {
	raw := good().raw(t)
	passes(t, "B09", raw, Request{})
	more := change(t, raw, func(f *os.File, size int64) { f.Truncate(size + 16<<20) })
	tool(t, "sgdisk", "-e", "-n", "2:0:0", more)
	levels(t, "B09", more, alwaysWarning, "partition 2", "behind the root partition 1")
	plain := filepath.Join(t.TempDir(), "disk.raw")
	tool(t, "mke2fs", "-q", "-F", "-t", "ext4", "-d", good().tree(t), plain, "64m")
	ends(t, "B09", plain, Request{}, Skipped, "no partition")
}
