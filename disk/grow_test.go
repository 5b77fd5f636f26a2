package disk

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestGrow(t *testing.T) {
	h := sampleHybrid()
	path := filepath.Join(t.TempDir(), "d.raw")
	if err := h.Partition(path); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	code := bytes.Repeat([]byte{0x90}, 440)
	f.WriteAt(code, 0)
	f.Close()
	before, err := Partitions(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 500*mib); err != nil { // by other means
		t.Fatal(err)
	}
	for _, size := range []int64{0, 700 * mib, 700 * mib} {
		if err := Grow(path, size); err != nil {
			t.Fatal(err)
		}
		if out := output(t, sgdisk, "-v", path); !strings.Contains(out, "No problems found") {
			t.Errorf("%d: %s", size, out)
		}
		after, err := Partitions(path)
		if err != nil || after.FromBackup || len(after.Partitions) != 3 || after.Partitions[2] != before.Partitions[2] {
			t.Errorf("%d: %+v, %v", size, after, err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil || len(data) != 700*mib || !bytes.Equal(data[:440], code) {
		t.Errorf("%d bytes, %v, or the boot code is gone", len(data), err)
	}
	if n := bytes.Count(data, []byte("EFI PART")); n != 2 {
		t.Errorf("%d GPT headers", n)
	}
	for _, size := range []int64{100 * mib, 700*mib + 1} {
		if err := Grow(path, size); err == nil {
			t.Errorf("grown to %d", size)
		}
	}
	if err := Grow(writeFile(t, "x", make([]byte, 4096)), 8192); err == nil || !strings.Contains(err.Error(), "no GPT") {
		t.Errorf("no table: %v", err)
	}
}
