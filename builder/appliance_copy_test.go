package builder

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
		"tar: ./run/x: socket ignored\ntar: Exiting with failure status due to previous errors\n"))
	if err := c.apply(files); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"etc/a": "Read error at byte 4096", "etc/b: c": "Cannot open: Structure needs cleaning", "etc/lost": "Cannot stat: Structure needs cleaning",
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
