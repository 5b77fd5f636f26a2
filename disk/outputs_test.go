package disk

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWriteCommitFails has a folder appear at the second name while the files are written: what is new is gone again.
func TestWriteCommitFails(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "a.raw"), filepath.Join(dir, "b.vmdk")
	o := WriteOptions{Progress: func(_, _ int64) { os.MkdirAll(second, 0o755) }}
	err := Write(t.Context(), openRaw(t, sampleDisk(t, 1<<20)), o, Output{Path: first, Format: Raw}, Output{Path: second, Format: VMDK})
	if err == nil || !strings.Contains(err.Error(), "write "+second) {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 || left[0].Name() != "b.vmdk" {
		t.Errorf("left: %v", left)
	}
}
