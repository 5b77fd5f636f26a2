package builder

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/ingot-image/ingot/builder/tarfs"
)

func TestOutermost(t *testing.T) {
	tests := []struct{ paths, want []string }{
		{nil, nil},
		{[]string{"etc", "."}, nil},
		{[]string{"usr/lib/x", "etc", "usr/lib", "etc/passwd", "usr/lib"}, []string{"etc", "usr/lib"}},
		{[]string{"etc2", "etc"}, []string{"etc", "etc2"}},
	}
	for _, test := range tests {
		if got := outermost(test.paths); !slices.Equal(got, test.want) {
			t.Errorf("%v: %v, want %v", test.paths, got, test.want)
		}
	}
}

// TestComplaints has what tar says of files that a damaged file system does not give.
func TestComplaints(t *testing.T) {
	archive := func() *tarfs.FS {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, name := range []string{"./etc/a", "./etc/b: c", "./etc/good"} {
			w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644})
		}
		w.Close()
		spool, err := os.Create(filepath.Join(t.TempDir(), "spool"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { spool.Close() })
		files, err := tarfs.Read(&b, spool, tarfs.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	files := archive()
	c := &complaints{}
	c.Write([]byte("tar: ./etc/a: Read error at byte 4096, while reading 512 bytes: Input/output error\n" +
		"tar: ./etc/b: c: Cannot open: Structure needs cleaning\ntar: ./etc/lost: Cannot stat: Structure needs cleaning\n" +
		"tar: ./etc/warned: Warning: Read error at byte 0, while reading 7168 bytes: Input/output error\n" +
		"tar: ./etc/short: File shrank by 3080192 bytes; padding with zeros\ntar: ./etc/door: Unknown file type; file ignored\ntar: ./etc/moved: file changed as we read it\n" +
		"tar: ./run/x: socket ignored\ntar: Exiting with failure status due to previous errors\n"))
	if err := c.apply(files); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"etc/a": "Read error at byte 4096", "etc/b: c": "Cannot open: Structure needs cleaning", "etc/lost": "Cannot stat: Structure needs cleaning",
		"etc/warned": "Read error at byte 0", "etc/door": "Unknown file type", "etc/short": "its last 3080192 bytes cannot be read", "etc/moved": "file changed as we read it",
	} {
		if _, err := fs.ReadFile(files, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	if _, err := fs.ReadFile(files, "etc/good"); err != nil {
		t.Error(err)
	}
	// What is of no file is of all.
	c = &complaints{}
	c.Write([]byte("tar: memory exhausted\n"))
	if err := c.apply(archive()); err == nil || !strings.Contains(err.Error(), "memory exhausted") {
		t.Errorf("%v", err)
	}
	c = &complaints{}
	c.Write(bytes.Repeat([]byte("tar: ./x: Cannot stat: Input/output error\n"), maxComplaints/40))
	if err := c.apply(archive()); err == nil || !strings.Contains(err.Error(), "too much of it cannot be read: tar: ./x: Cannot stat") {
		t.Errorf("%v", err)
	}
}

// TestSpooledUnless has an error that comes after the files were read.
func TestSpooledUnless(t *testing.T) {
	for _, wrong := range []error{nil, errors.New("the workspace stays")} {
		file, err := os.Create(filepath.Join(t.TempDir(), "spool"))
		if err != nil {
			t.Fatal(err)
		}
		files, err := (&spooled{file: file}).unless(wrong)
		if err != wrong || (files == nil) != (wrong != nil) {
			t.Errorf("%v, %v, want %v", files, err, wrong)
		}
		if err := file.Close(); (err != nil) != (wrong != nil) {
			t.Errorf("after %v: %v", wrong, err)
		}
	}
	if files, err := (*spooled)(nil).unless(nil); files != nil || err != nil {
		t.Error(files, err)
	}
}

// TestUnreadable has the guest's script read a folder of this machine with a file that tar may not open.
func TestUnreadable(t *testing.T) {
	if _, err := exec.LookPath("tar"); err != nil {
		t.Skip("tar is not installed")
	}
	dir := t.TempDir()
	for name, mode := range map[string]fs.FileMode{"good": 0o644, "bad": 0} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	tar := exec.Command("bash", "-c", applianceTar, "copy", dir, "all")
	tar.Dir = "/"
	if os.Getuid() == 0 { // who may open anything
		tar.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		for _, d := range []string{dir, filepath.Dir(dir)} {
			if err := os.Chmod(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	var out bytes.Buffer
	c := &complaints{}
	tar.Stdout, tar.Stderr = &out, c
	var exit *exec.ExitError
	if err := tar.Run(); !errors.As(err, &exit) {
		t.Errorf("tar: %v; it is to fail when a file cannot be read", err)
	}
	spool, err := os.Create(filepath.Join(t.TempDir(), "spool"))
	if err != nil {
		t.Fatal(err)
	}
	defer spool.Close()
	files, err := tarfs.Read(&out, spool, tarfs.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.apply(files); err != nil {
		t.Error(err)
	}
	if _, err := fs.ReadFile(files, "bad"); err == nil || !strings.Contains(err.Error(), "Permission denied") {
		t.Errorf("bad: %v", err)
	}
	if data, err := fs.ReadFile(files, "good"); err != nil || string(data) != "good" {
		t.Errorf("good: %q, %v", data, err)
	}
}
