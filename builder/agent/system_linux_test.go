package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCompareVersions(t *testing.T) {
	for _, c := range []struct {
		a, b string
		less bool
	}{
		{"6.1.0-9-cloud-amd64", "6.1.0-10-cloud-amd64", true},
		{"6.1.0-28-amd64", "6.1.0-28-cloud-amd64", true},
		{"6.2.0", "6.10.0", true},
		{"6.10.0", "6.2.0", false},
	} {
		if got := compareVersions(c.a, c.b) < 0; got != c.less {
			t.Errorf("compareVersions(%q, %q) < 0 = %v", c.a, c.b, got)
		}
	}
}

func TestBootFiles(t *testing.T) {
	root := t.TempDir()
	write := func(name string) {
		path := filepath.Join(root, name)
		os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l := Linux{Root: root}
	if _, err := l.BootFiles(); err == nil {
		t.Error("an empty root has boot files")
	}
	write("boot/vmlinuz-6.1.0-9")
	write("boot/initrd.img-6.1.0-9")
	write("boot/vmlinuz-6.1.0-10")
	write("boot/initrd.img-6.1.0-10")
	write("boot/vmlinuz-6.1.0-11") // without an initrd
	files, err := l.BootFiles()
	if err != nil || !strings.HasSuffix(files.Kernel.Path, "vmlinuz-6.1.0-10") || !strings.HasSuffix(files.Initrd.Path, "initrd.img-6.1.0-10") {
		t.Errorf("BootFiles = %+v, %v", files, err)
	}
	// The distribution's own links win.
	if err := errors.Join(os.Symlink("boot/vmlinuz-6.1.0-9", filepath.Join(root, "vmlinuz")), os.Symlink("boot/initrd.img-6.1.0-9", filepath.Join(root, "initrd.img"))); err != nil {
		t.Fatal(err)
	}
	if files, err = l.BootFiles(); err != nil || !strings.HasSuffix(files.Kernel.Path, "vmlinuz-6.1.0-9") {
		t.Errorf("BootFiles = %+v, %v", files, err)
	}
}
