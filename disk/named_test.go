package disk

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOpenRefusesNamed has what is no image under the names of images, of what they are packed in, and of both.
func TestOpenRefusesNamed(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.ova", "a.box", "a.raw.gz", "a.gz", "a.zst", "a.xz", "a.bz2", "a.OVA", "a.vdi", "a.zip", "a.7z"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, bytes.Repeat([]byte("garbage "), 128), 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := Open(t.Context(), path, OpenOptions{})
		if err == nil {
			d.Close()
		}
		var unsafe *UnsafeError
		if !errors.As(err, &unsafe) || unsafe.Path != path || !strings.Contains(err.Error(), "named as "+strings.ToLower(filepath.Ext(name)[1:])+", but the content is raw") {
			t.Errorf("%s: %v", name, err)
		}
		// The caller may know better.
		if d, err = Open(t.Context(), path, OpenOptions{Format: Raw}); err != nil {
			t.Errorf("%s, known to be raw: %v", name, err)
			continue
		}
		d.Close()
	}
}
