package disk

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/ingot-image/ingot/disk/internal/folder"
)

// compareTree reads every file of the image and compares it with the folder it was made from.
func compareTree(t *testing.T, e *Ext, root string) {
	t.Helper()
	want := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		want[name] = true
		host, err := os.Lstat(path)
		if err != nil {
			return err
		}
		got, err := e.Lstat(name)
		if err != nil {
			t.Errorf("%q: %v", name, err)
			return nil
		}
		if got.Mode() != host.Mode() || (host.Mode().IsRegular() && (got.Size() != host.Size() || got.ModTime().Unix() != host.ModTime().Unix())) {
			if name != "." {
				t.Errorf("%q: %v %d, want %v %d", name, got.Mode(), got.Size(), host.Mode(), host.Size())
			}
		}
		switch {
		case host.Mode().IsRegular():
			a, _ := os.ReadFile(path)
			if b, err := e.ReadFile(name); err != nil || !bytes.Equal(a, b) {
				t.Errorf("%q: content differs (%v)", name, err)
			}
		case host.Mode()&fs.ModeSymlink != 0:
			a, _ := os.Readlink(path)
			if b, err := e.ReadLink(name); err != nil || a != b {
				t.Errorf("%q: leads to %q, want %q (%v)", name, b, a, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = fs.WalkDir(e, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name == "lost+found" {
			return fs.SkipDir
		}
		if n++; !want[name] {
			t.Errorf("%q is not in the folder", name)
		}
		return nil
	})
	if err != nil || n != len(want) {
		t.Errorf("walked over %d of %d: %v", n, len(want), err)
	}
}

// The reader against mke2fs, in the shapes that ext comes in.
func TestExtReadsWhatMke2fsWrites(t *testing.T) {
	need(t, mke2fs)
	tree := sampleTree(t)
	for _, test := range []struct {
		name string
		kind string
		args []string
	}{
		{"ext4", "ext4", []string{"-t", "ext4"}},
		{"ext4 1k", "ext4", []string{"-t", "ext4", "-b", "1024"}},
		{"ext4 32bit", "ext4", []string{"-t", "ext4", "-O", "^64bit,^metadata_csum"}},
		{"ext4 meta_bg", "ext4", []string{"-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode"}},
		{"ext4 small inodes", "ext4", []string{"-t", "ext4", "-I", "128", "-O", "^metadata_csum"}},
		{"ext3", "ext3", []string{"-t", "ext3"}},
		{"ext3 1k", "ext3", []string{"-t", "ext3", "-b", "1024"}},
		{"ext2", "ext2", []string{"-t", "ext2"}},
		{"ext2 no filetype", "ext2", []string{"-t", "ext2", "-O", "^filetype,^dir_index"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "fs")
			output(t, mke2fs, append(append([]string{"-q", "-F", "-U", "c0ffee00-1234-4abc-8def-000000000001", "-L", "some label", "-d", tree}, test.args...), path, "100M")...)
			st, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			table, err := Partitions(path)
			if err != nil || table.Kind != "none" || len(table.Partitions) != 1 {
				t.Fatalf("%+v, %v", table, err)
			}
			if f := table.Partitions[0].FileSystem; f.Type != test.kind || f.UUID != "c0ffee00-1234-4abc-8def-000000000001" || f.Label != "some label" || f.NeedsRecovery || f.Unclean {
				t.Errorf("%+v", f)
			}
			e, err := OpenExt(path, Extent{Start: 0, Size: st.Size()})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			compareTree(t, e, tree)
		})
	}
}

func TestExtPaths(t *testing.T) {
	path := makeHybrid(t, sampleTree(t))
	e, err := OpenExt(path, sampleHybrid().Root())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for _, name := range []string{"etc/os-release", "deep/absolute", "deep/escape", "long/lib/os-release", "deep/../etc/os-release"} {
		b, err := e.ReadFile(name)
		if name == "deep/../etc/os-release" {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		} else if string(b) != "ID=test\n" || err != nil {
			// The host's /etc/os-release must not show either.
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	for name, want := range map[string]string{"loop": "too many levels", "none": "not exist", "secret/x": "not a directory", "/etc": "invalid argument", "etc": "is a folder"} {
		if _, err := e.ReadFile(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	if _, err := e.Open("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
	if st, err := e.Stat("secret"); err != nil || st.Sys().(ExtStat).UID != uint32(os.Getuid()) || st.Sys().(ExtStat).Links != 1 {
		t.Errorf("stat: %+v, %v", st, err)
	}
	out := filepath.Join(t.TempDir(), "out")
	if err := e.Dump(t.Context(), "secret", out, 1000); err == nil {
		t.Error("dumped more than the limit")
	}
	if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a refused dump left a file")
	}
	if err := e.Dump(t.Context(), "secret", out, 1<<20); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(out); !bytes.Equal(b, bytes.Repeat([]byte("abc"), 100000)) {
		t.Error("dump differs")
	}
	// What debugfs reads at the same offset is the same.
	if got := output(t, debugfs, "-R", "cat /usr/lib/os-release", linkTo(t, path)+"?offset=134217728"); !strings.HasSuffix(got, "ID=test\n") {
		t.Errorf("debugfs: %q", got)
	}
	if err := fstest.TestFS(subset{e}, "etc/os-release", "secret", "deep/a/b"); err != nil {
		t.Error(err)
	}
}

// subset leaves out what fstest.TestFS cannot take: names with line breaks are fine, dangling loops are not.
type subset struct{ *Ext }

func (s subset) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := s.Ext.ReadDir(name)
	var out []fs.DirEntry
	for _, d := range entries {
		if d.Name() != "loop" && d.Name() != "many" {
			out = append(out, d)
		}
	}
	return out, err
}

func (s subset) Open(name string) (fs.File, error) {
	f, err := s.Ext.Open(name)
	if _, ok := f.(fs.ReadDirFile); !ok || err != nil {
		return f, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	entries, err := s.ReadDir(name)
	return folder.Open(info, entries), err
}

// Extents that were allocated and never written hold other files' old bytes on disk; they must read as zeros.
func TestExtUnwrittenExtents(t *testing.T) {
	need(t, mke2fs, debugfs)
	path := filepath.Join(t.TempDir(), "fs")
	junk := bytes.Repeat([]byte("JUNK"), 8<<20/4)
	if err := os.WriteFile(path, junk, 0o644); err != nil {
		t.Fatal(err)
	}
	output(t, mke2fs, "-q", "-F", "-t", "ext4", "-E", "nodiscard", path, "8M")
	output(t, debugfs, "-w", "-R", "write /dev/null f", path)
	output(t, debugfs, "-w", "-R", "fallocate f 0 9", path)
	output(t, debugfs, "-w", "-R", "sif f size 10000", path)
	e, err := OpenExt(path, Extent{Start: 0, Size: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	b, err := e.ReadFile("f")
	if err != nil || !bytes.Equal(b, make([]byte, 10000)) {
		t.Errorf("%d bytes, %v: %.20q", len(b), err, b)
	}
}

var _ io.ReaderAt = (*extFile)(nil)
