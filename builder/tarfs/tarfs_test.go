package tarfs

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

func spool(t testing.TB) *os.File {
	f, err := os.Create(filepath.Join(t.TempDir(), "spool"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// archive makes an archive of entries; the content of each is its name, unless it is a link.
func archive(t testing.TB, entries ...tar.Header) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		if h.Typeflag == 0 {
			h.Typeflag, h.Size = tar.TypeReg, int64(len(h.Name))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			io.WriteString(w, h.Name)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func TestFS(t *testing.T) {
	when := time.Unix(1700000000, 5e8)
	fsys, err := Read(archive(t,
		tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "./etc/", Typeflag: tar.TypeDir, Mode: 0o750, Uid: 1, Gid: 2},
		tar.Header{Name: "./etc/passwd", Mode: 0o644, ModTime: when, Format: tar.FormatPAX},
		tar.Header{Name: "./usr/bin/su", Mode: 0o4755, Uid: 1000, Gid: 100},
		tar.Header{Name: "./usr/bin/su2", Typeflag: tar.TypeLink, Linkname: "./usr/bin/su"},
		tar.Header{Name: "./bin", Typeflag: tar.TypeSymlink, Linkname: "/usr/bin"},
		tar.Header{Name: "./etc/up", Typeflag: tar.TypeSymlink, Linkname: "../../../../etc/passwd"},
		tar.Header{Name: "./loop", Typeflag: tar.TypeSymlink, Linkname: "loop"},
		tar.Header{Name: "./dev/null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3},
		tar.Header{Name: "./dev/fifo", Typeflag: tar.TypeFifo, Mode: 0o600},
	), spool(t), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	read := func(name, want string) {
		t.Helper()
		if got, err := fs.ReadFile(fsys, name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	read("etc/passwd", "./etc/passwd")
	read("bin/su", "./usr/bin/su")
	read("usr/bin/su2", "./usr/bin/su")
	read("etc/up", "./etc/passwd")
	info, err := fsys.Stat("bin/su2")
	if err != nil || info.Mode() != 0o755|fs.ModeSetuid || info.Sys().(Stat) != (Stat{1000, 100}) || info.Name() != "su2" {
		t.Errorf("%v %v %v", info.Mode(), info.Sys(), err)
	}
	if info, _ := fsys.Stat("etc/passwd"); !info.ModTime().Equal(when) {
		t.Errorf("modified %v", info.ModTime())
	}
	if info, err := fsys.Lstat("bin"); err != nil || info.Mode().Type() != fs.ModeSymlink {
		t.Errorf("%v, %v", info, err)
	}
	if target, err := fsys.ReadLink("bin"); err != nil || target != "/usr/bin" {
		t.Errorf("%q, %v", target, err)
	}
	if info, _ := fsys.Stat("dev/null"); info.Mode()&(fs.ModeDevice|fs.ModeCharDevice) != fs.ModeDevice|fs.ModeCharDevice {
		t.Errorf("%v", info.Mode())
	}
	for _, name := range []string{"loop", "dev/null", "dev/fifo", "nothing", "etc/passwd/x"} {
		if _, err := fs.ReadFile(fsys, name); err == nil {
			t.Errorf("%s can be read", name)
		}
	}
	if _, err := fsys.Open("/etc"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("%v", err)
	}
	fsys.Fail("usr/bin/su", errors.New("broken"))
	fsys.Fail("usr/lost", errors.New("gone"))
	if _, err := fsys.Open("bin/su2"); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("%v", err)
	}
	if _, err := fsys.Open("usr/lost"); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("%v", err)
	}
}

func TestConforms(t *testing.T) {
	fsys, err := Read(archive(t, tar.Header{Name: "a/b/c", Mode: 0o600}, tar.Header{Name: "a/d", Mode: 0o600}, tar.Header{Name: "e", Mode: 0o644}), spool(t), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(fsys, "a/b/c", "a/d", "e"); err != nil {
		t.Error(err)
	}
}

func TestHostile(t *testing.T) {
	tests := []struct {
		name    string
		entries []tar.Header
		want    string
	}{
		{"above", []tar.Header{{Name: "../x"}}, "not a name within"},
		{"above, inside", []tar.Header{{Name: "a/../../x"}}, "not a name within"},
		{"absolute", []tar.Header{{Name: "/etc/x"}}, "not a name within"},
		{"below a file", []tar.Header{{Name: "a"}, {Name: "a/b"}}, "is not a folder"},
		{"below a link", []tar.Header{{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, {Name: "a/b"}}, "is not a folder"},
		{"link to nothing", []tar.Header{{Name: "a", Typeflag: tar.TypeLink, Linkname: "b"}}, "which is not there"},
		{"link to a folder", []tar.Header{{Name: "b", Typeflag: tar.TypeDir}, {Name: "a", Typeflag: tar.TypeLink, Linkname: "b"}}, "which is not there"},
		{"file in a folder's place", []tar.Header{{Name: "a/b"}, {Name: "a"}}, "a folder elsewhere"},
		{"the root", []tar.Header{{Name: "."}}, "a folder elsewhere"},
		{"many", []tar.Header{{Name: "a"}, {Name: "b"}, {Name: "c"}, {Name: "d"}, {Name: "e"}}, "too many entries"},
		{"many folders", []tar.Header{{Name: "a/b/c/d/e/f"}}, "too many entries"},
		{"long element", []tar.Header{{Name: "a/" + strings.Repeat("x", 256)}}, "an element of 256 bytes"},
		{"long name", []tar.Header{{Name: strings.Repeat("x/", 2100) + "x"}}, "a name of 4201 bytes"},
		{"long target", []tar.Header{{Name: "a", Typeflag: tar.TypeSymlink, Linkname: strings.Repeat("x/", 2100)}}, "a link to a name of 4200 bytes"},
		{"many long names", []tar.Header{{Name: strings.Repeat("x", 250), Typeflag: tar.TypeDir}, {Name: strings.Repeat("y", 250), Typeflag: tar.TypeDir}}, "names are too long"},
		{"many long targets", []tar.Header{{Name: "a", Typeflag: tar.TypeSymlink, Linkname: strings.Repeat("x/", 250)}}, "names are too long"},
		{"large", []tar.Header{{Name: strings.Repeat("x", 190)}, {Name: strings.Repeat("y", 190)}}, "too large"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Read(archive(t, test.entries...), spool(t), Limits{Entries: 4, Bytes: 350, Names: 400})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
	whole := archive(t, tar.Header{Name: "a", Mode: 0o644}).Bytes()
	if _, err := Read(bytes.NewReader(whole[:512]), spool(t), Limits{}); err == nil {
		t.Error("an archive that is cut off was read")
	}
}

// TestSparse reads what GNU tar makes of a file with holes, which stay holes.
func TestSparse(t *testing.T) {
	if _, err := exec.LookPath("tar"); err != nil {
		t.Skip("tar is not installed")
	}
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "big"))
	if err != nil {
		t.Fatal(err)
	}
	f.Truncate(1 << 30)
	f.WriteAt([]byte("end"), 1<<30-3)
	f.Close()
	out, err := exec.Command("tar", "-C", dir, "--format=pax", "--sparse", "-cf", "-", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	to := spool(t)
	fsys, err := Read(bytes.NewReader(out), to, Limits{Bytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	info, err := fsys.Stat("big")
	if err != nil || info.Size() != 1<<30 {
		t.Fatalf("%v, %v", info, err)
	}
	file, err := fsys.Open("big")
	if err != nil {
		t.Fatal(err)
	}
	tail := make([]byte, 4)
	if _, err := file.(io.ReaderAt).ReadAt(tail, 1<<30-4); err != nil || string(tail) != "\x00end" {
		t.Errorf("%q, %v", tail, err)
	}
	used, err := exec.Command("du", "-k", to.Name()).Output()
	if n := 0; err != nil || func() bool { fmt.Sscan(string(used), &n); return n > 1024 }() {
		t.Errorf("the spool takes %s KiB, %v", used, err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(archive(f, tar.Header{Name: "a/b", Mode: 0o644}, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "a/b"}, tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "a/b"}).Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		fsys, err := Read(bytes.NewReader(data), spool(t), Limits{Entries: 1000, Bytes: 1 << 20})
		if err != nil {
			return
		}
		fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			fsys.Stat(name)
			if d.Type().IsRegular() {
				if info, _ := d.Info(); info.Size() < 1<<20 {
					fs.ReadFile(fsys, name)
				}
			}
			return nil
		})
	})
}
