package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder"
	"github.com/ingot-image/ingot/cmd/ingot-agent/embedded"
	"github.com/ingot-image/ingot/disk/image"
	"github.com/ingot-image/ingot/disk/lvm"
)

// appliance is a builder whose layer of the appliance VM stays for the next run of the tests.
func appliance(t *testing.T) *builder.Builder {
	t.Helper()
	newSite(t) // which skips the test where there can be no VM, and makes the base
	home, err := testHome()
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(home, "appliance")
	if err := os.MkdirAll(own, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(home, "bases"), filepath.Join(own, "bases")); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	return &builder.Builder{Home: own, Agent: embedded.Agent, Events: func(e builder.Event) { t.Log(e.Detail) }}
}

// mount reads a file system of an image file.
func mount(t *testing.T, b *builder.Builder, file, fsType string, paths ...string) (fs.FS, error) {
	t.Helper()
	src, err := image.OpenFile(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	return mountSource(t, b, src, fsType, paths...)
}

func mountSource(t *testing.T, b *builder.Builder, src image.Source, fsType string, paths ...string) (fs.FS, error) {
	t.Helper()
	start := time.Now()
	files, closer, err := b.Mount(context.Background(), src, fsType, paths)
	t.Logf("%s in %v: %v", fsType, time.Since(start).Round(time.Millisecond), err)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { closer.Close() })
	return files, nil
}

// The tree that the test's file systems hold.
const (
	testOS     = "PRETTY_NAME=\"A test\"\n"
	testProto  = "/stage1\n1 1\nd--755 0 0\netc d--755 0 0\nos-release l--777 0 0 ../usr/lib/os-release\nout l--777 0 0 /etc/shadow\n$\nusr d--755 0 0\nlib d--755 0 0\nos-release ---644 0 0 %[1]s\n$\nbin d--755 0 0\nsu -u-755 1000 100 %[1]s\n$\n$\nsrv d--750 7 8\nlarge ---600 7 8 %[2]s\n$\n$\n"
	testOwned  = "usr/bin/su"
	testLarge  = "srv/large"
	largeBytes = 3 << 20
)

// makeXFS makes an XFS file system of the tree.
func makeXFS(t *testing.T, folder string) string {
	t.Helper()
	text, large, proto, disk := filepath.Join(folder, "text"), filepath.Join(folder, "large"), filepath.Join(folder, "proto"), filepath.Join(folder, "xfs.raw")
	content := bytes.Repeat([]byte("0123456789abcde\n"), largeBytes/16)
	for name, data := range map[string][]byte{text: []byte(testOS), large: content, proto: fmt.Appendf(nil, testProto, text, large)} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	truncate(t, disk, 320<<20)
	judge(t, "", "mkfs.xfs", "-q", "-L", "test", "-p", proto, disk)
	return disk
}

func truncate(t *testing.T, name string, size int64) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
}

// checkTree compares what was read with the tree.
func checkTree(t *testing.T, files fs.FS, owners bool) {
	t.Helper()
	for _, name := range []string{"etc/os-release", "usr/lib/os-release"} {
		if data, err := fs.ReadFile(files, name); err != nil || string(data) != testOS {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	if data, err := fs.ReadFile(files, testLarge); err != nil || len(data) != largeBytes || !strings.HasSuffix(string(data), "abcde\n") {
		t.Errorf("%s: %d bytes, %v", testLarge, len(data), err)
	}
	// A link leads to the file system's own /etc/shadow, which is not there, and not to that of the guest.
	if _, err := fs.ReadFile(files, "etc/out"); err == nil {
		t.Error("a link led out of the file system")
	}
	info, err := fs.Stat(files, testOwned)
	if err != nil {
		t.Fatal(err)
	}
	uid, gid := info.Sys().(interface{ Owner() (uid, gid uint32) }).Owner()
	if owners && (info.Mode() != 0o755|fs.ModeSetuid || uid != 1000 || gid != 100) {
		t.Errorf("%s: %v, owner %d:%d", testOwned, info.Mode(), uid, gid)
	}
}

// TestAppliance reads file systems that this machine cannot read itself in a VM of ours.
func TestAppliance(t *testing.T) {
	for _, tool := range []string{"mkfs.xfs", "mkfs.btrfs", "xfs_db"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	b := appliance(t)
	folder := t.TempDir()
	xfs := makeXFS(t, folder)

	t.Run("xfs", func(t *testing.T) {
		files, err := mount(t, b, xfs, "xfs")
		if err != nil {
			t.Fatal(err)
		}
		checkTree(t, files, true)
	})
	t.Run("paths", func(t *testing.T) {
		files, err := mount(t, b, xfs, "xfs", "etc/os-release", "nothing/here", "etc/out")
		if err != nil {
			t.Fatal(err)
		}
		if data, err := fs.ReadFile(files, "etc/os-release"); err != nil || string(data) != testOS {
			t.Errorf("%q, %v", data, err)
		}
		for _, name := range []string{testLarge, testOwned, "etc/shadow"} {
			if _, err := fs.Stat(files, name); err == nil {
				t.Errorf("%s is there, which was not asked for", name)
			}
		}
	})
	t.Run("lvm", func(t *testing.T) {
		src, err := image.OpenFile(physicalVolume(t, folder, xfs))
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		volumes, err := lvm.Volumes(context.Background(), src)
		if err != nil || len(volumes) != 1 || volumes[0].Source == nil {
			t.Fatal(volumes, err)
		}
		files, err := mountSource(t, b, volumes[0].Source, "xfs")
		if err != nil {
			t.Fatal(err)
		}
		checkTree(t, files, true)
	})
	t.Run("btrfs", func(t *testing.T) {
		tree, disk := filepath.Join(folder, "tree"), filepath.Join(folder, "btrfs.raw")
		judge(t, "", "sh", "-ec", `mkdir -p "$0"/etc "$0"/usr/lib "$0"/usr/bin "$0"/srv
			cp "$1"/text "$0"/usr/lib/os-release; cp "$1"/text "$0"/usr/bin/su; cp "$1"/large "$0"/srv
			ln -s ../usr/lib/os-release "$0"/etc/os-release; ln -s /etc/shadow "$0"/etc/out; chmod 4755 "$0"/usr/bin/su`, tree, folder)
		truncate(t, disk, 160<<20)
		judge(t, "", "unshare", "-r", "mkfs.btrfs", "-q", "--rootdir", tree, disk)
		files, err := mount(t, b, disk, "btrfs")
		if err != nil {
			t.Fatal(err)
		}
		checkTree(t, files, false)
	})
	t.Run("damaged files", func(t *testing.T) {
		// In XFS the place of a file's data is beyond the file system's end; in Btrfs data does not have its checksum.
		broken := filepath.Join(folder, "broken.raw")
		judge(t, "", "cp", "--sparse=always", xfs, broken)
		judge(t, "", "xfs_db", "-x", "-c", "path /"+testLarge, "-c", "write -d u3.bmx[0].startblock 0xfffffffff", broken)
		brokenFile(t, b, broken, "xfs")

		broken = filepath.Join(folder, "btrfs.raw")
		data, err := os.ReadFile(broken)
		if err != nil {
			t.Fatal(err)
		}
		content := bytes.Repeat([]byte("0123456789abcde\n"), 8192)
		at := bytes.Index(data, content)
		if at < 0 {
			t.Fatal("the file's data is not in the image")
		}
		data[at+64<<10] ^= 1
		if err := os.WriteFile(broken, data, 0o600); err != nil {
			t.Fatal(err)
		}
		brokenFile(t, b, broken, "btrfs")
	})
	t.Run("damaged", func(t *testing.T) {
		// The root folder's inode.
		judge(t, "", "xfs_db", "-x", "-c", "inode 128", "-c", "write -d core.magic 0", xfs)
		_, err := mount(t, b, xfs, "xfs")
		if err == nil {
			t.Fatal("a damaged file system was read")
		}
		expect(t, err.Error(), "read the xfs file system in the appliance VM: it cannot be mounted: XFS (sda): ")
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("more than a line: %v", err)
		}
		_, err = mount(t, b, filepath.Join(folder, "large"), "btrfs")
		if err == nil {
			t.Fatal("something that is no file system was read")
		}
		expect(t, err.Error(), "it cannot be mounted: ")
	})
}

// brokenFile reads a file system in which the large file is damaged: it is an error, and others are read.
func brokenFile(t *testing.T, b *builder.Builder, disk, fsType string) {
	t.Helper()
	files, err := mount(t, b, disk, fsType)
	if err != nil {
		t.Fatal(err)
	}
	data, err := fs.ReadFile(files, testLarge)
	if err == nil {
		t.Fatalf("%s: %s is damaged and was read: %d bytes", fsType, testLarge, len(data))
	}
	t.Log(fsType, err)
	if data, err := fs.ReadFile(files, "usr/lib/os-release"); err != nil || string(data) != testOS {
		t.Errorf("%s: usr/lib/os-release: %q, %v", fsType, data, err)
	}
}

// physicalVolume makes an image of LVM2's with one logical volume in two segments, the second half of its content before the first, by the
// format's description: see package lvm.
func physicalVolume(t *testing.T, folder, content string) string {
	t.Helper()
	const extent, start, id = 4 << 20, 1 << 20, "0123456789abcdefghijklmnopqrstuv"
	data, err := os.ReadFile(content)
	if err != nil {
		t.Fatal(err)
	}
	half := len(data) / 2 / extent * extent
	name := filepath.Join(folder, "pv.raw")
	truncate(t, name, int64(start+len(data)))
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write := func(b []byte, at int) {
		if !image.IsZero(b) {
			if _, err := f.WriteAt(b, int64(at)); err != nil {
				t.Fatal(err)
			}
		}
	}
	second := len(data) - half
	for at := 0; at < len(data); at += extent {
		to := start + second + at
		if at >= half {
			to = start + at - half
		}
		write(data[at:at+extent], to)
	}
	segment := "segment%d {\nstart_extent = %d\nextent_count = %d\ntype = \"striped\"\nstripe_count = 1\nstripes = [\"pv0\", %d]\n}\n"
	text := fmt.Sprintf("contents = \"Text Format Volume Group\"\nversion = 1\nvg {\nseqno = 1\nextent_size = %d\nphysical_volumes {\npv0 {\nid = \"%s\"\npe_start = %d\n}\n}\n"+
		"logical_volumes {\nroot {\nid = \"x\"\nstatus = [\"READ\", \"VISIBLE\"]\nsegment_count = 2\n"+segment+segment+"}\n}\n}\n",
		extent/512, id, start/512, 1, 0, half/extent, second/extent, 2, half/extent, second/extent, 0)
	crc := func(b []byte) uint32 { return ^crc32.Update(^uint32(0xf597a6cf), crc32.IEEETable, b) }
	le := binary.LittleEndian
	label, header := make([]byte, 512), make([]byte, 512)
	copy(label, "LABELONE\x01")
	le.PutUint32(label[20:], 32)
	copy(label[24:], "LVM2 001"+id)
	for i, v := range []uint64{start, 0, 0, 0, 4096, 64 << 10, 0, 0} {
		le.PutUint64(label[72+8*i:], v)
	}
	le.PutUint32(label[16:], crc(label[20:]))
	copy(header[4:], " LVM2 x[5A%r0N*>")
	le.PutUint32(header[20:], 1)
	le.PutUint64(header[24:], 4096)
	le.PutUint64(header[32:], 64<<10)
	le.PutUint64(header[40:], 512)
	le.PutUint64(header[48:], uint64(len(text)))
	le.PutUint32(header[56:], crc([]byte(text)))
	le.PutUint32(header, crc(header[4:]))
	write(label, 512)
	write(header, 4096)
	write([]byte(text), 4096+512)
	return name
}
