package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/ingot-image/ingot/disk/image"
)

func TestOpenRoot(t *testing.T) {
	files := debian(t)
	files["boot/grub/link"] = "-> /boot/efi/EFI/BOOT/../debian/grub.cfg"
	files["boot/efi/hidden"] = "beneath the mount"
	files["up"] = "-> boot/efi/EFI/../../../etc/debian_version"
	r, err := OpenRoot(t.Context(), openDisk(t, hybrid(t, files)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	equal(t, "mounts", r.Mounted, []Mounted{{Target: "/", Device: "partition 1"}, {Target: "/boot/efi", Device: "partition 15"}})
	for name, want := range map[string]string{
		"etc/debian_version": "12.9\n", "boot/efi/EFI/debian/grub.cfg": "configfile\n", "boot/grub/link": "configfile\n", "up": "12.9\n",
		"sbin/init": elf, "escape": files["etc/passwd"], "lib/systemd/systemd": elf,
	} {
		if b, err := r.ReadFile(name); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v, want %q", name, b, err, want)
		}
	}
	for name, want := range map[string]string{"loop": "too many levels", "boot/efi/hidden": "not exist", "etc/debian_version/x": "not a directory", "../etc": "invalid"} {
		if _, err := r.ReadFile(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	if target, err := r.ReadLink("sbin"); err != nil || target != "usr/sbin" {
		t.Errorf("sbin leads to %q, %v", target, err)
	}
	if st, err := r.Lstat("sbin"); err != nil || st.Mode()&fs.ModeSymlink == 0 || st.Name() != "sbin" {
		t.Errorf("%v, %v", st, err)
	}
	entries, err := r.ReadDir("boot/efi")
	if err != nil || len(entries) != 1 || entries[0].Name() != "EFI" {
		t.Errorf("%v, %v", entries, err)
	}
	n := 0
	err = fs.WalkDir(r, ".", func(name string, d fs.DirEntry, err error) error {
		n++
		if err == nil {
			_, err = d.Info()
		}
		return err
	})
	if err != nil || n < len(files) {
		t.Errorf("walked over %d: %v", n, err)
	}
}

func TestRootIsFS(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fs")
	output(t, "mke2fs", "-q", "-F", "-t", "ext4", "-d", tree(t, map[string]string{"etc/os-release": "ID=x\n", "etc/fstab": "", "a/b/c": "c", "a/link": "-> b/c"}), path, "4m")
	r, err := OpenRoot(t.Context(), openDisk(t, path), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(r, "etc/os-release", "a/b/c", "a/link"); err != nil {
		t.Error(err)
	}
}

// foreign is a mounter of file systems that this package cannot read.
type foreign struct {
	files  map[string]fstest.MapFS // by type
	paths  []string
	opened int
}

func (f *foreign) mount(_ context.Context, _ image.Source, kind string, paths []string) (fs.FS, io.Closer, error) {
	f.paths = paths
	if f.files[kind] == nil {
		return nil, nil, errors.New("no such kind")
	}
	f.opened++
	return f.files[kind], f, nil
}

func (f *foreign) Close() error { f.opened--; return nil }

func mapFS(files map[string]string) fstest.MapFS {
	m := fstest.MapFS{}
	for name, content := range files {
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			m[name] = &fstest.MapFile{Data: []byte(target), Mode: fs.ModeSymlink | 0o777}
		} else {
			m[strings.TrimSuffix(name, "/")] = &fstest.MapFile{Data: []byte(content), Mode: 0o644}
			if strings.HasSuffix(name, "/") {
				m[strings.TrimSuffix(name, "/")].Mode = fs.ModeDir | 0o755
			}
		}
	}
	return m
}

// What cannot be read here is mounted by the caller: XFS beside a /boot that can, and Btrfs with its subvolumes.
func TestMount(t *testing.T) {
	for kind, tool := range map[string]string{"xfs": "mkfs.xfs", "btrfs": "mkfs.btrfs"} {
		t.Run(kind, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk")
			os.WriteFile(path, nil, 0o600)
			os.Truncate(path, 340<<20)
			part := filepath.Join(t.TempDir(), "part")
			os.WriteFile(part, nil, 0o600)
			os.Truncate(part, 320<<20)
			output(t, tool, "-q", part)
			output(t, "sgdisk", "-n", "1:2048:+10M", "-n", "2:+0:+320M", path)
			output(t, "dd", "if="+part, "of="+path, "bs=1M", "seek=11", "conv=notrunc,sparse", "status=none")
			output(t, "mke2fs", "-q", "-F", "-t", "ext2", "-L", "BOOT", "-E", "offset=1048576", "-d", tree(t, map[string]string{"vmlinuz-" + kernelV: bzImage(kernelV)}), path, "10m")
			src := openDisk(t, path)

			r, err := Inspect(t.Context(), src, Options{})
			if err != nil || r.System != nil || len(r.Problems) != 1 || !strings.Contains(r.Problems[0].What, "partition 2 ("+kind+") cannot be read here") {
				t.Fatalf("without a mounter: %+v, %v", r, err)
			}
			if _, err := OpenRoot(t.Context(), src, Options{}); !errors.Is(err, ErrNoSystem) {
				t.Errorf("without a mounter: %v", err)
			}
			files := debian(t)
			files["etc/fstab"] = "LABEL=BOOT /boot ext2 defaults\n"
			files["boot/"] = ""
			for name := range files {
				if strings.HasPrefix(name, "boot/") && name != "boot/" {
					delete(files, name)
				}
			}
			if kind == "btrfs" { // as openSUSE or Debian have it
				moved := map[string]string{"@home/admin/file": "home"}
				for name, content := range files {
					moved["@rootfs/"+name] = content
				}
				moved["@rootfs/home/"] = ""
				moved["@rootfs/etc/fstab"] = files["etc/fstab"] + "UUID=" + r.FileSystems[1].UUID + " /home btrfs subvol=/@home 0 0\n"
				files = moved
			}
			f := &foreign{files: map[string]fstest.MapFS{kind: mapFS(files)}}
			r, err = Inspect(t.Context(), src, Options{Mount: f.mount})
			if err != nil || r.System == nil || f.opened != 0 {
				t.Fatalf("%+v, %v, %d are open", r, err, f.opened)
			}
			if r.System.OS.ID != "debian" || r.System.Root != "partition 2" || len(r.System.Kernels) != 1 || !r.System.Kernels[0].Modules {
				t.Errorf("%+v, %+v", r.System, r.Problems)
			}
			want := "usr/lib/modules/" + kernelV + "/modules.dep"
			if kind == "btrfs" {
				want = "@rootfs/" + want
			}
			if !slices.Contains(f.paths, want) {
				t.Errorf("asked for %q", f.paths)
			}
			root, err := OpenRoot(t.Context(), src, Options{Mount: f.mount})
			if err != nil {
				t.Fatal(err)
			}
			if f.paths != nil {
				t.Errorf("asked for %q, not for all", f.paths)
			}
			if b, err := root.ReadFile("boot/vmlinuz-" + kernelV); err != nil || len(b) != 4096 {
				t.Errorf("%d bytes, %v", len(b), err)
			}
			if _, err := root.ReadFile("home/admin/file"); kind == "btrfs" && err != nil {
				t.Error(err)
			}
			root.Close()
			if f.opened != 0 {
				t.Errorf("%d are open", f.opened)
			}
			f.files = nil
			r, err = Inspect(t.Context(), src, Options{Mount: f.mount})
			if err != nil || len(r.Problems) < 1 || r.Problems[0].What != "no such kind" {
				t.Errorf("when it cannot be mounted: %+v, %v", r.Problems, err)
			}
			var failed *MountError
			_, err = OpenRoot(t.Context(), src, Options{Mount: f.mount})
			if !errors.Is(err, ErrNoSystem) || !errors.As(err, &failed) || failed.Device != "partition 2" || !strings.Contains(err.Error(), "partition 2 ("+kind+") cannot be read: no such kind") {
				t.Errorf("when it cannot be mounted: %v", err)
			}
		})
	}
}

// Of what is larger than the root no more is read than tells that it is none, but for what fstab mounts.
func TestProbe(t *testing.T) {
	dir := t.TempDir()
	path, at := filepath.Join(dir, "disk"), 1
	os.WriteFile(path, nil, 0o600)
	os.Truncate(path, 1100<<20)
	output(t, "sgdisk", "-n", "1:2048:+320M", "-n", "2:+0:+310M", "-n", "3:+0:+300M", path)
	for i, size := range []int64{320, 310, 300} {
		part := filepath.Join(dir, fmt.Sprint(i))
		os.WriteFile(part, nil, 0o600)
		os.Truncate(part, size<<20)
		if i == 2 {
			output(t, "mkfs.btrfs", "-q", part)
		} else {
			output(t, "mkfs.xfs", "-q", "-L", fmt.Sprint("data", i), part)
		}
		output(t, "dd", "if="+part, "of="+path, "bs=1M", fmt.Sprint("seek=", at), "conv=notrunc,sparse", "status=none")
		at += int(size)
	}
	data := mapFS(map[string]string{"large": "data", "etc/hosts": ""})
	root := mapFS(map[string]string{"@/etc/os-release": "ID=x\n", "@/etc/fstab": "LABEL=data1 /srv xfs defaults\n", "@/srv/": ""})
	f := &foreign{files: map[string]fstest.MapFS{"xfs": data, "btrfs": root}}
	var asked []string
	r, err := OpenRoot(t.Context(), openDisk(t, path), Options{Mount: func(ctx context.Context, src image.Source, kind string, paths []string) (fs.FS, io.Closer, error) {
		what := "all"
		if len(paths) > 0 {
			what = fmt.Sprint(len(paths), " ", paths[0])
		}
		asked = append(asked, fmt.Sprintf("%s of %d MiB: %s", kind, src.Size()>>20, what))
		return f.mount(ctx, src, kind, paths)
	}})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "asked for", asked, []string{"xfs of 320 MiB: 5 etc/os-release", "xfs of 310 MiB: 5 etc/os-release", "btrfs of 300 MiB: 25 etc/os-release", "btrfs of 300 MiB: all", "xfs of 310 MiB: all"})
	if b, err := r.ReadFile("srv/large"); err != nil || string(b) != "data" {
		t.Errorf("%q, %v", b, err)
	}
	if r.Close(); f.opened != 0 {
		t.Errorf("%d are open", f.opened)
	}
}

// No link, ".." or mount may lead anywhere else than into the tree.
func TestResolve(t *testing.T) {
	top := mapFS(map[string]string{"a/b/": "", "abs": "-> /a/b", "rel": "-> a/../a/b", "out": "-> ../../../..", "chain0": "-> /out/a", "self": "-> self"})
	below := mapFS(map[string]string{"f": "f", "top": "-> /a", "up": "-> ../../abs/f"})
	r := &Root{mounts: []mountPoint{{"a/b", below, "."}, {".", top, "."}}}
	for name, want := range map[string]string{"abs": "a/b", "rel/f": "a/b/f", "out": ".", "chain0/b/f": "a/b/f", "abs/top": "a", "abs/top/b/up": "a/b/f"} {
		if _, real, err := r.resolve(name, true); err != nil || real != want {
			t.Errorf("%s: %q, %v, want %q", name, real, err, want)
		}
	}
	for _, name := range []string{"self", "abs/none", "a/b/f/x"} {
		if _, real, err := r.resolve(name, true); err == nil {
			t.Errorf("%s: %q", name, real)
		}
	}
	long := fstest.MapFS{}
	for i := range 60 {
		long[fmt.Sprint("l", i)] = &fstest.MapFile{Data: []byte(strings.Repeat("./", 2000) + fmt.Sprint("l", i+1)), Mode: fs.ModeSymlink}
	}
	r = &Root{mounts: []mountPoint{{".", long, "."}}}
	if _, _, err := r.resolve("l0", true); err == nil {
		t.Error("a long chain of links is followed")
	}
}
