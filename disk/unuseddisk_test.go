package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/disk/image"
)

var (
	mdel   = Tool{Name: "mdel", Package: "mtools"}
	mdir   = Tool{Name: "mdir", Package: "mtools"}
	mcat   = Tool{Name: "mtype", Package: "mtools"}
	mkswap = Tool{Name: "mkswap", Package: "util-linux"}
)

func randomFile(t *testing.T, size int64) string {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(size)}).Read(b)
	return writeFile(t, "random", b)
}

// fatWithDeleted makes a FAT that was filled to the last cluster and has only its first and third files left. It returns how much of it is free.
func fatWithDeleted(t *testing.T, path string, size int64, args ...string) (free int64) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	output(t, mkfsVFAT, append(args, path)...)
	avail := func() int64 {
		text := output(t, mdir, "-i", path, "::")
		m := regexp.MustCompile(`([\d ]+) bytes free`).FindStringSubmatch(text)
		n, err := strconv.ParseInt(strings.ReplaceAll(m[1], " ", ""), 10, 64)
		if err != nil {
			t.Fatalf("mdir: %s", text)
		}
		return n
	}
	for i := range 3 {
		output(t, mcopy, "-i", path, randomFile(t, 1<<20), fmt.Sprintf("::file%d", i))
	}
	output(t, mcopy, "-i", path, randomFile(t, avail()), "::rest")
	output(t, mdel, "-i", path, "::rest", "::file1")
	return avail()
}

func TestUnusedFAT(t *testing.T) {
	need(t, mkfsVFAT, mcopy, mdel, mdir, fsckVFAT)
	for _, test := range []struct {
		name string
		size int64
		args []string
	}{
		{"FAT32", 64 << 20, []string{"-F", "32", "-s", "1"}},
		{"FAT32, one table", 300 << 20, []string{"-F", "32", "-f", "1"}},
		{"FAT16", 40 << 20, []string{"-F", "16"}},
		{"FAT16, large sectors", 60<<20 + 4096, []string{"-F", "16", "-S", "2048"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "fat")
			free := fatWithDeleted(t, path, test.size, test.args...)
			report, err := PunchUnused(context.Background(), path)
			if err != nil || report.Size() != free {
				t.Fatalf("%d bytes free: %+v, %v", free, report, err)
			}
			output(t, fsckVFAT, "-n", path)
			want, err := os.ReadFile(randomFile(t, 1<<20))
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"::file0", "::file2"} {
				if output(t, mcat, "-i", path, name) != string(want) {
					t.Errorf("%s is something else", name)
				}
			}
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			zeros := int64(0)
			for i := 0; i < len(data); i += 512 {
				if image.IsZero(data[i : i+512]) {
					zeros += 512
				}
			}
			if zeros < free {
				t.Errorf("%d bytes of zeros, %d are free", zeros, free)
			}
			if test.name == "FAT32" {
				poke(t, path, 65, 1)
				if report, err := PunchUnused(context.Background(), path); err != nil || !strings.Contains(report.FileSystems[0].Kept, "cleanly") {
					t.Errorf("%+v, %v", report, err)
				}
			}
		})
	}
}

// A disk with everything: free space of each file system, at its place.
func TestUnusedOfADisk(t *testing.T) {
	need(t, mke2fs, mkfsVFAT, mcopy, mkswap, dumpe2fs)
	for kind, types := range map[string][]string{"gpt": {TypeESP}, "dos": {"c"}} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			path := sfdiskTable(t, 164<<20, "label: "+kind+"\nstart=1MiB, size=64MiB, type="+types[0]+"\nstart=66MiB, size=20MiB\nstart=90MiB, size=60MiB\nstart=152MiB, size=10MiB\n")
			poke(t, path, 1<<20, bytes.Repeat([]byte("junk"), (162<<20)/4)...)
			part := filepath.Join(dir, "part")
			fatFree := fatWithDeleted(t, part, 64<<20, "-F", "32")
			place := func(at int64) {
				b, err := os.ReadFile(part)
				if err != nil {
					t.Fatal(err)
				}
				poke(t, path, at, b...)
				if err := os.Remove(part); err != nil {
					t.Fatal(err)
				}
			}
			place(1 << 20)
			swap := bytes.Repeat([]byte("swap"), 5<<20)
			if err := os.WriteFile(part, swap, 0o644); err != nil {
				t.Fatal(err)
			}
			output(t, mkswap, part)
			place(66 << 20)
			output(t, mke2fs, "-q", "-F", "-t", "ext4", "-E", "offset="+strconv.Itoa(90<<20), path, "60M")
			poke(t, path, 152<<20, []byte("XFSB")...) // which is all that is looked at
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			free := append([]image.Extent{{Start: 66<<20 + 4096, Size: 20<<20 - 4096}}, dirtyFree(t, path, 90<<20)...)
			report, err := PunchUnused(context.Background(), path)
			if err != nil {
				t.Fatal(err)
			}
			sum := fatFree
			for _, e := range free {
				sum += e.Size
				clear(before[e.Start:e.End()])
			}
			if len(report.FileSystems) != 4 || report.FileSystems[0].Unused != fatFree || report.Size() != sum || !strings.Contains(report.FileSystems[3].Kept, "trim") {
				t.Errorf("%+v, want %d of %d", report, fatFree, sum)
			}
			after, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(after[65<<20:], before[65<<20:]) || !bytes.Equal(after[:1<<20], before[:1<<20]) {
				t.Error("what is used has changed")
			}
		})
	}
}

// A disk of terabytes takes the time that what it holds takes.
func TestUnusedOfTerabytes(t *testing.T) {
	need(t, mke2fs)
	path := filepath.Join(t.TempDir(), "fs")
	output(t, mke2fs, "-q", "-F", "-t", "ext4", "-m", "0", "-E", "lazy_itable_init=1,nodiscard", "-O", "^has_journal", path, "2T")
	raw, err := image.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	src, report, err := Unused(context.Background(), raw)
	if err != nil || report.FileSystems[0].Kept != "" || report.Size() < 2<<40*95/100 {
		t.Fatalf("%+v, %v", report, err)
	}
	held := int64(0)
	if err := src.Extents(context.Background(), func(e image.Extent) error { held += e.Size; return nil }); err != nil || held > 1<<30 {
		t.Errorf("%d bytes in extents, %v", held, err)
	}
}

func FuzzUnused(f *testing.F) {
	need(f, mke2fs)
	dir := f.TempDir()
	for i, args := range [][]string{{"-t", "ext4", "-b", "1024", "-g", "256", "-O", "^has_journal,^resize_inode"}, {"-t", "ext2", "-b", "1024", "-g", "256", "-O", "^resize_inode"},
		{"-t", "ext4", "-b", "1024", "-O", "bigalloc,^has_journal,^resize_inode", "-C", "4096"}} {
		path := filepath.Join(dir, strconv.Itoa(i))
		output(f, mke2fs, append(append([]string{"-q", "-F", "-N", "16"}, args...), path, "600K")...)
		if b, err := os.ReadFile(path); err == nil {
			f.Add(b)
		}
	}
	boot := make([]byte, 70<<10)
	copy(boot, "\xeb\x58\x90mkfs.fat\x00\x02\x01\x02\x00\x01\x00\x02\x00\x00\xf8\x14\x00")
	copy(boot[54:], "FAT16   ")
	boot[510], boot[511], boot[32], boot[33] = 0x55, 0xaa, 0x00, 0x14
	f.Add(boot)
	f.Add(append(make([]byte, 1024), hostileExt(3<<30, 32768)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		defer quick(t)()
		// Time must not depend on what it says that its size is.
		if _, _, err := Unused(context.Background(), beginning{bytesSource{bytes.NewReader(b)}}); errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(err)
		}
		src, report, err := Unused(context.Background(), image.Section(bytesSource{bytes.NewReader(b)}, Extent{Size: int64(len(b))}))
		if err != nil {
			return
		}
		if report.Size() > int64(len(b)) {
			t.Fatalf("%d bytes of %d are not used", report.Size(), len(b))
		}
		held, last := int64(0), int64(0)
		err = src.Extents(context.Background(), func(e image.Extent) error {
			if e.Size <= 0 || e.Start < last || e.End() > src.Size() {
				t.Fatalf("extent %+v after %d", e, last)
			}
			held, last = held+e.Size, e.End()
			return nil
		})
		if err != nil || held+report.Size() != int64(len(b)) {
			t.Fatalf("%d bytes used, %d not, of %d: %v", held, report.Size(), len(b), err)
		}
		if n, err := src.ReadAt(make([]byte, len(b)), 0); n != len(b) {
			t.Fatal(n, err)
		}
	})
}

// beginning is a disk of 15 TiB of which only the first bytes are not zeros.
type beginning struct{ bytesSource }

func (beginning) Size() int64 { return 15 << 40 }

func (s beginning) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > s.Size() {
		return 0, io.EOF
	}
	n := 0
	if off < s.Reader.Size() {
		n, _ = s.Reader.ReadAt(p, off)
	}
	clear(p[n:])
	return len(p), nil
}

// bytesSource is a disk without holes.
type bytesSource struct{ *bytes.Reader }

func (s bytesSource) Extents(_ context.Context, f func(image.Extent) error) error {
	if s.Size() == 0 {
		return nil
	}
	return f(image.Extent{Size: s.Size()})
}
