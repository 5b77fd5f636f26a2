package disk

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// quick fails a parser that takes longer than its input can justify.
func quick(t *testing.T) func() {
	start := time.Now()
	return func() {
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("took %v", d)
		}
	}
}

func fuzzProbe(f *testing.F, seeds ...[]byte) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		defer quick(t)()
		info, err := probeReader(bytes.NewReader(data), int64(len(data)))
		if err == nil && info.VirtualSize < 0 {
			t.Errorf("negative size: %+v", info)
		}
	})
}

func FuzzQcow2(f *testing.F) {
	fuzzProbe(f, qcow2Header(1<<20, nil)[:4096], qcow2Header(1<<40, func(b []byte) { b[20+3] = 9; b[15] = 200; b[19] = 10 })[:2048])
}

func FuzzVMDK(f *testing.F) {
	fuzzProbe(f, vmdkHeader(vmdkText, nil)[:16384], []byte(vmdkText), []byte("version=1\nRW 1 FLAT \"/etc/shadow\" 0\n"))
}

func FuzzVHD(f *testing.F) {
	fuzzProbe(f, vhdDynamic(3, 10<<20, nil), vhdDynamic(4, 10<<20, nil), append(make([]byte, 1024), vhdFooter(2, 1024)...))
}

func FuzzPartitionTable(f *testing.F) {
	h := sampleHybrid()
	path := filepath.Join(f.TempDir(), "d")
	if err := h.Partition(path); err != nil {
		f.Fatal(err)
	}
	if img, err := os.ReadFile(path); err == nil {
		f.Add(img[:34*512])
	}
	logical := make([]byte, 8192)
	logical[446+4], logical[446+8], logical[446+12], logical[510], logical[511] = 5, 2, 9, 0x55, 0xaa
	copy(logical[1024:], logical[:512])
	f.Add(logical)
	f.Fuzz(func(t *testing.T, data []byte) {
		defer quick(t)()
		table, err := ReadTable(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		for _, p := range table.Partitions {
			if p.Start < 0 || p.Size <= 0 || p.Start+p.Size > int64(len(data)) {
				t.Errorf("outside the disk: %+v", p)
			}
		}
	})
}

func FuzzFileSystem(f *testing.F) {
	for at, magic := range map[int]string{0: "XFSB", 0x438: "\x53\xef", 510: "\x55\xaa", 512: "LABELONE\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00LVM2 001"} {
		b := make([]byte, 2048)
		copy(b[at:], magic)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := DetectFileSystem(bytes.NewReader(data), int64(len(data))); err != nil {
			t.Error(err)
		}
	})
}

// FuzzExt damages a small file system: the fuzzer chooses where and with what, which finds more than bytes from nothing.
func FuzzExt(f *testing.F) {
	need(f, mke2fs)
	tree := f.TempDir()
	os.MkdirAll(filepath.Join(tree, "a/b"), 0o755)
	os.WriteFile(filepath.Join(tree, "a/b/c"), bytes.Repeat([]byte("c"), 9000), 0o644)
	os.Symlink("../a", filepath.Join(tree, "a/up"))
	var images [][]byte
	for i, kind := range []string{"ext4", "ext2"} {
		path := filepath.Join(f.TempDir(), kind)
		output(f, mke2fs, "-q", "-F", "-t", kind, "-N", "16", "-O", "^has_journal,^resize_inode", "-d", tree, path, "128k")
		img, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		images = append(images, img)
		f.Add(byte(i), uint32(1024), []byte{16, 0, 0, 0})
		f.Add(byte(i), uint32(5*1024), []byte{0xff, 0xff, 0xff, 0xff})
	}
	f.Fuzz(func(t *testing.T, which byte, at uint32, patch []byte) {
		defer quick(t)()
		img := bytes.Clone(images[int(which)%len(images)])
		copy(img[int(at)%len(img):], patch)
		e, err := NewExt(io.NewSectionReader(bytes.NewReader(img), 0, int64(len(img))))
		if err != nil {
			return
		}
		n := 0
		fs.WalkDir(e, ".", func(name string, d fs.DirEntry, err error) error {
			if n++; err != nil || n > 200 {
				return fs.SkipAll
			}
			if info, err := d.Info(); err == nil && info.Mode().IsRegular() && info.Size() < 1<<20 {
				e.ReadFile(name)
			}
			e.ReadLink(name)
			e.Stat(name)
			return nil
		})
	})
}
