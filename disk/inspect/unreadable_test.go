package inspect

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/disk/image"
)

var errBadSector = errors.New("bad sector")

// scratched is a disk of which parts cannot be read.
type scratched struct {
	image.Source
	bad []image.Extent
}

func (s scratched) ReadAt(b []byte, off int64) (int, error) {
	for _, e := range s.bad {
		if off < e.End() && off+int64(len(b)) > e.Start {
			return 0, errBadSector
		}
	}
	return s.Source.ReadAt(b, off)
}

// A file that cannot be read is told of, and not taken for one that is not there.
func TestUnreadable(t *testing.T) {
	const mark, other = "MARK OF THE UNREADABLE FILE ", "MARK OF ANOTHER ONE "
	files := map[string]string{"etc/os-release": "ID=small\n", "etc/ssh/sshd_config": strings.Repeat(mark, 200), "etc/passwd": "root:x:0:0::/root:/bin/sh\n", "boot/vmlinuz": strings.Repeat(other, 400)}
	path := filepath.Join(t.TempDir(), "disk")
	output(t, "mke2fs", "-q", "-F", "-t", "ext4", "-d", tree(t, files), path, "16m")
	src := openDisk(t, path)
	told := func(src image.Source) []string {
		t.Helper()
		r, err := Inspect(context.Background(), src, Options{})
		if err != nil || r.System == nil {
			t.Fatalf("%+v, %v", r, err)
		}
		var out []string
		for _, p := range r.Problems {
			if strings.Contains(p.What, errBadSector.Error()) {
				out = append(out, p.Where)
			}
		}
		slices.Sort(out)
		return out
	}
	if got := told(src); got != nil {
		t.Errorf("of a whole disk: %q", got)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bad := scratched{Source: src}
	for _, m := range []string{mark, other} {
		first, last := int64(bytes.Index(data, []byte(m))), int64(bytes.LastIndex(data, []byte(m)))
		bad.bad = append(bad.bad, image.Extent{Start: first, Size: last - first + 1})
	}
	equal(t, "problems", told(bad), []string{"/boot/vmlinuz", "/etc/ssh/sshd_config"})

	// To those who read without inspecting it is an error, which is no missing file.
	root, err := OpenRoot(t.Context(), bad, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if _, err := root.ReadFile("etc/ssh/sshd_config"); !errors.Is(err, errBadSector) || errors.Is(err, os.ErrNotExist) || errors.Is(err, io.EOF) {
		t.Errorf("%v", err)
	}
	for _, name := range []string{"etc/nothing", "etc/passwd/x"} {
		if _, err := root.ReadFile(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
