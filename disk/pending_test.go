package disk_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/ingot-image/ingot/disk"
)

func TestPendingFile(t *testing.T) {
	for _, test := range []struct {
		name   string
		commit func(*disk.PendingFile) error
		taken  bool
		want   string // content in the end
		err    error
	}{
		{"new", (*disk.PendingFile).CommitNew, false, "new", nil},
		{"new where one is", (*disk.PendingFile).CommitNew, true, "old", fs.ErrExist},
		{"replacing", (*disk.PendingFile).Commit, true, "new", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk.raw")
			p, err := disk.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if _, err := p.WriteString("new"); err != nil {
				t.Fatal(err)
			}
			if test.taken { // meanwhile
				if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := test.commit(p); !errors.Is(err, test.err) {
				t.Fatalf("commit = %v, want %v", err, test.err)
			}
			p.Close()
			if data, err := os.ReadFile(path); err != nil || string(data) != test.want {
				t.Errorf("%q, %v; want %q", data, err, test.want)
			}
			if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
				t.Errorf("%v is left", left)
			}
		})
	}
}
