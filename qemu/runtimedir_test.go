package qemu

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestRuntimeDir(t *testing.T) {
	parent := shortDir(t)
	a, err := newRuntimeDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(a.path); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if n := len(a.file("p29.sock")); n > maxSocketPath {
		t.Errorf("a socket's path has %d bytes", n)
	}
	// Of the others in the same place, only what a dead process left goes.
	stale := filepath.Join(parent, runtimeDirPrefix+"stale")
	for _, dir := range []string{stale, filepath.Join(parent, "other")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(parent, runtimeDirPrefix+"link")
	if err := os.Symlink("other", link); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(stale, "vars.fd"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := newRuntimeDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	for path, there := range map[string]bool{stale: false, a.path: true, b.path: true, link: true, filepath.Join(parent, "other"): true} {
		if _, err := os.Lstat(path); (err == nil) != there {
			t.Errorf("%s: %v", path, err)
		}
	}
	os.Remove(link)
	os.Remove(filepath.Join(parent, "other"))
	for _, d := range []*runtimeDir{a, b} {
		if err := d.remove(); err != nil {
			t.Error(err)
		}
	}
}

func TestRuntimeDirsAtOnce(t *testing.T) {
	parent := shortDir(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				d, err := newRuntimeDir(parent)
				if err != nil {
					t.Error(err)
					return
				}
				if err := os.WriteFile(d.file("x"), nil, 0o600); err != nil {
					t.Errorf("somebody removed the folder: %v", err)
				}
				if err := d.remove(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestRuntimeDirDefault(t *testing.T) {
	// A folder that is not there is passed over for the next.
	t.Setenv("XDG_RUNTIME_DIR", "/does/not/exist")
	t.Setenv("TMPDIR", "/"+strings.Repeat("long", 30))
	d, err := newRuntimeDir("")
	if err != nil {
		t.Fatal(err)
	}
	defer d.remove()
	if filepath.Dir(d.path) != "/tmp" {
		t.Errorf("made %s", d.path)
	}
}
