package fat

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// output runs a tool of somebody else.
func output(t testing.TB, tool string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		if path = "/sbin/" + tool; !exists(path) {
			t.Skipf("skipped: %s is not installed", tool)
		}
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MTOOLSRC=/dev/null", "MTOOLS_SKIP_CHECK=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", tool, args, err, out)
	}
	return string(out)
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// makeImage makes a file system by mkfs.vfat and mtools.
func makeImage(t testing.TB, tree string, kib int, args ...string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fat")
	output(t, "mkfs.vfat", append(append([]string{"-C", "-i", "1234abcd", "-n", "SOME LABEL"}, args...), path, fmt.Sprint(kib))...)
	entries, err := os.ReadDir(tree)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		output(t, "mcopy", "-i", path, "-s", "-Q", "-m", filepath.Join(tree, e.Name()), "::/")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func sampleTree(t testing.TB) string {
	t.Helper()
	tree := t.TempDir()
	for name, content := range map[string][]byte{
		"EFI/BOOT/BOOTX64.EFI":                      bytes.Repeat([]byte("loader"), 20000),
		"EFI/debian/a rather longer name.config":    []byte("long"),
		"EFI/debian/lower.txt":                      []byte("lower"),
		"EFI/debian/ümläut 日本.text":                 []byte("unicode"),
		"EFI/debian/" + strings.Repeat("n", 200):    []byte("very long"),
		"empty":                                     {},
		"deep/1/2/3/4/5/6/7/8/file":                 []byte("deep"),
		"MIXED.Case":                                []byte("mixed"),
		"deep/exactly one cluster":                  bytes.Repeat([]byte{7}, 512),
		"deep/thirteen chr":                         []byte("13"),
		"deep/with.many.dots.in.it and blanks .txt": []byte("dots"),
	} {
		path := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	many := filepath.Join(tree, "many")
	os.Mkdir(many, 0o755)
	for i := range 120 {
		if err := os.WriteFile(filepath.Join(many, fmt.Sprintf("a file with number %d", i)), []byte(fmt.Sprint(i)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return tree
}

// What mkfs.vfat and mtools wrote must be read back as it was, in all kinds and sizes of clusters.
func TestReadsWhatMtoolsWrites(t *testing.T) {
	tree := sampleTree(t)
	for _, test := range []struct {
		bits, kib int
		args      []string
	}{
		{12, 2000, []string{"-F", "12"}},
		{12, 8000, []string{"-F", "12", "-s", "16"}},
		{16, 20000, []string{"-F", "16"}},
		{16, 64000, []string{"-F", "16", "-S", "2048"}},
		{32, 40000, []string{"-F", "32", "-s", "1"}},
		{32, 300000, []string{"-F", "32", "-s", "8", "-f", "1"}},
	} {
		t.Run(fmt.Sprint(test.args), func(t *testing.T) {
			img := makeImage(t, tree, test.kib, test.args...)
			f, err := New(bytes.NewReader(img), int64(len(img)))
			if err != nil {
				t.Fatal(err)
			}
			if f.Bits() != test.bits || f.Serial() != 0x1234abcd || f.Label() != "SOME LABEL" {
				t.Errorf("FAT%d, serial %x, label %q", f.Bits(), f.Serial(), f.Label())
			}
			var want []string
			err = filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
				name, _ := filepath.Rel(tree, path)
				if err != nil || d.IsDir() {
					return err
				}
				want = append(want, name)
				a, _ := os.ReadFile(path)
				if b, err := f.ReadFile(name); err != nil || !bytes.Equal(a, b) {
					t.Errorf("%q: %d bytes, want %d, %v", name, len(b), len(a), err)
				}
				host, _ := d.Info()
				if st, err := f.Stat(strings.ToUpper(name)); err != nil || st.Size() != int64(len(a)) {
					t.Errorf("%q in upper case: %v", name, err)
				} else if host.Size() != st.Size() {
					t.Errorf("%q: %d bytes", name, st.Size())
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			fs.WalkDir(f, ".", func(name string, d fs.DirEntry, err error) error {
				if err != nil {
					t.Errorf("%s: %v", name, err)
				} else if !d.IsDir() {
					got = append(got, name)
				}
				return nil
			})
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("holds %d files, want %d", len(got), len(want))
			}
			total, free, ok := f.Space()
			if !ok {
				t.Fatal("its space is not known")
			}
			// minfo does not count: fsck.vfat does.
			path := filepath.Join(t.TempDir(), "img")
			os.WriteFile(path, img, 0o600)
			used := (total - free) / f.ClusterSize()
			if out := output(t, "fsck.vfat", "-n", path); !strings.Contains(out, fmt.Sprintf("%d/%d clusters", used, total/f.ClusterSize())) {
				t.Errorf("%d of %d clusters are used, but fsck.vfat says %s", used, total/f.ClusterSize(), out)
			}
		})
	}
}

func TestFSTest(t *testing.T) {
	img := makeImage(t, sampleTree(t), 4000)
	f, err := New(bytes.NewReader(img), int64(len(img)))
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(f, "EFI/BOOT/BOOTX64.EFI", "empty", "many/a file with number 119"); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]error{"nothing": fs.ErrNotExist, "/EFI": fs.ErrInvalid, "EFI/../empty": fs.ErrInvalid} {
		if _, err := f.Stat(name); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	if _, err := f.Stat("empty/below"); err == nil {
		t.Error("a file has something in it")
	}
	if _, err := f.ReadFile("EFI"); err == nil {
		t.Error("a folder can be read as a file")
	}
	if _, err := f.Stat(strings.Repeat("a/", 70) + "a"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("too many elements: %v", err)
	}
	if short, err := f.ReadFile("deep/THIRTE~1"); err != nil || string(short) != "13" {
		t.Errorf("by its short name: %q, %v", short, err)
	}
}

// Damage must be told, not read over.
func TestDamage(t *testing.T) {
	tree := t.TempDir()
	os.MkdirAll(filepath.Join(tree, "d", "e"), 0o755)
	os.WriteFile(filepath.Join(tree, "file"), bytes.Repeat([]byte("x"), 9000), 0o644)
	good := makeImage(t, tree, 20000, "-F", "16", "-s", "1")
	entryOf := func(f *FS, name string) (at int) {
		return bytes.Index(good, []byte(name))
	}
	for _, test := range []struct {
		name, path string
		damage     func(b []byte, f *FS)
		want       string
	}{
		{"loop", "file", func(b []byte, f *FS) {
			e, _ := f.find("", "file")
			at := f.table + int64(e.cluster+2)*2
			b[at], b[at+1] = byte(e.cluster), byte(e.cluster>>8)
		}, "comes back"},
		{"end", "file", func(b []byte, f *FS) {
			e, _ := f.find("", "file")
			at := f.table + int64(e.cluster+2)*2
			b[at], b[at+1] = 0xff, 0xff
		}, "chain of clusters ends"},
		{"length", "file", func(b []byte, f *FS) { b[entryOf(f, "FILE       ")+31] = 0x7f }, "bytes long"},
		{"folder in itself", "d/e/e/e/e", func(b []byte, f *FS) {
			d, _ := f.find("", "d")
			e, _ := f.find("", "d/e")
			at := f.data + int64(e.cluster-2)*f.clusterSize // E's own entries: one more that is D
			copy(b[at+64:], "E          \x10")
			b[at+64+26], b[at+64+27] = byte(d.cluster), byte(d.cluster>>8)
		}, "holds itself"},
	} {
		t.Run(test.name, func(t *testing.T) {
			img := bytes.Clone(good)
			f, err := New(bytes.NewReader(img), int64(len(img)))
			if err != nil {
				t.Fatal(err)
			}
			test.damage(img, f)
			if _, err := f.ReadFile(test.path); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
	t.Run("cut off", func(t *testing.T) {
		f, err := New(bytes.NewReader(good[:50000]), 50000)
		if err != nil {
			return
		}
		if _, err := f.ReadFile("file"); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(err)
		}
	})
	for at, v := range map[int]byte{510: 0, 11: 1, 13: 3, 16: 9} {
		img := bytes.Clone(good)
		img[at] = v
		if _, err := New(bytes.NewReader(img), int64(len(img))); err == nil {
			t.Errorf("byte %d = %d is accepted", at, v)
		}
	}
}

// FuzzFAT damages small file systems: the fuzzer chooses where and with what.
func FuzzFAT(f *testing.F) {
	tree := f.TempDir()
	os.MkdirAll(filepath.Join(tree, "EFI/BOOT"), 0o755)
	os.WriteFile(filepath.Join(tree, "EFI/BOOT/a long name for a loader"), bytes.Repeat([]byte("c"), 5000), 0o644)
	images := [][]byte{makeImage(f, tree, 200, "-F", "12"), makeImage(f, tree, 2300, "-F", "16", "-s", "1"), makeImage(f, tree, 33400, "-F", "32", "-s", "1")}
	for i := range images {
		f.Add(byte(i), uint32(11), []byte{0, 2, 1, 1, 0})
		f.Add(byte(i), uint32(512), []byte{0xff, 0xff, 0xff, 0xff})
		f.Add(byte(i), uint32(36), []byte{0xff, 0xff, 0xff, 0x7f})
		f.Add(byte(i), uint32(0), images[i][:512])
	}
	f.Fuzz(func(t *testing.T, which byte, at uint32, patch []byte) {
		img := images[int(which)%len(images)]
		f, err := New(patched{img, int64(at) % int64(len(img)), patch}, int64(len(img)))
		if err != nil {
			return
		}
		f.Label()
		if total, free, ok := f.Space(); ok && (free < 0 || free > total) {
			t.Errorf("%d of %d bytes are free", free, total)
		}
		n := 0
		fs.WalkDir(f, ".", func(name string, d fs.DirEntry, err error) error {
			if n++; n > 100 {
				return fs.SkipAll
			}
			if err != nil || d.IsDir() {
				return nil
			}
			if !fs.ValidPath(name) {
				t.Errorf("the name %q", name)
			}
			if b, err := f.ReadFile(name); err == nil && int64(len(b)) > int64(len(img)) {
				t.Errorf("%q has %d bytes, the disk %d", name, len(b), len(img))
			}
			return nil
		})
	})
}

// patched is an image with other bytes in one place.
type patched struct {
	img   []byte
	at    int64
	patch []byte
}

func (p patched) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 || off >= int64(len(p.img)) {
		return 0, io.EOF
	}
	n := copy(b, p.img[off:])
	for i, c := range p.patch {
		if k := p.at + int64(i) - off; k >= 0 && k < int64(n) {
			b[k] = c
		}
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}
