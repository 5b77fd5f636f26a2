package guest

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/disk"
)

const (
	sampleRoot   = "c0ffee00-1234-4abc-8def-000000000002" // UUID of the root file system
	sampleKernel = "6.1.0-25-cloud-amd64"
)

// Sample makes a raw disk of a Debian 12 with just so much in it that ImportImage takes it: a GPT, GRUB for BIOS and UEFI, a kernel's head and an empty
// initramfs. Its files may be changed before, by their paths; "-> TARGET" is a link. It gives the disk's path.
func Sample(tb testing.TB, change func(files map[string]string)) string {
	tb.Helper()
	for _, tool := range []string{"mke2fs", "mkfs.vfat", "mcopy"} {
		if _, err := (disk.Tool{Name: tool}).Find(); err != nil {
			tb.Skipf("skipped: %v", err)
		}
	}
	files := map[string]string{
		"usr/lib/os-release":              "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n",
		"etc/os-release":                  "-> ../usr/lib/os-release",
		"etc/fstab":                       "UUID=" + sampleRoot + " / ext4 defaults 0 1\n",
		"bin":                             "-> usr/bin",
		"usr/bin/sh":                      program(),
		"boot/vmlinuz-" + sampleKernel:    kernelHead(sampleKernel),
		"boot/initrd.img-" + sampleKernel: archive("init"),
		"boot/grub/grub.cfg": "set default=0\nmenuentry 'Debian' {\n\tlinux /boot/vmlinuz-" + sampleKernel + " root=UUID=" + sampleRoot + "\n\tinitrd /boot/initrd.img-" +
			sampleKernel + "\n}\n",
	}
	if change != nil {
		change(files)
	}
	root := tb.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if target, link := strings.CutPrefix(content, "-> "); err == nil && link {
			err = os.Symlink(target, path)
		} else if err == nil {
			err = os.WriteFile(path, []byte(content), 0o755)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	boot, core := make([]byte, 512), make([]byte, 4096)
	copy(boot[0x180:], "GRUB \x00Geom\x00Hard Disk\x00Read\x00 Error")
	boot[510], boot[511] = 0x55, 0xaa
	copy(core, "R\xe8loading\x00")
	copy(core[512:], "the rest of the core image")
	layout := disk.Hybrid{Size: 640 << 20, DiskGUID: "11111111-2222-4333-8444-555555555556", BIOSGUID: "aaaaaaaa-0000-4000-8000-000000000024",
		ESPGUID: "aaaaaaaa-0000-4000-8000-000000000025", RootGUID: "aaaaaaaa-0000-4000-8000-000000000021", RootUUID: sampleRoot, ESPSerial: 0x12345678}
	path := filepath.Join(tb.TempDir(), "disk.raw")
	if err := layout.Partition(path); err != nil {
		tb.Fatal(err)
	}
	if err := layout.MakeRoot(tb.Context(), path, root); err != nil {
		tb.Fatal(err)
	}
	if err := layout.InstallBoot(tb.Context(), path, disk.BootFiles{Boot: boot, Core: core, ESP: map[string][]byte{"EFI/BOOT/BOOTX64.EFI": loader()}}); err != nil {
		tb.Fatal(err)
	}
	return path
}

// Windows makes a raw disk with just so much of a Windows on it as its boot code shows: an active partition with the boot sector of an NTFS (Microsoft, "How NTFS
// Works", NTFS boot sector). It gives the disk's path.
func Windows(tb testing.TB) string {
	tb.Helper()
	const sector, start, sectors = 512, 2048, 60 << 11
	disk := make([]byte, 64<<20)
	copy(disk, "\x33\xc0\x8e\xd0")
	copy(disk[0x163:], "Invalid partition table\x00Error loading operating system\x00Missing operating system")
	entry := disk[446:]
	entry[0], entry[4] = 0x80, 7
	binary.LittleEndian.PutUint32(entry[8:], start)
	binary.LittleEndian.PutUint32(entry[12:], sectors)
	volume := disk[start*sector:]
	copy(volume, "\xeb\x52\x90NTFS    ")
	binary.LittleEndian.PutUint16(volume[11:], sector)
	volume[13], volume[21] = 8, 0xf8
	binary.LittleEndian.PutUint64(volume[40:], sectors-1)
	binary.LittleEndian.PutUint64(volume[48:], 4)
	binary.LittleEndian.PutUint64(volume[56:], 8)
	volume[64], volume[68] = 0xf6, 1
	binary.LittleEndian.PutUint64(volume[72:], 0x0123456789abcdef)
	copy(volume[0x180:], "BOOTMGR is missing")
	for _, signed := range [][]byte{disk, volume} {
		signed[510], signed[511] = 0x55, 0xaa
	}
	path := filepath.Join(tb.TempDir(), "windows.raw")
	if err := os.WriteFile(path, disk, 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// kernelHead is the head of a kernel for x86-64 (Linux, Documentation/arch/x86/boot.rst).
func kernelHead(version string) string {
	b := make([]byte, 4096)
	b[510], b[511] = 0x55, 0xaa
	copy(b[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(b[0x206:], 0x20f)
	binary.LittleEndian.PutUint16(b[0x236:], 1)
	binary.LittleEndian.PutUint16(b[0x20e:], 0x600)
	copy(b[0x800:], version+" (somebody@somewhere) #1 SMP\x00")
	return string(b)
}

// archive is a cpio archive of files that hold "abc" (cpio(5), new ASCII format).
func archive(names ...string) string {
	var b strings.Builder
	for _, name := range append(names, "TRAILER!!!") {
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", 1, 0o100644, 0, 0, 1, 0, 3, 0, 0, 0, 0, len(name)+1, 0)
		b.WriteString(name + strings.Repeat("\x00", 1+(4-(110+len(name)+1)%4)%4) + "abc\x00")
	}
	return b.String()
}

// program is the head of a program for x86-64.
func program() string {
	b := make([]byte, 120)
	copy(b, "\x7fELF\x02\x01\x01")
	b[16] = 2
	binary.LittleEndian.PutUint16(b[18:], 62)
	return string(b)
}

// loader is the head of a program for UEFI on x86-64.
func loader() []byte {
	b := make([]byte, 1024)
	copy(b, "MZ")
	binary.LittleEndian.PutUint32(b[0x3c:], 0x80)
	copy(b[0x80:], "PE\x00\x00")
	binary.LittleEndian.PutUint16(b[0x84:], 0x8664)
	binary.LittleEndian.PutUint16(b[0x94:], 240)
	binary.LittleEndian.PutUint16(b[0x98:], 0x20b)
	return b
}
