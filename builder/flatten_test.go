package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder/catalog"
	"github.com/ingot-image/ingot/builder/recipe"
	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/qemu"
)

// flattening is a build whose guest is down: its disk is an overlay, with one file system, on a base.
func flattening(t *testing.T, formats ...recipe.Format) (j *job, g *guest, root qemu.Disk) {
	t.Helper()
	for _, tool := range []string{"qemu-img", "qemu-io", "mke2fs"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	dir := t.TempDir()
	base, overlay := filepath.Join(dir, "base.raw"), filepath.Join(dir, "overlay.qcow2")
	if out, err := exec.Command("mke2fs", "-q", "-t", "ext4", base, "8M").CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v\n%s", err, out)
	}
	if err := disk.CreateOverlay(t.Context(), overlay, disk.Image{Path: base, Format: disk.Raw}, 16<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("qemu-io", "-f", "qcow2", "-c", "write -P 7 12M 1M", overlay).CombinedOutput(); err != nil {
		t.Fatalf("qemu-io: %v\n%s", err, out)
	}
	plan := &Plan{&recipe.Plan{}}
	plan.Distribution.Formats = formats
	j = &job{builder: &Builder{}, plan: plan, build: &catalog.Build{Name: "web"}, staging: filepath.Join(dir, "staging")}
	if err := os.Mkdir(j.staging, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(j.stopTasks)
	return j, &guest{job: j}, overlayDisk(overlay, base, disk.Raw, qemu.VirtIO)
}

// TestFlatten wants every file to hold the guest's disk, and its digest to be known.
func TestFlatten(t *testing.T) {
	j, g, root := flattening(t, "qcow2", "raw", "vmdk", "vhd")
	want := disk.Image{Path: filepath.Join(t.TempDir(), "want.raw"), Format: disk.Raw}
	if err := disk.Convert(t.Context(), disk.Image{Path: root.Path, Format: disk.Qcow2}, want, nil); err != nil {
		t.Fatal(err)
	}
	j.copyBelow(t.Context(), root)
	files, err := j.flatten(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 4 || exists(root.Path) {
		t.Errorf("files %v; the overlay is there: %v", files, exists(root.Path))
	}
	for _, f := range files {
		if err := disk.Compare(t.Context(), disk.Image{Path: f.path, Format: f.format}, want); err != nil {
			t.Error(err)
		}
		data, err := os.ReadFile(f.path)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		s, err := j.unsealed(t.Context(), f)
		if err != nil || s.sha256hex != hex.EncodeToString(sum[:]) || s.size != int64(len(data)) {
			t.Errorf("%s: sealed as %+v, %v", f.format, s, err)
		}
	}
	// What changes between the test and the end is not handed out under a digest that is no longer its own.
	if err := os.Chtimes(files[1].path, time.Time{}, time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := j.unsealed(t.Context(), files[1]); err == nil || !strings.Contains(err.Error(), "changed") {
		t.Errorf("a file that was changed: %v", err)
	}
}

// TestFlattenAfterLostLayer flattens an overlay that was prepared for a layer which never came to be: its header names a disk that is not there.
func TestFlattenAfterLostLayer(t *testing.T) {
	j, g, root := flattening(t, "raw")
	want := disk.Image{Path: filepath.Join(t.TempDir(), "want.raw"), Format: disk.Raw}
	if err := disk.Convert(t.Context(), disk.Image{Path: root.Path, Format: disk.Qcow2}, want, nil); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(want.Path)
	if err != nil {
		t.Fatal(err)
	}
	lost := root
	lost.Path = filepath.Join(t.TempDir(), "overlay.qcow2")
	lost.Backing = append([]qemu.Image{{Path: root.Path, Format: "qcow2"}}, root.Backing...)
	gone := disk.Image{Path: filepath.Join(t.TempDir(), "disk-0.qcow2"), Format: disk.Qcow2}
	if err := disk.PrepareOverlay(t.Context(), lost.Path, gone, info.Size()); err != nil {
		t.Fatal(err)
	}
	j.copyBelow(t.Context(), lost)
	files, err := j.flatten(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	if err := disk.Compare(t.Context(), disk.Image{Path: files[0].path, Format: disk.Raw}, want); err != nil {
		t.Error(err)
	}
}

// TestFlattenFails wants what goes wrong beside the guest to be told when it is needed, and nothing to go on afterwards.
func TestFlattenFails(t *testing.T) {
	j, g, root := flattening(t, "qcow2")
	lost := root
	lost.Backing = []qemu.Image{{Path: root.Path + ".gone", Format: "raw"}}
	j.copyBelow(t.Context(), lost)
	if _, err := j.flatten(t.Context(), g); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no base: %v", err)
	}

	// A file system that is not clean: the superblock says it has errors (s_state, ext4's documentation, "The Super Block").
	if out, err := exec.Command("qemu-io", "-f", "qcow2", "-c", "write -P 2 1082 1", root.Path).CombinedOutput(); err != nil {
		t.Fatalf("qemu-io: %v\n%s", err, out)
	}
	j.copyBelow(t.Context(), root)
	var unclean *disk.UncleanError
	if _, err := j.flatten(t.Context(), g); !errors.As(err, &unclean) {
		t.Errorf("a file system with errors: %v", err)
	}

	task := beside(t.Context(), j, func(ctx context.Context) (int, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	})
	j.stopTasks()
	if _, err := task.wait(t.Context()); !errors.Is(err, context.Canceled) {
		t.Errorf("a task that was stopped: %v", err)
	}
}

// TestFormatOptions wants what the image says of itself in the options, and of what does not go with the recipe's a warning in place of a failure.
func TestFormatOptions(t *testing.T) {
	for _, test := range []struct {
		format disk.Format
		given  disk.Options
		modes  bootModes
		want   disk.Options
		warned string
	}{
		{disk.OVA, disk.Options{}, bootModes{bios: true, uefi: true}, disk.Options{OSType: "debian12"}, ""},
		{disk.OVA, disk.Options{}, bootModes{uefi: true}, disk.Options{OSType: "debian12", Firmware: "efi"}, ""},
		{disk.OVA, disk.Options{HardwareVersion: 7}, bootModes{uefi: true}, disk.Options{OSType: "debian12", HardwareVersion: 7},
			"ova: firmware=efi, as the image wants, is left out: firmware efi needs hardware version 8 or later, not 7"},
		{disk.OVA, disk.Options{Firmware: "bios", OSType: "other"}, bootModes{uefi: true}, disk.Options{Firmware: "bios", OSType: "other"}, ""},
		{disk.VHD, disk.Options{}, bootModes{uefi: true}, disk.Options{}, ""},
	} {
		plan := &Plan{&recipe.Plan{}}
		plan.Distribution.Options = map[disk.Format]disk.Options{test.format: test.given}
		var warned string
		j := &job{builder: &Builder{Events: func(e Event) { warned += e.Detail }}, plan: plan}
		if got := j.formatOptions(test.format, "debian12", test.modes); got != test.want || warned != test.warned {
			t.Errorf("%s, %+v: %+v, %q, want %+v, %q", test.format, test.given, got, warned, test.want, test.warned)
		}
	}
}
