package disk

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/disk/image"
)

var dumpe2fs = Tool{Name: "dumpe2fs", Package: "e2fsprogs"}

// dirtyFree writes random bytes to both ends of the ranges of blocks that dumpe2fs calls free and returns which they are, in order and joined.
func dirtyFree(t *testing.T, path string, offset int64) []image.Extent {
	t.Helper()
	text := output(t, dumpe2fs, fmt.Sprintf("%s?offset=%d", path, offset))
	number := func(name string, none int64) int64 {
		if m := regexp.MustCompile(name + `: +(\d+)`).FindStringSubmatch(text); m != nil {
			n, _ := strconv.ParseInt(m[1], 10, 64)
			return n
		}
		return none
	}
	size, blocks := number("Block size", 0), number("Block count", 0)
	cluster := number("Cluster size", size) / size // of which the last one's first block is the end of a range
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	random := rand.NewChaCha8([32]byte{1})
	var out []image.Extent
	for _, line := range regexp.MustCompile(`(?m)^  Free blocks: (.*)$`).FindAllStringSubmatch(text, -1) {
		for _, r := range strings.Split(line[1], ", ") {
			if r == "" {
				continue
			}
			first, last, found := strings.Cut(r, "-")
			if !found {
				last = first
			}
			a, err1 := strconv.ParseInt(first, 10, 64)
			b, err2 := strconv.ParseInt(last, 10, 64)
			if err1 != nil || err2 != nil {
				t.Fatalf("dumpe2fs: %q", line[0])
			}
			b = min(b+cluster, blocks)
			e := image.Extent{Start: offset + a*size, Size: (b - a) * size}
			junk := make([]byte, min(e.Size, 64<<10))
			random.Read(junk)
			for _, at := range []int64{e.Start, e.End() - int64(len(junk))} {
				if _, err := f.WriteAt(junk, at); err != nil {
					t.Fatal(err)
				}
			}
			if n := len(out); n > 0 && out[n-1].End() == e.Start {
				out[n-1].Size += e.Size
			} else {
				out = append(out, e)
			}
		}
	}
	if len(out) == 0 {
		t.Fatalf("dumpe2fs lists no free blocks:\n%s", text)
	}
	return out
}

// expectUnused compares what Unused makes of a raw disk with the disk in which what is free is zeros.
func expectUnused(t *testing.T, path string, free []image.Extent) {
	t.Helper()
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := int64(0)
	for _, e := range free {
		clear(want[e.Start:e.End()])
		sum += e.Size
	}
	raw, err := image.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	src, report, err := Unused(context.Background(), raw)
	if err != nil {
		t.Fatal(err)
	}
	if report.Size() != sum {
		t.Errorf("%d bytes are not used, want %d: %+v", report.Size(), sum, report)
	}
	got := make([]byte, len(want))
	if n, err := src.ReadAt(got, 0); n != len(got) {
		t.Fatal(n, err)
	}
	if !bytes.Equal(got, want) {
		t.Error("what it reads is something else")
	}
	clear(got)
	last := int64(-1)
	err = src.Extents(context.Background(), func(e image.Extent) error {
		if e.Start <= last || e.Size <= 0 {
			t.Fatalf("extent %+v after one that ends at %d", e, last)
		}
		last = e.End()
		for _, f := range free {
			if e.Start < f.End() && f.Start < e.End() {
				t.Fatalf("extent %+v in what is free, %+v", e, f)
			}
		}
		_, err := src.ReadAt(got[e.Start:e.End()], e.Start)
		return err
	})
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("what its extents hold is something else (%v)", err)
	}
	clear(got)
	for off := 0; off < len(got); off += 999_983 { // odd pieces
		if _, err := src.ReadAt(got[off:min(off+999_983, len(got))], int64(off)); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got, want) {
		t.Error("what it reads in pieces is something else")
	}
}

func TestUnusedExt(t *testing.T) {
	need(t, mke2fs, dumpe2fs, debugfs, e2fsck)
	tree := sampleTree(t)
	for i := range 40 { // to be deleted
		if err := os.WriteFile(filepath.Join(tree, fmt.Sprintf("gone-%02d", i)), bytes.Repeat([]byte{byte(i + 1)}, 100_000+i*7777), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name string
		size string
		args []string
	}{
		{"ext4", "140M", []string{"-t", "ext4"}},
		{"as ours", "140M", []string{"-t", "ext4", "-O", "^metadata_csum_seed,^orphan_file,64bit,metadata_csum,flex_bg,resize_inode"}},
		{"1k blocks", "60M", []string{"-t", "ext4", "-b", "1024"}},
		{"2k blocks", "70M", []string{"-t", "ext4", "-b", "2048"}},
		{"an odd end", "60001K", []string{"-t", "ext4", "-b", "1024"}},
		{"bigalloc", "140M", []string{"-t", "ext4", "-O", "bigalloc", "-C", "65536"}},
		{"bigalloc, odd end", "140036K", []string{"-t", "ext4", "-O", "bigalloc", "-C", "16384"}},
		{"no flex_bg", "140M", []string{"-t", "ext4", "-O", "^flex_bg"}},
		{"small flex_bg", "140M", []string{"-t", "ext4", "-b", "1024", "-G", "4"}},
		{"32 bit", "140M", []string{"-t", "ext4", "-O", "^64bit"}},
		{"no checksums", "140M", []string{"-t", "ext4", "-O", "^metadata_csum"}},
		{"uninit_bg", "140M", []string{"-t", "ext4", "-b", "1024", "-O", "^metadata_csum,uninit_bg"}},
		{"uninit_bg, 32 bit", "140M", []string{"-t", "ext4", "-b", "1024", "-O", "^metadata_csum,^64bit,uninit_bg"}},
		{"meta_bg", "280M", []string{"-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode"}},
		{"meta_bg, no flex_bg", "280M", []string{"-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode,^flex_bg"}},
		{"sparse_super2", "140M", []string{"-t", "ext4", "-b", "1024", "-O", "sparse_super2,^resize_inode"}},
		{"small groups", "60M", []string{"-t", "ext4", "-b", "1024", "-g", "1024"}},
		{"metadata_csum_seed", "60M", []string{"-t", "ext4", "-O", "metadata_csum_seed"}},
		{"ext3", "70M", []string{"-t", "ext3"}},
		{"ext2", "60M", []string{"-t", "ext2"}},
		{"ext2 1k", "60M", []string{"-t", "ext2", "-b", "1024", "-O", "^sparse_super,^resize_inode"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "fs")
			output(t, mke2fs, append(append([]string{"-q", "-F", "-d", tree}, test.args...), path, test.size)...)
			script := ""
			for i := range 40 {
				if i%3 != 0 {
					script += fmt.Sprintf("rm /gone-%02d\n", i)
				}
			}
			output(t, debugfs, "-w", "-f", writeFile(t, "script", []byte(script)), path)
			output(t, e2fsck, "-f", "-n", path)
			free := dirtyFree(t, path, 0)
			expectUnused(t, path, free)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			report, err := PunchUnused(context.Background(), path)
			if err != nil || report.FileSystems[0].Kept != "" {
				t.Fatalf("%+v, %v", report, err)
			}
			for _, e := range free {
				clear(before[e.Start:e.End()])
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, before) {
				t.Errorf("the punched file is something else (%v)", err)
			}
			output(t, e2fsck, "-f", "-n", path)
			if used, err := Allocated(path); err != nil || used > int64(len(before))-report.Size()+1<<20 {
				t.Errorf("%d bytes are taken for %d, %v", used, int64(len(before))-report.Size(), err)
			}
		})
	}
}

// What is not in order stays whole, and the report says so.
func TestUnusedStaysWhole(t *testing.T) {
	need(t, mke2fs, debugfs, dumpe2fs)
	tree := sampleTree(t)
	for _, test := range []struct {
		name string
		edit func(t *testing.T, path string)
		want string
		free bool // of other groups something is known
	}{
		{"unclean", func(t *testing.T, path string) { output(t, debugfs, "-w", "-R", "ssv state 0", path) }, "not cleanly unmounted", false},
		{"errors", func(t *testing.T, path string) { output(t, debugfs, "-w", "-R", "ssv state 3", path) }, "not cleanly unmounted", false},
		{"journal", func(t *testing.T, path string) { output(t, debugfs, "-w", "-R", "feature needs_recovery", path) }, "journal", false},
		{"superblock", func(t *testing.T, path string) { poke(t, path, 1024+0x78, 'x') }, "checksum is wrong", false},
		{"descriptor", func(t *testing.T, path string) { poke(t, path, 4096+0x0e, 99) }, "the checksum of its descriptor", true},
		{"bitmap", func(t *testing.T, path string) { poke(t, path, 4096*bitmapOf(t, path)+200, 0x55) }, "the checksum of its bitmap", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "fs")
			output(t, mke2fs, "-q", "-F", "-t", "ext4", "-b", "4096", "-O", "^orphan_file", "-d", tree, path, "300M")
			test.edit(t, path)
			raw, err := image.OpenFile(path)
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			_, report, err := Unused(context.Background(), raw)
			if err != nil || len(report.FileSystems) != 1 {
				t.Fatalf("%+v, %v", report, err)
			}
			if f := report.FileSystems[0]; !strings.Contains(f.Kept, test.want) || (f.Unused > 0) != test.free {
				t.Errorf("%+v, want %q", f, test.want)
			}
		})
	}
}

// Without checksums the counts must be right.
func TestUnusedComparesCounts(t *testing.T) {
	need(t, mke2fs, dumpe2fs)
	path := filepath.Join(t.TempDir(), "fs")
	output(t, mke2fs, "-q", "-F", "-t", "ext2", "-b", "4096", path, "200M")
	poke(t, path, 4096*bitmapOf(t, path)+4000, 0x55)
	raw, err := image.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	_, report, err := Unused(context.Background(), raw)
	if err != nil || !strings.Contains(report.FileSystems[0].Kept, "by its descriptor") {
		t.Fatalf("%+v, %v", report, err)
	}
}

func poke(t *testing.T, path string, off int64, b ...byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}

// bitmapOf is the block of the first group's block bitmap.
func bitmapOf(t *testing.T, path string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(regexp.MustCompile(`Block bitmap at (\d+)`).FindStringSubmatch(output(t, dumpe2fs, path))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
