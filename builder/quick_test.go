package builder

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/qemu"
)

// TestQuickCase wants the kernel and the initrd of the finished image, and a boot by firmware where there are none to be had.
func TestQuickCase(t *testing.T) {
	if _, err := exec.LookPath("mke2fs"); err != nil {
		t.Skip("mke2fs is not installed")
	}
	files := []file{{disk.VMDK, "a.vmdk"}, {disk.Raw, "a.raw"}}
	for _, c := range []struct {
		name    string
		remove  string
		files   []file
		want    testCase
		warning string
	}{
		{"direct", "", files, testCase{disk: qemu.VirtIO, firmwares: "direct", file: files[1]}, ""},
		{"no raw file", "", files[:1], testCase{disk: qemu.VirtIO, firmwares: "direct", file: files[0]}, ""},
		{"no initrd", "boot/initrd.img-2", files, testCase{disk: qemu.VirtIO, firmware: qemu.BIOS, firmwares: "bios", file: files[1]}, "boots by firmware"},
		{"dracut", "usr/share/initramfs-tools/init", files, testCase{disk: qemu.VirtIO, firmware: qemu.BIOS, firmwares: "bios", file: files[1]}, "boots by firmware"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, tree := t.TempDir(), t.TempDir()
			for _, name := range []string{"etc/os-release", "boot/vmlinuz-2", "boot/initrd.img-2", "usr/share/initramfs-tools/init"} {
				path := filepath.Join(tree, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if name == c.remove {
					path, _ = filepath.Split(path)
					os.Remove(path)
					continue
				}
				if err := os.WriteFile(path, []byte("this is "+name), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			var warnings []string
			j := &job{builder: &Builder{Events: func(e Event) { warnings = append(warnings, e.Detail) }}, rawDisk: filepath.Join(dir, "x.raw")}
			if out, err := exec.Command("mke2fs", "-q", "-t", "ext4", "-d", tree, j.rawDisk, "8M").CombinedOutput(); err != nil {
				t.Fatalf("mke2fs: %v\n%s", err, out)
			}
			got, err := j.quickCase(t.Context(), filepath.Join(dir, "quick"), c.files, bootModes{bios: true, uefi: true})
			if err != nil {
				t.Fatal(err)
			}
			if direct := got.direct; direct != nil {
				kernel, _ := os.ReadFile(direct.kernel)
				initrd, _ := os.ReadFile(direct.initrd)
				if string(kernel) != "this is boot/vmlinuz-2" || string(initrd) != "this is boot/initrd.img-2" || !strings.HasPrefix(direct.append, "root=UUID=") {
					t.Errorf("boots %q, %q, %q", kernel, initrd, direct.append)
				}
			}
			if isDirect := got.direct != nil; isDirect != (c.want.firmwares == "direct") {
				t.Errorf("boots directly: %v", isDirect)
			}
			if got.direct = nil; got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if text := strings.Join(warnings, "\n"); !strings.Contains(text, c.warning) || c.warning == "" && text != "" {
				t.Errorf("warned %q", text)
			}
		})
	}
}
