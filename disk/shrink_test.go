package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// shrinkable makes a disk with a large ext file system in its last partition, that holds tree. It returns where that begins.
func shrinkable(t *testing.T, script string, start, size int64, tree string, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if script != "" {
		path = sfdiskTable(t, start+size+mib, script)
		poke(t, path, 440, 0x11, 0x22, 0x33, 0x44)
		poke(t, path, 0, bytes.Repeat([]byte("boot"), 110)...)
	}
	args = append(append([]string{"-q", "-F", "-d", tree}, args...), "-E", "root_owner=0:0,offset="+strconv.FormatInt(start, 10))
	output(t, mke2fs, append(args, path, strconv.FormatInt(size/1024, 10)+"k")...)
	return path
}

const (
	gptScript = "label: gpt\nlabel-id: 11111111-2222-4333-8444-555555555555\n" +
		"start=1MiB, size=1MiB, type=21686148-6449-6E6F-744E-656564454649, uuid=aaaaaaaa-0000-4000-8000-000000000014\n" +
		"start=4MiB, size=300MiB, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, uuid=aaaaaaaa-0000-4000-8000-000000000001, name=\"root, the last\", attrs=\"LegacyBIOSBootable GUID:59\"\n"
	dosScript = "label: dos\nlabel-id: 0x1a2b3c4d\nstart=1MiB, size=2MiB, type=da\nstart=4MiB, size=300MiB, type=83, bootable\n"
)

func TestShrink(t *testing.T) {
	need(t, mke2fs, e2fsck, resize2fs, sgdisk, dumpe2fs)
	tree := sampleTree(t)
	const start = 4 * mib
	for _, test := range []struct {
		name, kind, script string
		start              int64
		args               []string
		insert             uint32
	}{
		{"gpt", "gpt", gptScript, start, []string{"-t", "ext4", "-b", "4096"}, unix.FALLOC_FL_INSERT_RANGE},
		{"gpt, where nothing can be inserted", "gpt", gptScript, start, []string{"-t", "ext4", "-b", "4096"}, 1 << 30},
		{"gpt, 1k blocks", "gpt", gptScript, start, []string{"-t", "ext4", "-b", "1024"}, unix.FALLOC_FL_INSERT_RANGE},
		{"mbr", "mbr", dosScript, start, []string{"-t", "ext4", "-b", "4096"}, unix.FALLOC_FL_INSERT_RANGE},
		{"mbr, where nothing can be inserted", "mbr", dosScript, start, []string{"-t", "ext3"}, 1 << 30},
		{"mbr, an odd start", "mbr", strings.ReplaceAll(dosScript, "start=4MiB", "start=8255"), 8255 * 512, []string{"-t", "ext2", "-b", "4096"}, unix.FALLOC_FL_INSERT_RANGE},
		{"no table", "none", "", 0, []string{"-t", "ext4", "-b", "4096"}, unix.FALLOC_FL_INSERT_RANGE},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := shrinkable(t, test.script, test.start, 300*mib, tree, test.args...)
			if err := os.Chmod(path, 0o604); err != nil {
				t.Fatal(err)
			}
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			tableBefore, err := Partitions(path)
			if err != nil {
				t.Fatal(err)
			}
			margin := int64(20 * mib)
			report, err := shrinkFile(context.Background(), path, ShrinkOptions{Margin: margin}, test.insert)
			if err != nil {
				t.Fatal(err)
			}
			st, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if report.After != st.Size() || report.Before != int64(len(before)) || st.Size() > 150*mib || st.Size()%mib != 0 || st.Mode().Perm() != 0o604 {
				t.Errorf("%+v, a file of %d bytes, %v", report, st.Size(), st.Mode())
			}
			if report.Free < margin || report.Free > margin+50*mib {
				t.Errorf("%d bytes are free, want %d", report.Free, margin)
			}
			table, err := Partitions(path)
			if err != nil || table.Kind != test.kind {
				t.Fatalf("%+v, %v", table, err)
			}
			for i, p := range table.Partitions {
				if i == len(table.Partitions)-1 {
					if p.Size >= tableBefore.Partitions[i].Size || p.Size < report.FileSystemAfter || (p.Start+p.Size)%mib != 0 {
						t.Errorf("%+v", p)
					}
					p.Size = tableBefore.Partitions[i].Size
				}
				if p != tableBefore.Partitions[i] {
					t.Errorf("%+v, was %+v", p, tableBefore.Partitions[i])
				}
			}
			after, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if test.kind != "none" && (!bytes.Equal(after[:440], before[:440]) || !bytes.Equal(after[mib:test.start], before[mib:test.start])) {
				t.Error("what is before the partition has changed")
			}
			if test.kind == "gpt" {
				if text := output(t, sgdisk, "-v", path); !strings.Contains(text, "No problems found") {
					t.Error(text)
				}
				if text := output(t, sgdisk, "-i", "2", path); !strings.Contains(text, "Attribute flags: 0800000000000004") || !strings.Contains(text, "root, the last") {
					t.Error(text)
				}
			}
			if test.kind != "none" {
				if text := output(t, Tool{Name: "sfdisk", Package: "fdisk"}, "--verify", path); !strings.Contains(text, "No errors detected") {
					t.Error(text)
				}
			}
			fs := fmt.Sprintf("%s?offset=%d", path, test.start)
			output(t, e2fsck, "-f", "-n", fs)
			e, err := OpenExt(path, Extent{Start: test.start, Size: report.FileSystemAfter})
			if err != nil {
				t.Fatal(err)
			}
			compareTree(t, e, tree)
			e.Close()
			growsAgain(t, path, test.start, report.FileSystemAfter)
			again, err := Shrink(context.Background(), path, ShrinkOptions{Margin: margin})
			if err != nil || again.After != again.Before || again.FileSystemAfter != again.FileSystemBefore {
				t.Errorf("the second time: %+v, %v", again, err)
			}
			if same, err := os.ReadFile(path); err != nil || !bytes.Equal(same, after) {
				t.Error("the second time the disk has changed")
			}
		})
	}
}

// growsAgain makes the file system that was shrunk larger than it ever was, and expects room for more descriptors of groups: a kernel that has it
// mounted needs it.
func growsAgain(t *testing.T, path string, start, size int64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fs := writeFile(t, "fs", b[start:start+size])
	if err := os.Truncate(fs, 3<<30); err != nil {
		t.Fatal(err)
	}
	if m := regexp.MustCompile(`Reserved GDT blocks: +(\d+)`).FindStringSubmatch(output(t, dumpe2fs, "-h", fs)); m == nil || m[1] == "0" {
		t.Error("the file system has no room to grow while it is mounted")
	}
	output(t, e2fsck, "-f", "-y", fs)
	output(t, resize2fs, fs)
	output(t, e2fsck, "-f", "-n", fs)
}

func TestShrinkLeavesRoomAsTold(t *testing.T) {
	need(t, mke2fs, e2fsck, resize2fs)
	tree := sampleTree(t)
	last := int64(0)
	for _, margin := range []int64{-1, 60 * mib, 0} {
		path := shrinkable(t, "", 0, 300*mib, tree, "-t", "ext4")
		report, err := Shrink(context.Background(), path, ShrinkOptions{Margin: margin})
		if margin == 0 {
			margin = DefaultMargin
		}
		if err != nil || report.After <= last || report.Free < margin {
			t.Errorf("margin %d: %+v, %v", margin, report, err)
		}
		last = report.After
	}
}

// What is in the way is named, and nothing is changed then.
func TestShrinkRefuses(t *testing.T) {
	need(t, mke2fs, e2fsck, resize2fs, debugfs)
	tree := t.TempDir()
	ext := func(script string, start int64) string {
		return shrinkable(t, script, start, 40*mib, tree, "-t", "ext4")
	}
	small := strings.ReplaceAll(gptScript, "300MiB", "40MiB")
	smallDOS := strings.ReplaceAll(dosScript, "300MiB", "40MiB")
	part := func(path string) string { return fmt.Sprintf("%s?offset=%d", path, 4*mib) }
	for _, test := range []struct {
		name string
		disk func() string
		want string
	}{
		{"nothing", func() string { return sfdiskTable(t, 64*mib, small) }, "partition, 2, holds nothing that is known"},
		{"swap", func() string {
			p := sfdiskTable(t, 64*mib, small)
			poke(t, p, 4*mib+4086, []byte("SWAPSPACE2")...)
			return p
		}, "partition, 2, holds swap"},
		{"LVM", func() string {
			p := sfdiskTable(t, 64*mib, small)
			poke(t, p, 4*mib+512, []byte("LABELONE")...)
			poke(t, p, 4*mib+512+24, []byte("LVM2 001")...)
			return p
		}, "partition, 2, holds LVM2_member"},
		{"XFS without a table", func() string { return writeFile(t, "x", append([]byte("XFSB"), make([]byte, mib)...)) }, "no partitions, holds xfs"},
		{"no table", func() string { return writeFile(t, "x", make([]byte, mib)) }, "no partition table"},
		{"RAID's member", func() string {
			p := ext(small, 4*mib)
			poke(t, p, 44*mib-8192, mdSuperblock()...)
			return p
		}, "two file systems, ext4 and linux_raid_member"},
		{"unclean", func() string {
			p := ext(small, 4*mib)
			output(t, debugfs, "-w", "-R", "ssv state 0", part(p))
			return p
		}, "not clean"},
		{"journal", func() string {
			p := ext(small, 4*mib)
			output(t, debugfs, "-w", "-R", "feature needs_recovery", part(p))
			return p
		}, "journal needs recovery"},
		{"damaged", func() string {
			p := ext(small, 4*mib)
			output(t, debugfs, "-w", "-R", "sif / links_count 77", part(p))
			return p
		}, "not clean: e2fsck: "},
		{"logical", func() string {
			return ext("label: dos\nstart=1MiB, size=43MiB, type=5\nstart=4MiB, size=40MiB, type=83\n", 4*mib)
		}, "is a logical one"},
		{"hybrid", func() string {
			p := ext(small, 4*mib)
			poke(t, p, mbrEntries+16, 0, 0, 2, 0, 0x83, 0xff, 0xff, 0xff, 0, 32, 0, 0, 0, 0x40, 1)
			return p
		}, "hybrid MBR"},
		{"primary table damaged", func() string {
			p := ext(small, 4*mib)
			poke(t, p, 512, 'X')
			return p
		}, "primary partition table is damaged"},
		{"extlinux", func() string {
			p := ext(small, 4*mib)
			poke(t, p, 4*mib, 0xeb, 0x58)
			poke(t, p, 4*mib+510, 0x55, 0xaa)
			return p
		}, "boot loader in its first sector"},
		{"GRUB by block lists", func() string {
			p := ext(smallDOS, 4*mib)
			poke(t, p, 0x5c, 0, 0x40, 0, 0, 0, 0, 0, 0)
			poke(t, p, 0x180, []byte("GRUB \x00Geom")...)
			return p
		}, "core.img is a file in partition 2"},
		{"LILO", func() string {
			p := ext(smallDOS, 4*mib)
			poke(t, p, 6, []byte("LILO")...)
			return p
		}, "LILO"},
		{"overlap", func() string {
			p := ext(smallDOS, 4*mib)
			poke(t, p, mbrEntries+12, 0, 0x80, 0, 0)
			return p
		}, "overlap"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := test.disk()
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Shrink(context.Background(), path, ShrinkOptions{})
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("%v, want %q", err, test.want)
			}
			after, err := os.ReadFile(path)
			if err != nil || sha256.Sum256(after) != sha256.Sum256(before) {
				t.Errorf("the disk has changed (%v)", err)
			}
			if names, err := os.ReadDir(filepath.Dir(path)); err != nil || len(names) != 1 {
				t.Errorf("%v, %v", names, err)
			}
		})
	}
}

func TestShrinkCancelled(t *testing.T) {
	need(t, mke2fs, e2fsck, resize2fs)
	path := shrinkable(t, "", 0, 40*mib, t.TempDir(), "-t", "ext4")
	why := errors.New("no longer wanted")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(why)
	if _, err := Shrink(ctx, path, ShrinkOptions{}); !errors.Is(err, why) {
		t.Error(err)
	}
	if st, err := os.Stat(path); err != nil || st.Size() != 40*mib {
		t.Errorf("%v, %v", st, err)
	}
}
