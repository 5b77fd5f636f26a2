package inspect

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// A log whose last record is no unmount record waits to be replayed. mkfs.xfs writes one of those.
func TestXFSLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 320<<20); err != nil {
		t.Fatal(err)
	}
	output(t, "mkfs.xfs", "-q", path)
	state := func() bool {
		t.Helper()
		r, err := Inspect(t.Context(), openDisk(t, path), Options{})
		if err != nil || len(r.FileSystems) != 1 || r.FileSystems[0].Type != "xfs" {
			t.Fatalf("%+v, %v", r, err)
		}
		return r.FileSystems[0].NeedsRecovery
	}
	if state() {
		t.Error("a new file system waits for its log")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(data, []byte{0xfe, 0xed, 0xba, 0xbe})
	if at < 0 || at%512 != 0 {
		t.Fatalf("no log record, %d", at)
	}
	flags := data[at+512+9]
	if flags&0x20 == 0 {
		t.Fatalf("the operation's flags are %#x", flags)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.WriteAt([]byte{flags &^ 0x20}, int64(at+512+9))
	if !state() {
		t.Error("the last record is no unmount record, and that is not seen")
	}
	f.WriteAt([]byte{flags}, int64(at+512+9))
	// A record behind it, of something else.
	next := bytes.Clone(data[at : at+1024])
	binary.BigEndian.PutUint64(next[16:], binary.BigEndian.Uint64(next[16:])+2)
	next[512+9] = 1
	f.WriteAt(next, int64(at+1024))
	if !state() {
		t.Error("a record behind the unmount record is not seen")
	}
	f.WriteAt([]byte{0x7f, 0xff, 0xff, 0xff}, 96) // the number of the log's blocks
	if r, err := Inspect(t.Context(), openDisk(t, path), Options{}); err != nil || len(r.Problems) == 0 {
		t.Errorf("%+v, %v", r, err)
	}
}
