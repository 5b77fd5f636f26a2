package record_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/ingot-image/ingot/export/record"
)

func TestBook(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "distribution")
	book, err := record.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := record.Open(dir); !errors.Is(err, record.ErrBusy) {
		t.Fatalf("opened twice: %v", err)
	}
	var got map[string]int
	if found, err := book.Get("upload/eu-west-1", &got); found || err != nil {
		t.Fatalf("a key that was never put: %v, %v", found, err)
	}
	for _, key := range []string{"upload/eu-west-1", "upload_2feu-west-1", "../outside"} {
		if err := book.Put(key, map[string]int{key: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(book.Close()); err != nil {
		t.Fatal(err)
	}
	if book, err = record.Open(dir); err != nil {
		t.Fatal(err)
	}
	defer book.Close()
	for _, key := range []string{"upload/eu-west-1", "upload_2feu-west-1", "../outside"} {
		got = nil
		if found, err := book.Get(key, &got); !found || err != nil || got[key] != 1 {
			t.Errorf("%s: %v, %v, %v", key, got, found, err)
		}
	}
	if err := errors.Join(book.Delete("../outside"), book.Delete("never")); err != nil {
		t.Error(err)
	}
	if found, _ := book.Get("../outside", &got); found {
		t.Error("deleted, and still there")
	}
	if beside, _ := os.ReadDir(filepath.Dir(dir)); len(beside) != 1 {
		t.Errorf("a key left the folder: %v", beside)
	}
}

// What a write that was killed has left goes when the record is opened, and not before: it may be somebody's who is at it.
func TestOpenSweeps(t *testing.T) {
	dir := t.TempDir()
	book, err := record.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(dir, ".new-123")
	if err := errors.Join(book.Put("part", 1), os.WriteFile(half, []byte("{"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := record.Open(dir); !errors.Is(err, record.ErrBusy) {
		t.Errorf("opened twice: %v", err)
	}
	if _, err := os.Stat(half); err != nil {
		t.Error(err)
	}
	if err := book.Close(); err != nil {
		t.Fatal(err)
	}
	if book, err = record.Open(dir); err != nil {
		t.Fatal(err)
	}
	defer book.Close()
	var part int
	if found, err := book.Get("part", &part); !found || err != nil || part != 1 {
		t.Errorf("%v, %v, %d", found, err, part)
	}
	if _, err := os.Stat(half); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the half written file is there still: %v", err)
	}
}
