package preflight

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/disk"
)

const (
	fixtureRoot   = "c0ffee00-1234-4abc-8def-000000000001" // UUID of the root file system
	fixtureKernel = "6.1.0-25-cloud-amd64"
	fixtureLine   = "root=UUID=" + fixtureRoot + " ro net.ifnames=0 biosdevname=0 nvme_core.io_timeout=4294967295 console=tty0 console=ttyS0,115200n8"
)

// fixture is a small disk of a Debian 12 that passes every check on every path: a GPT, GRUB for BIOS and UEFI, a kernel with its initrd, cloud-init. A test
// changes one thing and makes it:
//
//	f := good()
//	f.files["etc/fstab"] = "/dev/vda1 / ext4 defaults 0 1\n"
//	fails(t, "E01", f.raw(t), Request{}, Fatal, "/etc/fstab:1", "/dev/vda1")
//	passes(t, "E01", good().raw(t), Request{})
type fixture struct {
	// files of the root file system by path without a leading slash: "-> TARGET" is a link, a name that ends in a slash a folder. What begins with "+x " is
	// a program of the rest. A missing key is a missing file.
	files      map[string]string
	modes      map[string]os.FileMode // other than 0644
	esp        map[string][]byte      // files of the EFI system partition
	boot, core []byte                 // GRUB's boot code and core image
	size       int64                  // of the disk in bytes
}

// good is the fixture as it passes.
func good() *fixture {
	boot, core := make([]byte, 512), make([]byte, 4096)
	copy(boot[0x180:], "GRUB \x00Geom\x00Hard Disk\x00Read\x00 Error")
	boot[510], boot[511] = 0x55, 0xaa
	copy(core, "R\xe8loading\x00")
	copy(core[512:], "the rest of the core image")
	return &fixture{files: debian(), modes: map[string]os.FileMode{"etc/shadow": 0o640}, boot: boot, core: core, size: 640 << 20,
		esp: map[string][]byte{
			"EFI/BOOT/BOOTX64.EFI": peFile(0x8664),
			"EFI/debian/grub.cfg":  []byte("search.fs_uuid " + fixtureRoot + " root\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n"),
		}}
}

// debian are the files of a small Debian 12.
func debian() map[string]string {
	modules := "usr/lib/modules/" + fixtureKernel + "/"
	return map[string]string{
		"usr/lib/os-release": "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nVERSION=\"12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\n",
		"etc/os-release":     "-> ../usr/lib/os-release",
		"etc/debian_version": "12.7\n",
		"lib":                "-> usr/lib", "bin": "-> usr/bin", "sbin": "-> usr/sbin",
		"usr/bin/dash": "+x " + elf(62), "usr/bin/sh": "-> dash",
		"usr/sbin/init":                    "-> /lib/systemd/systemd",
		"usr/lib/systemd/systemd":          "+x " + elf(62),
		"boot/vmlinuz-" + fixtureKernel:    bzImage(fixtureKernel),
		"boot/initrd.img-" + fixtureKernel: initramfs("nvme/host/nvme.ko", "nvme/host/nvme-core.ko", "block/xen-blkfront.ko", "net/xen-netfront.ko", "net/ethernet/amazon/ena/ena.ko"),
		"boot/grub/grub.cfg":               grubConfig("/boot/vmlinuz-"+fixtureKernel, "/boot/initrd.img-"+fixtureKernel, fixtureLine),
		"boot/efi/":                        "",
		modules + "modules.dep": "kernel/drivers/net/ethernet/amazon/ena/ena.ko:\nkernel/drivers/block/xen-blkfront.ko:\nkernel/drivers/net/xen-netfront.ko:\n" +
			"kernel/drivers/nvme/host/nvme.ko: kernel/drivers/nvme/host/nvme-core.ko\nkernel/drivers/nvme/host/nvme-core.ko:\n",
		modules + "modules.builtin": "kernel/fs/ext4/ext4.ko\n",
		"etc/fstab":                 "UUID=" + fixtureRoot + " / ext4 defaults 0 1\nUUID=1234-5678 /boot/efi vfat umask=0077,nofail 0 2\n",
		"var/lib/dpkg/status": "Package: cloud-init\nStatus: install ok installed\nArchitecture: all\nVersion: 22.4.2-1\n\n" +
			"Package: openssh-server\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:9.2p1-2\n\nPackage: chrony\nStatus: install ok installed\nArchitecture: amd64\nVersion: 4.3-2\n",
		"usr/bin/cloud-init": "+x #!/usr/bin/python3\n",
		"usr/lib/systemd/system-generators/cloud-init-generator":        "+x #!/bin/sh\n",
		"etc/systemd/system/cloud-init.target.wants/cloud-init.service": "-> /lib/systemd/system/cloud-init.service",
		"etc/cloud/cloud.cfg": "users:\n - default\ndisable_root: true\nsystem_info:\n  default_user:\n    name: admin\n",
		"usr/sbin/sshd":       "+x " + elf(62),
		"etc/systemd/system/multi-user.target.wants/ssh.service": "-> /lib/systemd/system/ssh.service",
		"etc/ssh/sshd_config":            "PasswordAuthentication no\n",
		"etc/systemd/network/20.network": "[Match]\nName=en* eth*\n[Network]\nDHCP=yes\n",
		"etc/systemd/system/multi-user.target.wants/systemd-networkd.service": "-> /lib/systemd/system/systemd-networkd.service",
		"etc/systemd/system/getty.target.wants/serial-getty@ttyS0.service":    "-> /lib/systemd/system/serial-getty@.service",
		"etc/systemd/system/multi-user.target.wants/chrony.service":           "-> /lib/systemd/system/chrony.service",
		"etc/chrony/chrony.conf": "server 169.254.169.123 prefer iburst\n",
		"etc/machine-id":         "",
		"etc/passwd":             "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/:/usr/sbin/nologin\n",
		"etc/shadow":             "root:*:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\n",
		"etc/group":              "root:x:0:\nsudo:x:27:\n",
		"usr/bin/growpart":       "+x #!/bin/sh\n",
		"usr/sbin/resize2fs":     "+x " + elf(62),
		"root/":                  "",
		"tmp/":                   "",
		"var/log/":               "",
	}
}

// hybrid is how the fixture's disk is laid out: root in partition 1, the last on the disk, BIOS boot in 14, ESP in 15.
func (f *fixture) hybrid() disk.Hybrid {
	return disk.Hybrid{Size: f.size, DiskGUID: "11111111-2222-4333-8444-555555555555",
		BIOSGUID: "aaaaaaaa-0000-4000-8000-000000000014", ESPGUID: "aaaaaaaa-0000-4000-8000-000000000015",
		RootGUID: "aaaaaaaa-0000-4000-8000-000000000001", RootUUID: fixtureRoot, ESPSerial: 0x12345678}
}

// raw makes the disk, sparse, and gives its path: disk.raw in a folder of the test's.
func (f *fixture) raw(t testing.TB) string {
	t.Helper()
	for _, tool := range []string{"mke2fs", "mkfs.vfat", "mcopy"} {
		if _, err := (disk.Tool{Name: tool}).Find(); err != nil {
			t.Skipf("skipped: %v", err)
		}
	}
	path, h := filepath.Join(t.TempDir(), "disk.raw"), f.hybrid()
	if err := h.Partition(path); err != nil {
		t.Fatal(err)
	}
	if err := h.MakeRoot(t.Context(), path, f.tree(t)); err != nil {
		t.Fatal(err)
	}
	if err := h.InstallBoot(t.Context(), path, disk.BootFiles{Boot: f.boot, Core: f.core, ESP: f.esp}); err != nil {
		t.Fatal(err)
	}
	return path
}

// as makes the disk in another format, with the extension of that.
func (f *fixture) as(t testing.TB, format disk.Format) string {
	t.Helper()
	return convert(t, f.raw(t), format)
}

// convert writes a raw disk in another format beside it.
func convert(t testing.TB, raw string, format disk.Format) string {
	t.Helper()
	path := strings.TrimSuffix(raw, ".raw") + format.Extension()
	d, err := disk.Open(t.Context(), raw, disk.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := disk.Write(t.Context(), d, disk.WriteOptions{}, disk.Output{Path: path, Format: format}); err != nil {
		t.Fatal(err)
	}
	return path
}

// tree writes the files of the root file system into a folder.
func (f *fixture) tree(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range f.files {
		path, mode := filepath.Join(root, name), os.FileMode(0o644)
		if m, ok := f.modes[name]; ok {
			mode = m
		}
		if program, ok := strings.CutPrefix(content, "+x "); ok {
			content, mode = program, 0o755
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		err := error(nil)
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = os.Symlink(target, path)
		} else if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(path, 0o755)
		} else if err = os.WriteFile(path, []byte(content), mode); err == nil {
			err = os.Chmod(path, mode) // whatever the umask
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// grubConfig is a menu of one entry.
func grubConfig(kernel, initrd, options string) string {
	return fmt.Sprintf("serial --unit=0 --speed=115200\nterminal_input serial console\nterminal_output serial console\nset timeout=5\nset default=\"0\"\n"+
		"menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple' {\n\tlinux %s %s\n\tinitrd %s\n}\n", kernel, options, initrd)
}

// bzImage is the head of a kernel for x86-64: Linux Documentation/arch/x86/boot.rst.
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

// initramfs is a cpio archive with the modules of the fixture's kernel, by their files below drivers.
func initramfs(modules ...string) string {
	names := []string{"init"}
	for _, m := range modules {
		names = append(names, "usr/lib/modules/"+fixtureKernel+"/kernel/drivers/"+m)
	}
	return cpio(names...)
}

// cpio is an archive of files that hold "abc": cpio(5), new ASCII format.
func cpio(names ...string) string {
	var b strings.Builder
	for _, name := range append(names, "TRAILER!!!") {
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", 1, 0o100644, 0, 0, 1, 0, 3, 0, 0, 0, 0, len(name)+1, 0)
		b.WriteString(name + strings.Repeat("\x00", 1+(4-(110+len(name)+1)%4)%4) + "abc\x00")
	}
	return b.String()
}

// elf is the head of a program for a machine: 62 is x86-64, 183 AArch64.
func elf(machine uint16) string {
	b := make([]byte, 120)
	copy(b, "\x7fELF\x02\x01\x01")
	b[16] = 2
	binary.LittleEndian.PutUint16(b[18:], machine)
	return string(b)
}

// peFile is the head of a program for UEFI: 0x8664 is x86-64, 0xaa64 AArch64.
func peFile(machine uint16) []byte {
	le := binary.LittleEndian
	b := make([]byte, 1024)
	copy(b, "MZ")
	le.PutUint32(b[0x3c:], 0x80)
	copy(b[0x80:], "PE\x00\x00")
	le.PutUint16(b[0x84:], machine)
	le.PutUint16(b[0x94:], 240)
	le.PutUint16(b[0x98:], 0x20b)
	return b
}

// run opens an image and carries out one check.
func run(t testing.TB, id, file string, r Request, o ...Options) []Finding {
	t.Helper()
	o = append(o, Options{})
	target, err := Open(t.Context(), file, r, o[0])
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	return runOn(t, id, target)
}

// runOn carries out one check of a target.
func runOn(t testing.TB, id string, target *Target) []Finding {
	t.Helper()
	for _, c := range Checks() {
		if c.ID == id {
			findings, err := c.run(context.Background(), target)
			if err != nil {
				t.Fatal(err)
			}
			return findings
		}
	}
	t.Fatalf("there is no check %s", id)
	return nil
}

// passes demands that a check of an image passes.
func passes(t testing.TB, id, file string, r Request, o ...Options) {
	t.Helper()
	ends(t, id, file, r, Passed, "", o...)
}

// ends demands that a check of an image ends in a status, for a reason that holds a text.
func ends(t testing.TB, id, file string, r Request, want Status, reason string, o ...Options) {
	t.Helper()
	found := run(t, id, file, r, o...)
	if len(found) != 1 || found[0].Status != want || !strings.Contains(found[0].Reason, reason) {
		t.Errorf("%s of %s by %s: %+v, want it %s %q", id, filepath.Base(file), r.Path, found, want, reason)
	}
}

// fails demands that a check of an image fails with a finding of a level, whose place and value hold these texts, and gives that.
func fails(t testing.TB, id, file string, r Request, level Level, where, seen string, o ...Options) Finding {
	t.Helper()
	found := run(t, id, file, r, o...)
	for _, f := range found {
		if f.Status == Failed && f.Level == level && strings.Contains(f.Where, where) && strings.Contains(f.Seen, seen) {
			if f.Prevents == "" || f.Fix == "" {
				t.Errorf("%s says neither what it prevents nor what to do: %+v", id, f)
			}
			return f
		}
	}
	t.Errorf("%s of %s by %s: %+v, want it %s at %q: %q", id, filepath.Base(file), r.Path, found, level, where, seen)
	return Finding{}
}

// change copies a file, sparse, changes bytes of the copy, and gives its path.
func change(t testing.TB, file string, edit func(f *os.File, size int64)) string {
	t.Helper()
	data, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	path := filepath.Join(t.TempDir(), filepath.Base(file))
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	st, err := data.Stat()
	if err != nil {
		t.Fatal(err)
	}
	buffer, zero := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); at < st.Size(); at += int64(len(buffer)) {
		b := buffer[:min(int64(len(buffer)), st.Size()-at)]
		if _, err := data.ReadAt(b, at); err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(b, zero[:len(b)]) {
			continue
		}
		if _, err := out.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Truncate(st.Size()); err != nil {
		t.Fatal(err)
	}
	edit(out, st.Size())
	return path
}

// poke writes bytes at an offset.
func poke(t testing.TB, f *os.File, off int64, b ...byte) {
	t.Helper()
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}

// TestGood demands that the fixture passes every check on every path, in the format that the path takes.
func TestGood(t *testing.T) {
	raw := good().raw(t)
	files := map[Path]string{EBSDirect: raw, ImportSnapshot: convert(t, raw, disk.VMDK), ImportImage: convert(t, raw, disk.OVA)}
	for path, file := range maps.All(files) {
		target, err := Open(t.Context(), file, Request{Path: path, Shared: true}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer target.Close()
		report, err := Run(t.Context(), target)
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Findings) == 0 {
			t.Errorf("%s: nothing was checked", path)
		}
		for _, f := range report.Findings {
			if f.Status == Failed || f.Status == Unknown {
				t.Errorf("%s: %+v", path, f)
			}
		}
	}
}
