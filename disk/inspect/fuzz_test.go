package inspect

import (
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/disk/image"
)

// patched is a disk with other bytes in two places.
type patched struct {
	disk  memory
	at    [2]int64
	patch [2][]byte
}

func (p patched) Size() int64 { return int64(len(p.disk)) }
func (p patched) ReadAt(b []byte, off int64) (int, error) {
	n, err := p.disk.ReadAt(b, off)
	for k := range p.patch {
		for i, c := range p.patch[k] {
			if j := p.at[k] + int64(i) - off; j >= 0 && j < int64(n) {
				b[j] = c
			}
		}
	}
	return n, err
}
func (p patched) Extents(ctx context.Context, f func(image.Extent) error) error {
	return p.disk.Extents(ctx, f)
}

// quick fails what takes longer than a small disk can justify.
func quick(t *testing.T, most time.Duration) func() {
	start := time.Now()
	return func() {
		if d := time.Since(start); d > most {
			t.Errorf("took %v", d)
		}
	}
}

// fuzzDisks are small disks with much on them.
func fuzzDisks(f *testing.F) []memory {
	files := debian(f)
	root := filepath.Join(f.TempDir(), "root")
	output(f, "mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-N", "160", "-O", "^has_journal,^resize_inode", "-d", tree(f, files), root, "400k")
	boot := filepath.Join(f.TempDir(), "mbr")
	os.WriteFile(boot, nil, 0o600)
	os.Truncate(boot, 1<<20)
	script := filepath.Join(f.TempDir(), "script")
	os.WriteFile(script, []byte("label: dos\nlabel-id: 0x12345678\nstart=64, size=800, type=ef\nstart=900, size=5, type=5\nstart=1000, size=900, type=83, bootable\n"), 0o600)
	output(f, "sh", "-c", "/sbin/sfdisk -q --force "+boot+" < "+script)
	rpm := map[string]string{"etc/os-release": "ID=x\n", "var/lib/rpm/Packages.db": string(rpmNDBFile(rpmPackages...)), "boot/grub/menu.lst": "default 0\ntitle A\nkernel /vmlinuz x\n", "etc/fstab": "PARTUUID=12345678-01 /boot vfat x\n"}
	output(f, "mke2fs", "-q", "-F", "-t", "ext2", "-N", "32", "-E", "offset=512000", "-d", tree(f, rpm), boot, "450k")
	output(f, "mkfs.vfat", "--offset", "64", "-F", "12", boot, "400")
	loader := filepath.Join(tree(f, map[string]string{"BOOTX64.EFI": peFile(0x8664, commonName("Some CA"), map[string]string{".sbat": sbat, "mods": "x"})}), "BOOTX64.EFI")
	output(f, "mmd", "-i", boot+"@@32768", "::EFI", "::EFI/BOOT")
	output(f, "mcopy", "-i", boot+"@@32768", loader, "::EFI/BOOT/")
	bdb := filepath.Join(f.TempDir(), "bdb")
	output(f, "mke2fs", "-q", "-F", "-t", "ext2", "-N", "32", "-d", tree(f, map[string]string{"etc/os-release": "ID=x\n", "var/lib/rpm/Packages": string(rpmBDBFile(rpmPackages...))}), bdb, "200k")
	var disks []memory
	for _, path := range []string{root, boot, bdb} {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		disks = append(disks, b)
	}
	return disks
}

// FuzzInspect damages small disks: the fuzzer chooses where and with what, which finds more than bytes from nothing.
func FuzzInspect(f *testing.F) {
	disks := fuzzDisks(f)
	for i, d := range disks {
		if r, err := Inspect(f.Context(), d, Options{}); err != nil || r.System == nil || r.System.Packages.Manager == "" || len(r.System.Packages.List) == 0 {
			f.Fatalf("disk %d: %+v, %v", i, r, err)
		}
		f.Add(byte(i), uint32(0), []byte{}, uint32(0), []byte{})
		f.Add(byte(i), uint32(446), []byte{0x80, 0, 0, 0, 5, 0, 0, 0, 1}, uint32(1024), []byte{16, 0, 0, 0})
		f.Add(byte(i), uint32(0x438), []byte("\x53\xef\x01\x00"), uint32(5*1024), []byte{0xff, 0xff, 0xff, 0xff})
		f.Add(byte(i), uint32(512), []byte("EFI PART"), uint32(0), []byte("XFSB"))
		for _, word := range []string{"Package: ", "menuentry", "070701", "HdrS", "RpmP", "BlbS", "PE\x00\x00", "UUID="} { // where texts are
			if at := strings.Index(string(d), word); at >= 0 {
				f.Add(byte(i), uint32(at), []byte("\xff\xff\xff\xff"), uint32(at+20), []byte("\n{\n\x00\xff"))
			}
		}
	}
	disks = append(disks, forgedGPT())
	f.Add(byte(len(disks)-1), uint32(0), []byte{}, uint32(0), []byte{})
	f.Fuzz(func(t *testing.T, which byte, at uint32, patch []byte, at2 uint32, patch2 []byte) {
		d := disks[int(which)%len(disks)]
		src := patched{d, [2]int64{int64(at) % int64(len(d)), int64(at2) % int64(len(d))}, [2][]byte{patch, patch2}}
		defer quick(t, 10*time.Second)()
		r, err := Inspect(t.Context(), src, Options{})
		if err == nil {
			for _, s := range r.FileSystems {
				if s.Space != nil && (s.Space.Free < 0 || s.Space.Used < 0 || s.Space.Free+s.Space.Used != s.Space.Size) {
					t.Errorf("%+v", s.Space)
				}
			}
		}
		root, err := OpenRoot(t.Context(), src, Options{})
		if err != nil {
			return
		}
		defer root.Close()
		n := 0
		fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
			if n++; err != nil || n > 200 {
				return fs.SkipAll
			}
			root.ReadLink(name)
			root.Stat(name)
			return nil
		})
	})
}

// FuzzInitrd reads whatever as an initial RAM disk.
func FuzzInitrd(f *testing.F) {
	for _, s := range []string{cpio("a/b.ko"), gzipped(cpio("a/b.ko")), cpio("x") + strings.Repeat("\x00", 600) + zstandard(f, cpio("y.ko.xz")), "BZh9"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		defer quick(t, 10*time.Second)()
		budget := int64(8 << 20)
		rootOfFiles(map[string][]byte{"i": b}).readInitrd("i", &budget)
	})
}

// FuzzEFILoader reads whatever as a program for UEFI.
func FuzzEFILoader(f *testing.F) {
	f.Add([]byte(peFile(0x8664, commonName("CA"), map[string]string{".sbat": sbat, ".linux": "x", "mods": "x"})))
	f.Add([]byte(peFile(0xaa64, append(commonName("CA"), 0x06, 0x03, 0x55, 0x04, 0x03, 0x1e, 3, 0, 'h', 0), nil)))
	f.Add([]byte(smallEFI()))
	f.Fuzz(func(t *testing.T, b []byte) {
		l := EFILoader{Size: int64(len(b)), Loader: "unknown"}
		_ = l.parse(strings.NewReader(string(b)))
	})
}

// FuzzRPM reads whatever as databases and headers of rpm.
func FuzzRPM(f *testing.F) {
	f.Add(byte(0), rpmPackages[1])
	f.Add(byte(1), rpmNDBFile(rpmPackages...))
	f.Add(byte(2), rpmBDBFile(rpmPackages...))
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		defer quick(t, 10*time.Second)()
		r := rootOfFiles(map[string][]byte{"db": b})
		read := func([]byte) error { return nil }
		switch kind % 3 {
		case 0:
			_, _ = rpmHeader(b)
		case 1:
			_ = rpmNDB(t.Context(), r, "db", read)
		case 2:
			_ = rpmBDB(t.Context(), r, "db", read)
		}
	})
}

// FuzzBootConfig reads whatever as configurations of boot loaders.
func FuzzBootConfig(f *testing.F) {
	f.Add([]byte("set default=\"${saved_entry}\"\nmenuentry 'A' --id a {\n linux /vmlinuz x=\"y z\"\n initrd /i\n}\n"))
	f.Add([]byte("default 0\ntitle A\nkernel (hd0,0)/vmlinuz x\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		defer quick(t, 10*time.Second)()
		var boot Boot
		rootOfFiles(map[string][]byte{"boot/grub/grub.cfg": b, "boot/grub/menu.lst": b, "boot/extlinux.conf": b, "boot/loader/entries/a.conf": b, "boot/grub/grubenv": append([]byte("# GRUB Environment Block\n"), b...)}).bootConfigs(&boot)
		if len(boot.Entries) > maxEntries {
			t.Errorf("%d entries", len(boot.Entries))
		}
	})
}

var _ io.ReaderAt = patched{}
