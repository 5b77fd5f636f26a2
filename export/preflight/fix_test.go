package preflight

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ingot-image/ingot/disk"
)

// fixes mends an image and demands that findings of these checks are gone, and no others are left.
func fixes(t *testing.T, file string, r Request, ids ...string) (fixed *Fixed, before, after *Target) {
	t.Helper()
	return fixesBut(t, file, r, nil, ids...)
}

// fixesBut is fixes where findings of some checks are left.
func fixesBut(t *testing.T, file string, r Request, left []string, ids ...string) (fixed *Fixed, before, after *Target) {
	t.Helper()
	original, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if before, err = Open(t.Context(), file, r, Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { before.Close() })
	report, err := Run(t.Context(), before)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "fixed"+filepath.Ext(file))
	if fixed, err = Fix(t.Context(), before, report, out, FixOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if !slices.ContainsFunc(fixed.Mended, func(f Finding) bool { return f.ID == id }) {
			t.Errorf("%s is not mended: %+v", id, report.Failed())
		}
	}
	for _, f := range fixed.Left {
		if !slices.Contains(left, f.ID) {
			t.Errorf("left: %+v", f)
		}
	}
	if st, err := os.Stat(file); err != nil || !st.ModTime().Equal(original.ModTime()) || st.Size() != original.Size() {
		t.Errorf("the image was changed: %v", err)
	}
	if there, _ := os.ReadDir(filepath.Dir(out)); len(there) != 1 {
		t.Errorf("beside the copy: %v", there)
	}
	if filepath.Ext(out) == ".raw" {
		if _, err := disk.CheckClean(t.Context(), out); err != nil {
			t.Error(err)
		}
	}
	if after, err = Open(t.Context(), out, r, Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { after.Close() })
	return fixed, before, after
}

// onlyChanged demands that all files but these are the same in both systems: content, mode and owner.
func onlyChanged(t *testing.T, before, after *Target, names ...string) {
	t.Helper()
	walk := func(a, b *Target) {
		err := fs.WalkDir(a.Root, ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			expected := slices.ContainsFunc(names, func(n string) bool { return name == n || strings.HasPrefix(name, n+"/") })
			one, err := a.Root.Lstat(name)
			if err != nil {
				return err
			}
			other, err := b.Root.Lstat(name)
			if err != nil {
				if !expected {
					t.Errorf("%s: %v", name, err)
				}
				return nil
			}
			x, okX := one.Sys().(disk.ExtStat)
			y, okY := other.Sys().(disk.ExtStat)
			if one.Mode() != other.Mode() || okX != okY || x.UID != y.UID || x.GID != y.GID {
				t.Errorf("%s: %v of %d:%d, and %v of %d:%d", name, one.Mode(), x.UID, x.GID, other.Mode(), y.UID, y.GID)
			}
			if d.Type().IsRegular() && !expected {
				p, err1 := a.Root.ReadFile(name)
				q, err2 := b.Root.ReadFile(name)
				if err1 != nil || err2 != nil || !bytes.Equal(p, q) {
					t.Errorf("%s has changed (%v, %v)", name, err1, err2)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	walk(before, after)
	walk(after, before)
}

func content(t *testing.T, target *Target, name string) string {
	t.Helper()
	b, err := target.Root.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestFixFiles(t *testing.T) {
	f := good()
	old := "root=UUID=" + fixtureRoot + " ro quiet"
	f.files[fixtureMenu] = strings.Replace(f.files[fixtureMenu], fixtureLine, old, 1)
	f.files["etc/default/grub"], f.modes["etc/default/grub"] = "GRUB_TIMEOUT=5\nGRUB_CMDLINE_LINUX=\"quiet\"\n", 0o640
	f.files["etc/kernel/cmdline"] = old + "\n"
	f.files["etc/fstab"] = "# the disk\n/dev/vda1\t/ ext4 defaults 0 1\nUUID=1234-5678 /boot/efi vfat umask=0077,nofail 0 2\nUUID=99 /data\text4 defaults 0 2\nfiles:/x /x nfs\n"
	f.files["etc/udev/rules.d/70-persistent-net.rules"] = "ATTR{address}==\"52:54:00:12:34:56\", NAME=\"eth0\"\n"
	f.files["etc/machine-id"], f.modes["etc/machine-id"] = strings.Repeat("ab", 16)+"\n", 0o444
	f.files["var/lib/dbus/machine-id"] = strings.Repeat("ab", 16) + "\n"
	f.files["etc/ssh/ssh_host_rsa_key"], f.modes["etc/ssh/ssh_host_rsa_key"] = "secret", 0o600
	f.files["etc/ssh/ssh_host_rsa_key.pub"] = "public"
	f.files["var/lib/cloud/instances/i-1/sem/x"], f.files["var/lib/cloud/instance"] = "x", "-> /var/lib/cloud/instances/i-1"
	f.files["var/lib/cloud/seed/nocloud/meta-data"] = "x"
	f.files["var/lib/systemd/random-seed"] = "xyz"
	f.files["var/log/syslog"], f.modes["var/log/syslog"] = "hello", 0o640
	f.files["var/log/syslog.1"], f.files["var/log/journal/ab/system.journal"] = "old", "j"
	_, before, after := fixes(t, f.raw(t), Request{Path: EBSDirect}, "D04", "E01", "E02", "F01")
	onlyChanged(t, before, after, fixtureMenu, "etc/default/grub", "etc/kernel/cmdline", "etc/fstab", "etc/udev/rules.d/70-persistent-net.rules", "etc/machine-id",
		"var/lib/dbus/machine-id", "etc/ssh/ssh_host_rsa_key", "etc/ssh/ssh_host_rsa_key.pub", "var/lib/cloud", "var/lib/systemd/random-seed", "var/log")
	added := " nvme_core.io_timeout=4294967295 net.ifnames=0 biosdevname=0 console=tty0 console=ttyS0,115200n8"
	for name, want := range map[string]string{
		fixtureMenu:          strings.Replace(good().files[fixtureMenu], fixtureLine, old+added, 1),
		"etc/default/grub":   "GRUB_TIMEOUT=5\nGRUB_CMDLINE_LINUX=\"quiet" + added + "\"\n",
		"etc/kernel/cmdline": old + added + "\n",
		"etc/fstab": "# the disk\nUUID=" + fixtureRoot + "\t/ ext4 defaults 0 1\nUUID=1234-5678 /boot/efi vfat umask=0077,nofail 0 2\n" +
			"UUID=99 /data\text4 defaults,nofail 0 2\nfiles:/x /x nfs nofail\n",
		"etc/machine-id": "", "var/log/syslog": "",
	} {
		if got := content(t, after, name); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
	}
}

func TestFixDisk(t *testing.T) {
	raw := good().raw(t)
	t.Run("length", func(t *testing.T) {
		file := change(t, raw, func(f *os.File, size int64) { f.Truncate(size + 100) })
		fixes(t, file, Request{Path: EBSDirect}, "A05")
	})
	t.Run("GPT of a disk that has grown", func(t *testing.T) {
		file := change(t, raw, func(f *os.File, size int64) { f.Truncate(size + 1<<20) })
		fixes(t, file, Request{Path: EBSDirect}, "B01")
	})
	t.Run("format", func(t *testing.T) {
		if fixed, _, _ := fixes(t, convert(t, raw, disk.Qcow2), Request{}, "A01"); fixed.Report.Path != ImportSnapshot {
			t.Errorf("%+v", fixed.Report)
		}
	})
	t.Run("loader", func(t *testing.T) {
		f := good()
		f.esp["EFI/debian/grubx64.efi"] = f.esp["EFI/BOOT/BOOTX64.EFI"]
		delete(f.esp, "EFI/BOOT/BOOTX64.EFI")
		fixes(t, f.raw(t), Request{Path: EBSDirect, BootMode: "uefi"}, "C03")
	})
	t.Run("file system", func(t *testing.T) {
		h := good().hybrid()
		unclean := change(t, raw, func(f *os.File, _ int64) {
			err := disk.Run(t.Context(), disk.Command{Tool: debugfs, Files: []*os.File{f}, Args: []string{"-w", "-R", "set_super_value state 0", fmt.Sprintf("%s?offset=%d", disk.FilePath(0), h.Root().Start)}})
			if err != nil {
				t.Fatal(err)
			}
		})
		fixes(t, unclean, Request{Path: EBSDirect}, "B07")
	})
}

// Names on the disk must not become commands, and what cannot be changed is told.
func TestFixRefuses(t *testing.T) {
	f := good()
	f.files["var/lib/cloud/instances/i-1\" \"\nrm /etc/passwd\n/x"] = "x"
	f.files["etc/ssh/ssh_host_<12>_key"] = "x"
	file := f.raw(t)
	target, err := Open(t.Context(), file, Request{Path: EBSDirect}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	report, err := Run(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out.raw")
	fixed, err := Fix(t.Context(), target, report, out, FixOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(fixed.Left) != 2 || !strings.Contains(fixed.Left[0].Reason, "not given to debugfs") || !strings.Contains(fixed.Left[1].Reason, "not given to debugfs") {
		t.Errorf("left: %+v", fixed.Left)
	}
	after, err := Open(t.Context(), out, Request{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer after.Close()
	onlyChanged(t, target, after)
	if _, err := Fix(t.Context(), target, report, file, FixOptions{}); err == nil || !strings.Contains(err.Error(), "the image itself") {
		t.Errorf("onto itself: %v", err)
	}
}

func TestGrubDefault(t *testing.T) {
	for text, want := range map[string]string{
		"GRUB_CMDLINE_LINUX=\"rd.lvm.lv=a/root\"\n": "GRUB_CMDLINE_LINUX=\"rd.lvm.lv=a/root nvme_core",
		// What only a shell understands keeps its value.
		"GRUB_CMDLINE_LINUX=\"crashkernel=auto\" # ours\n":     "GRUB_CMDLINE_LINUX=\"crashkernel=auto\" # ours\nGRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX nvme_core",
		"export GRUB_CMDLINE_LINUX=\"a=\\\"b c\\\" root=x\"\n": "root=x\"\nGRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX nvme_core",
		"GRUB_TIMEOUT=1": "GRUB_TIMEOUT=1\nGRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX nvme_core",
	} {
		if got := grubDefault(text); !strings.Contains(got, want) {
			t.Errorf("%q became %q, want %q in it", text, got, want)
		}
	}
}

func TestWithField(t *testing.T) {
	for _, test := range []struct {
		line string
		n    int
		word string
		want string
	}{
		{"/dev/vdb1 /xfs-ro xfs ro 0 0\n", 3, "ro,nofail", "/dev/vdb1 /xfs-ro xfs ro,nofail 0 0\n"},
		{"\tdefaults /defaults  ext4\tdefaults\n", 3, "defaults,nofail", "\tdefaults /defaults  ext4\tdefaults,nofail\n"},
		{"/dev/vda1 / ext4 defaults 0 1", 0, "UUID=1", "UUID=1 / ext4 defaults 0 1"},
	} {
		if got := withField(test.line, test.n, test.word); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

// TestApartGivesUpRanges changes a part of a disk by making a hole in it, as e2fsck does.
func TestApartGivesUpRanges(t *testing.T) {
	f, err := disk.Create(filepath.Join(t.TempDir(), "disk.raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(bytes.Repeat([]byte("old"), 2<<20)); err != nil {
		t.Fatal(err)
	}
	w := &workpiece{PendingFile: f}
	err = w.apart(t.Context(), disk.Extent{Start: 1 << 20, Size: 4 << 20}, func(alone *os.File) error {
		return unix.Fallocate(int(alone.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 1<<20, 1<<20)
	})
	if err != nil {
		t.Fatal(err)
	}
	got, want := make([]byte, 6<<20), bytes.Repeat([]byte("old"), 2<<20)
	clear(want[2<<20 : 3<<20])
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("what became a hole is still there, %v", err)
	}
}
