package export

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// setUp makes a folder with waiting files in a folder within it.
func setUp(t *testing.T, names ...string) (folder string, files []string) {
	t.Helper()
	folder = t.TempDir()
	waiting := filepath.Join(folder, ".waiting")
	if err := os.Mkdir(waiting, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		path := filepath.Join(waiting, n)
		if err := os.WriteFile(path, []byte(n), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, path)
	}
	return folder, files
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestPublish(t *testing.T) {
	folder, files := setUp(t, "a.raw", "a.json")
	var pending []string
	undo, err := Folder{Path: folder, Pending: func(p string) error { pending = append(pending, p); return nil }}.Publish(files)
	if err != nil {
		t.Fatal(err)
	}
	final := []string{filepath.Join(folder, "a.raw"), filepath.Join(folder, "a.json")}
	if !slices.Equal(pending, final) {
		t.Errorf("pending %v, want %v", pending, final)
	}
	if got := content(t, final[0]); got != "a.raw" {
		t.Errorf("content %q", got)
	}
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	for i := range final {
		content(t, files[i])
		if _, err := os.Stat(final[i]); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is there after undo: %v", final[i], err)
		}
	}
}

func TestPublishReplacesNothing(t *testing.T) {
	folder, files := setUp(t, "a.raw", "a.json")
	taken := filepath.Join(folder, "a.json")
	if err := os.WriteFile(taken, []byte("somebody else's"), 0o600); err != nil {
		t.Fatal(err)
	}
	pending := map[string]bool{}
	_, err := Folder{Path: folder, Pending: func(p string) error { pending[p] = true; return nil }}.Publish(files)
	if !errors.Is(err, fs.ErrExist) {
		t.Fatalf("Publish = %v", err)
	}
	if got := content(t, taken); got != "somebody else's" {
		t.Errorf("the file that was there now has %q", got)
	}
	if pending[taken] {
		t.Error("somebody else's file was called pending")
	}
	content(t, files[0]) // moved back
	if _, err := os.Stat(filepath.Join(folder, "a.raw")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half of the files are there: %v", err)
	}
}
