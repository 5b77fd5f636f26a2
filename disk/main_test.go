package disk

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// need skips the test, saying why, when a host program is missing.
func need(t testing.TB, tools ...Tool) {
	t.Helper()
	for _, tool := range tools {
		if _, err := tool.Find(); err != nil {
			t.Skipf("skipped: %v", err)
		}
	}
}

var (
	sgdisk   = Tool{Name: "sgdisk", Package: "gdisk"}
	fsckVFAT = Tool{Name: "fsck.vfat", Package: "dosfstools"}
	debugfs  = Tool{Name: "debugfs", Package: "e2fsprogs"}
)

// output runs a tool of somebody else and returns what it prints; a failure fails the test.
func output(t testing.TB, tool Tool, args ...string) string {
	t.Helper()
	path, err := tool.Find()
	if err != nil {
		t.Skipf("skipped: %v", err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "MTOOLSRC=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", tool.Name, args, err, out)
	}
	return string(out)
}

// sampleDisk makes a sparse raw file with data at several places.
func sampleDisk(t testing.TB, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sample, disk.raw") // a comma, which qemu's option syntax must survive
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for i, off := range []int64{0, 65536, size / 2, size - 512} {
		b := make([]byte, 512)
		for k := range b {
			b[k] = byte(i*31 + k*7 + 1)
		}
		if _, err := f.WriteAt(b, off); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func writeFile(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
