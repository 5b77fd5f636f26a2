package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cavaliergopher/cpio"
	"golang.org/x/sync/errgroup"

	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/disk/image"
)

// says is what the small system says when it has come up.
const says = "the disk has booted"

// smallInit is all that runs in the small system.
const smallInit = `package main

import (
	"fmt"
	"syscall"
)

func main() {
	fmt.Println("` + says + `")
	syscall.Sync()
	syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
}
`

// smallDisk makes a disk that boots by BIOS and UEFI in seconds: the boot loaders and the kernel of the base, and one program.
func (s *site) smallDisk() string {
	s.t.Helper()
	must := func(err error) {
		s.t.Helper()
		if err != nil {
			s.t.Fatal(err)
		}
	}
	base, err := filepath.Glob(filepath.Join(s.home, "bases", "*", "disk.raw"))
	must(err)
	var table disk.Table
	for _, path := range base {
		if table, err = disk.Partitions(path); err == nil && len(table.Partitions) == 3 {
			base = []string{path}
			break
		}
	}
	h := disk.Hybrid{Size: 256 << 20, DiskGUID: "3A7E99A7-C22B-87D6-9DD3-F13331F9A0B7"}
	for _, p := range table.Partitions {
		switch p.Index {
		case 1:
			h.RootGUID, h.RootUUID = p.GUID, p.FileSystem.UUID // GRUB's core image looks for it
		case 14:
			h.BIOSGUID = p.GUID
		case 15:
			h.ESPGUID = p.GUID
		}
	}
	dir := filepath.Join(s.recipes, "small")
	root := filepath.Join(dir, "root")
	must(os.MkdirAll(filepath.Join(root, "boot/grub"), 0o755))
	for _, p := range table.Partitions {
		if p.Index == 1 { // GRUB's modules, which the BIOS's core image has not
			debian, err := disk.OpenExt(base[0], image.Extent{Start: p.Start, Size: p.Size})
			must(err)
			modules, err := fs.Sub(debian, "boot/grub/i386-pc")
			must(err)
			must(os.CopyFS(filepath.Join(root, "boot/grub/i386-pc"), modules))
			must(debian.Close())
		}
	}
	kernel, err := os.ReadFile(filepath.Join(filepath.Dir(base[0]), "vmlinuz"))
	must(err)
	must(os.WriteFile(filepath.Join(root, "boot/vmlinuz"), kernel, 0o644))
	must(os.WriteFile(filepath.Join(root, "boot/grub/grub.cfg"), []byte("linux /boot/vmlinuz console=ttyS0 quiet\ninitrd /boot/initrd\nboot\n"), 0o644))
	must(os.WriteFile(filepath.Join(dir, "init.go"), []byte(smallInit), 0o644))
	build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", "init", "init.go")
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		s.t.Fatalf("go build: %v\n%s", err, out)
	}
	program, err := os.ReadFile(filepath.Join(dir, "init"))
	must(err)
	var initrd bytes.Buffer
	archive := cpio.NewWriter(&initrd)
	must(archive.WriteHeader(&cpio.Header{Name: "init", Mode: cpio.TypeReg | 0o755, Size: int64(len(program))}))
	_, err = archive.Write(program)
	must(errors.Join(err, archive.Close()))
	must(os.WriteFile(filepath.Join(root, "boot/initrd"), initrd.Bytes(), 0o644))

	path := filepath.Join(dir, "small.raw")
	must(h.Partition(path))
	must(h.MakeRoot(s.t.Context(), path, root))
	from, err := image.OpenFile(base[0])
	must(err)
	defer from.Close()
	to, err := os.OpenFile(path, os.O_RDWR, 0)
	must(err)
	defer to.Close()
	code := make([]byte, 440)
	_, err = from.ReadAt(code, 0)
	must(err)
	_, err = to.WriteAt(code, 0)
	must(err)
	loaders := image.Extent{Start: h.BIOSBoot().Start, Size: h.Root().Start - h.BIOSBoot().Start}
	must(image.Section(from, loaders).Extents(s.t.Context(), func(e image.Extent) error {
		b := make([]byte, e.Size)
		if _, err := from.ReadAt(b, loaders.Start+e.Start); err != nil {
			return err
		}
		_, err := to.WriteAt(b, loaders.Start+e.Start)
		return err
	}))
	return path
}

// TestFormats writes one disk in all formats at once, has other people's programs judge and unpack what was written, boots those that
// TestBuild does not boot, and reads them back.
func TestFormats(t *testing.T) {
	s := newSite(t)
	raw := s.smallDisk()
	out, work := filepath.Join(s.recipes, "out"), filepath.Join(s.recipes, "unpacked")
	for _, dir := range []string{out, work} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"convert", raw, out}
	for _, f := range disk.Formats() {
		args = append(args, "--format", string(f))
	}
	s.run(0, args...)
	unpack := func(name, command string) string {
		judge(t, "", "sh", "-c", "cd "+work+" && "+command)
		return filepath.Join(work, name)
	}
	var boots errgroup.Group
	boots.SetLimit(2)
	for i, f := range disk.Formats() {
		path, driver := filepath.Join(out, "small"+f.Extension()), ""
		file := path
		switch f {
		case disk.Raw:
			driver = "raw"
		case disk.RawGzip:
			file, driver = unpack("gz.raw", "gunzip -c "+path+" >gz.raw"), "raw"
		case disk.RawZstd:
			file, driver = unpack("zst.raw", "zstd -q -d -o zst.raw "+path), "raw"
		case disk.Qcow2, disk.Qcow2Zstd:
			driver = "qcow2"
		case disk.VMDK:
			driver = "vmdk"
		case disk.VHD, disk.VHDFixed:
			driver = "vpc"
		case disk.VHDX:
			driver = "vhdx"
		case disk.OVA:
			file, driver = unpack("ova/small.vmdk", "mkdir ova && tar -xf "+path+" -C ova && mv ova/*.vmdk ova/small.vmdk"), "vmdk"
		case disk.VagrantLibvirt:
			file, driver = unpack("libvirt/box.img", "mkdir libvirt && tar -xf "+path+" -C libvirt"), "qcow2"
		case disk.VagrantVirtualBox:
			file, driver = unpack("virtualbox/box.vmdk", "mkdir virtualbox && tar -xf "+path+" -C virtualbox && mv virtualbox/*.vmdk virtualbox/box.vmdk"), "vmdk"
		default:
			t.Errorf("how is %s judged?", f)
			continue
		}
		if driver != "raw" && driver != "vpc" {
			judge(t, "", "qemu-img", "check", "-f", driver, file)
		}
		if said := judge(t, "identical", "qemu-img", "compare", "-f", "raw", "-F", driver, raw, file); strings.Contains(said, "mismatch") {
			t.Errorf("%s: %s", f, said)
		}
		back := filepath.Join(work, fmt.Sprintf("back-%d.raw", i))
		s.run(0, "convert", path, back)
		judge(t, "", "cmp", raw, back)
		os.Remove(back)
		if slices.Contains([]disk.Format{disk.Raw, disk.Qcow2, disk.VMDK, disk.OVA}, f) {
			continue // TestBuild boots them, and builds on the raw one
		}
		uefi := i%4 == 1
		boots.Go(func() error {
			start := time.Now()
			if err := bootSmall(t.Context(), file, driver, uefi); err != nil {
				return fmt.Errorf("%s: %w", f, err)
			}
			t.Logf("%s: booted in %v", f, time.Since(start).Round(time.Second))
			return nil
		})
	}
	if err := boots.Wait(); err != nil {
		t.Error(err)
	}
	s.expectClean()
}

// bootSmall boots the small system from a file, which is not written to.
func bootSmall(ctx context.Context, file, driver string, uefi bool) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	args := []string{"-M", "q35,accel=tcg", "-cpu", "qemu64", "-m", "512", "-display", "none", "-serial", "stdio", "-monitor", "none", "-nic", "none", "-no-reboot",
		"-drive", "if=virtio,snapshot=on,format=" + driver + ",file=" + strings.ReplaceAll(file, ",", ",,")}
	if uefi {
		args = append(args, "-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd")
	}
	out, err := exec.CommandContext(ctx, "qemu-system-x86_64", args...).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte(says)) {
		return fmt.Errorf("uefi %v: %w:\n%s", uefi, err, out)
	}
	return nil
}
