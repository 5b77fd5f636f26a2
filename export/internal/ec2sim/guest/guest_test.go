package guest

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/disk/image"
	"github.com/ingot-image/ingot/export/internal/ec2sim/container"
)

func examine(t *testing.T, path string) (*System, error) {
	t.Helper()
	f, err := image.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return Examine(t.Context(), f)
}

func TestExamine(t *testing.T) {
	for name, c := range map[string]struct {
		change func(map[string]string)
		want   string // "" for taken
	}{
		"as it is":     {nil, ""},
		"other kernel": {func(f map[string]string) { renameKernel(f, "6.12.0-1-amd64") }, "ClientError: Unsupported kernel version 6.12.0-1-amd64"},
		"other system": {func(f map[string]string) { f["usr/lib/os-release"] = "ID=alpine\nVERSION_ID=3.20\n" }, "ClientError: Unsupported kernel version " + sampleKernel},
		"no system": {func(f map[string]string) {
			delete(f, "usr/lib/os-release")
			delete(f, "etc/os-release")
			delete(f, "etc/fstab")
		}, "ClientError: Unknown OS / Missing OS files."},
		"no fstab":      {func(f map[string]string) { delete(f, "etc/fstab") }, "ClientError: Unable to find an etc directory with fstab."},
		"two menus":     {func(f map[string]string) { f["boot/grub2/grub.cfg"] = f["boot/grub/grub.cfg"] }, "ClientError: Multiple different grub/menu.lst files found."},
		"no kernel":     {func(f map[string]string) { delete(f, "boot/vmlinuz-"+sampleKernel) }, "ClientError: Unable to determine kernel version"},
		"broken initrd": {func(f map[string]string) { f["boot/initrd.img-"+sampleKernel] = "no archive" }, "ClientError: We were unable to read your import's initramfs/initrd"},
		"arm64":         {func(f map[string]string) { f["usr/bin/sh"] = strings.Replace(f["usr/bin/sh"], "\x3e", "\xb7", 1) }, "ClientError: Unsupported architecture aarch64"},
	} {
		t.Run(name, func(t *testing.T) {
			system, err := examine(t, Sample(t, c.change))
			var refused *container.Refusal
			switch {
			case c.want == "" && (err != nil || system.Name != "Debian GNU/Linux 12 (bookworm)" || system.Boot("legacy-bios") != nil || system.Boot("uefi") != nil):
				t.Errorf("%+v, %v", system, err)
			case c.want != "" && (!errors.As(err, &refused) || !strings.HasPrefix(refused.Message, c.want)):
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

// renameKernel puts another kernel in the place of the sample's.
func renameKernel(f map[string]string, version string) {
	for _, name := range []string{"vmlinuz-", "initrd.img-"} {
		f["boot/"+name+version] = f["boot/"+name+sampleKernel]
		delete(f, "boot/"+name+sampleKernel)
	}
	f["boot/vmlinuz-"+version] = kernelHead(version)
	f["boot/grub/grub.cfg"] = strings.ReplaceAll(f["boot/grub/grub.cfg"], sampleKernel, version)
}

func TestDisksWithoutPartitionsOrBootCodeAreRefused(t *testing.T) {
	path := Sample(t, nil)
	change := func(at int64, b []byte) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
	}
	change(0, make([]byte, 440))
	if system, err := examine(t, path); err != nil || system.Boot("legacy-bios") == nil || system.Boot("uefi") != nil {
		t.Errorf("without boot code: %v, %v", system, err)
	}
	change(0, make([]byte, 1<<20))
	change(640<<20-1<<16, make([]byte, 1<<16))
	if _, err := examine(t, path); err == nil || err.Error() != "ClientError: No valid partitions. Not a valid volume." {
		t.Errorf("without a table: %v", err)
	}
}
