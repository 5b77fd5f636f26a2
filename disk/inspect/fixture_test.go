package inspect

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/disk/image"
)

// output runs a tool of somebody else, or skips the test where it is absent.
func output(t testing.TB, tool string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		path = "/sbin/" + tool
		if _, err := os.Stat(path); err != nil {
			t.Skipf("skipped: %s is not installed", tool)
		}
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "MTOOLSRC=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", tool, args, err, out)
	}
	return string(out)
}

// memory is a disk in memory.
type memory []byte

func (m memory) Size() int64 { return int64(len(m)) }
func (m memory) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m).ReadAt(p, off)
}
func (m memory) Extents(_ context.Context, f func(image.Extent) error) error {
	if len(m) == 0 {
		return nil
	}
	return f(image.Extent{Start: 0, Size: int64(len(m))})
}

func openDisk(t testing.TB, path string) image.Source {
	t.Helper()
	f, err := image.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// tree writes files into a folder; "-> target" is a link.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		err := error(nil)
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = os.Symlink(target, path)
		} else if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(path, 0o755)
		} else {
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const (
	rootUUID = "c0ffee00-1234-4abc-8def-000000000001"
	kernelV  = "6.1.0-9-cloud-amd64"
)

// bzImage is the head of a kernel.
func bzImage(version string) string {
	b := make([]byte, 4096)
	b[510], b[511] = 0x55, 0xaa
	copy(b[0x202:], "HdrS")
	le := binary.LittleEndian
	le.PutUint16(b[0x206:], 0x20f)
	le.PutUint16(b[0x236:], 1)
	le.PutUint16(b[0x20e:], 0x600)
	copy(b[0x800:], version+" (somebody@somewhere) #1 SMP\x00")
	return string(b)
}

// cpio is an archive of empty files.
func cpio(names ...string) string {
	var b strings.Builder
	for _, name := range append(names, "TRAILER!!!") {
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", 1, 0o100644, 0, 0, 1, 0, 3, 0, 0, 0, 0, len(name)+1, 0)
		b.WriteString(name + "\x00" + strings.Repeat("\x00", int(pad(int64(110+len(name)+1)))) + "abc\x00")
	}
	return b.String()
}

func zstandard(t testing.TB, s string) string {
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(e.EncodeAll([]byte(s), nil))
}

func gzipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, s)
	w.Close()
	return b.String()
}

// elf is the head of a program for x86-64.
var elf = "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x02\x00\x3e\x00" + strings.Repeat("\x00", 100)

// debian are the files of a small Debian.
func debian(t testing.TB) map[string]string {
	return map[string]string{
		"usr/lib/os-release": "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nVERSION=\"12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\n",
		"etc/os-release":     "-> ../usr/lib/os-release",
		"etc/debian_version": "12.9\n",
		"lib":                "-> usr/lib", "bin": "-> usr/bin", "sbin": "-> usr/sbin",
		"usr/bin/dash": elf, "usr/bin/sh": "-> dash",
		"usr/sbin/init":               "-> /lib/systemd/systemd",
		"usr/lib/systemd/systemd":     elf,
		"boot/vmlinuz-" + kernelV:     bzImage(kernelV),
		"boot/initrd.img-" + kernelV:  cpio("kernel/x86/microcode/x.bin") + strings.Repeat("\x00", 512) + zstandard(t, cpio("usr/lib/modules/x/kernel/drivers/nvme/host/nvme.ko", "init")),
		"boot/vmlinuz-6.1.0-10-amd64": bzImage("6.1.0-10-amd64"),
		"boot/System.map":             "nothing",
		"boot/grub/grub.cfg": `set timeout=5
set default="0"
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple' {
	linux /boot/vmlinuz-` + kernelV + ` root=UUID=` + rootUUID + ` ro net.ifnames=0 console=ttyS0
	initrd /boot/initrd.img-` + kernelV + `
}
submenu 'Advanced' {
	menuentry 'Debian, newer' --id newer {
		linux	/boot/vmlinuz-6.1.0-10-amd64 root=/dev/vda1
	}
}
`,
		"usr/lib/modules/" + kernelV + "/modules.dep":     "kernel/drivers/net/ethernet/amazon/ena/ena.ko.xz:\nkernel/drivers/block/xen-blkfront.ko:\nkernel/drivers/nvme/host/nvme.ko: kernel/drivers/nvme/host/nvme-core.ko\n",
		"usr/lib/modules/" + kernelV + "/modules.builtin": "kernel/fs/ext4/ext4.ko\n",
		"etc/fstab":           "# comment\nUUID=" + rootUUID + " / ext4 defaults 0 1\nUUID=1234-5678\t/boot/efi vfat umask=0077 0 2\n/dev/vdb1 /data\\040disk xfs defaults 0 0\n/dev/vda1 /mnt ext4 noauto\ntmpfs /tmp tmpfs defaults\n",
		"boot/efi/":           "",
		"var/lib/dpkg/status": "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2-1\nDescription: shell\n with: colons\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n\nPackage: adduser\nStatus: install ok installed\nArchitecture: all\nVersion: 3.134\n",
		"usr/bin/cloud-init":  "#!/usr/bin/python3",
		"etc/systemd/system/cloud-init.target.wants/cloud-init.service": "-> /lib/systemd/system/cloud-init.service",
		"etc/cloud/cloud.cfg":               "datasource_list: [ NoCloud ]\n",
		"etc/cloud/cloud.cfg.d/90_dpkg.cfg": "# x\ndatasource_list: [ Ec2, \"None\" ]\n",
		"usr/sbin/sshd":                     elf,
		"etc/systemd/system/multi-user.target.wants/ssh.service": "-> /lib/systemd/system/ssh.service",
		"etc/systemd/system/multi-user.target.wants/off.service": "-> /lib/systemd/system/off.service",
		"etc/systemd/system/off.service":                         "-> /dev/null",
		"etc/ssh/ssh_host_ed25519_key":                           "secret",
		"etc/ssh/sshd_config":                                    "Include x\nPermitRootLogin no\nPermitRootLogin yes\n#PasswordAuthentication yes\n",
		"etc/systemd/network/20.network":                         "[Match]\nName=en*\n[Network]\nDHCP=yes\n",
		"etc/systemd/network/10-fixed.network":                   "[Match]\nMACAddress=52:54:00:12:34:56\n[Network]\nAddress=10.0.0.5/24\n",
		"etc/machine-id":                                         "0123456789abcdef0123456789abcdef\n",
		"etc/passwd":                                             "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/:/usr/sbin/nologin\nadmin:x:1000:1000::/home/admin:/bin/bash\n",
		"etc/shadow":                                             "root:*:19000::::::\ndaemon:*:1::::::\nadmin:$y$j9T$salt$hash:19000::::::\n",
		"home/admin/.ssh/authorized_keys":                        "# none\nssh-ed25519 AAAA admin\n",
		"home/admin/.ssh/id_rsa":                                 "-----BEGIN OPENSSH PRIVATE KEY-----\n",
		"root/.bash_history":                                     "ls\n",
		"usr/bin/growpart":                                       "#!/bin/sh",
		"escape":                                                 "-> ../../../../../../etc/passwd",
		"loop":                                                   "-> loop",
	}
}

// peFile is a program for UEFI with the given sections.
func peFile(machine uint16, signature []byte, sections map[string]string) string {
	le := binary.LittleEndian
	b := make([]byte, 1024)
	copy(b, "MZ")
	le.PutUint32(b[0x3c:], 0x80)
	copy(b[0x80:], "PE\x00\x00")
	le.PutUint16(b[0x84:], machine)
	le.PutUint16(b[0x86:], uint16(len(sections)))
	le.PutUint16(b[0x94:], 240)
	le.PutUint16(b[0x98:], 0x20b)
	at := 0x98 + 240
	var body []byte
	for name, content := range sections {
		copy(b[at:], name)
		le.PutUint32(b[at+16:], uint32(len(content)))
		le.PutUint32(b[at+20:], uint32(1024+len(body)))
		body = append(body, content...)
		at += 40
	}
	b = append(b, body...)
	if signature != nil {
		le.PutUint32(b[0x98+112+32:], uint32(len(b)))
		le.PutUint32(b[0x98+112+36:], uint32(8+len(signature)))
		head := make([]byte, 8)
		le.PutUint32(head, uint32(8+len(signature)))
		le.PutUint16(head[4:], 0x200)
		le.PutUint16(head[6:], 2)
		b = append(append(b, head...), signature...)
	}
	return string(b)
}

func commonName(s string) []byte {
	return append([]byte{0x06, 0x03, 0x55, 0x04, 0x03, 0x13, byte(len(s))}, s...)
}

const sbat = "sbat,1,SBAT Version,sbat,1,https://example.com\nshim,4,UEFI shim,shim,1,https://example.com\nshim.debian,1,Debian,shim,15.8,https://example.com\n"

// hybrid makes a disk as package disk does, with a small Debian on it.
func hybrid(t testing.TB, files map[string]string) string {
	t.Helper()
	h := disk.Hybrid{Size: 320 << 20, DiskGUID: "11111111-2222-4333-8444-555555555555",
		BIOSGUID: "aaaaaaaa-0000-4000-8000-000000000014", ESPGUID: "aaaaaaaa-0000-4000-8000-000000000015",
		RootGUID: "aaaaaaaa-0000-4000-8000-000000000001", RootUUID: rootUUID, ESPSerial: 0x12345678}
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := h.Partition(path); err != nil {
		t.Fatal(err)
	}
	for _, tool := range []string{"mke2fs", "mkfs.vfat", "mcopy"} {
		if _, err := (disk.Tool{Name: tool}).Find(); err != nil {
			t.Skipf("skipped: %v", err)
		}
	}
	if err := h.MakeRoot(t.Context(), path, tree(t, files)); err != nil {
		t.Fatal(err)
	}
	boot, core := make([]byte, 512), make([]byte, 4096)
	copy(boot[0x180:], "GRUB \x00Geom\x00Hard Disk\x00Read\x00 Error")
	boot[510], boot[511] = 0x55, 0xaa
	copy(core, "R\xe8loading\x00")
	copy(core[512:], "the rest of the core image")
	err := h.InstallBoot(t.Context(), path, disk.BootFiles{Boot: boot, Core: core, ESP: map[string][]byte{
		"EFI/BOOT/BOOTX64.EFI":   []byte(peFile(0x8664, commonName("Microsoft Corporation UEFI CA 2011"), map[string]string{".sbat": sbat})),
		"EFI/BOOT/grubx64.efi":   []byte(peFile(0x8664, nil, map[string]string{"mods": "modules", ".sbat": "grub,3,Free Software Foundation,grub,2.06,x\ngrub.debian,4,Debian,grub2,2.06-13,x\n"})),
		"EFI/debian/notpe.efi":   []byte("text"),
		"EFI/debian/grub.cfg":    []byte("configfile\n"),
		"EFI/systemd/sdboot.efi": []byte(peFile(0xaa64, nil, map[string]string{".sdmagic": "#### LoaderInfo: systemd-boot 252.30-1 ####"})),
	}})
	if err != nil {
		t.Fatal(err)
	}
	return path
}
