package disk

import (
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// On a file system that shares blocks a raw file is not copied.
func TestConvertClones(t *testing.T) {
	need(t, Tool{Name: "mkfs.xfs", Package: "xfsprogs"})
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a file system")
	}
	dir := t.TempDir()
	device, folder := filepath.Join(dir, "xfs"), filepath.Join(dir, "mounted")
	if err := errors.Join(os.WriteFile(device, nil, 0o600), os.Truncate(device, 400<<20), os.Mkdir(folder, 0o700)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.xfs", "-q", "-m", "reflink=1", device).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.xfs: %v\n%s", err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", device, folder).CombinedOutput(); err != nil {
		t.Skipf("cannot mount a file system: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", folder).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	// Larger than half of what is free: two of them do not fit.
	data := make([]byte, 200<<20)
	random := rand.NewChaCha8([32]byte{9})
	random.Read(data)
	src, dst := Image{Path: filepath.Join(folder, "a.raw"), Format: Raw}, Image{Path: filepath.Join(folder, "b.raw"), Format: Raw}
	if err := os.WriteFile(src.Path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	last := 0.0
	if err := Convert(t.Context(), src, dst, func(f float64) { last = f }); err != nil {
		t.Fatal(err)
	}
	if err := Compare(t.Context(), src, dst); err != nil || last != 1 {
		t.Errorf("%v, progress ended at %v", err, last)
	}
	// What is written to one is not in the other.
	f, err := os.OpenFile(dst.Path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("changed"), 100<<20); err != nil {
		t.Fatal(err)
	}
	var differ *DifferError
	if err := Compare(t.Context(), src, dst); !errors.As(err, &differ) {
		t.Errorf("after a change: %v", err)
	}
}
