package reference

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder/component/action"
)

const repository = "../../.."

// TestFiles holds the files in docs against what the code says now.
func TestFiles(t *testing.T) {
	files, err := Files(repository, action.Modules())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(repository, name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the code says now (%v): run go generate ./builder/component/reference", name, err)
		}
	}
	err = filepath.WalkDir(filepath.Join(repository, ActionsFolder), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if name := ActionsFolder + "/" + d.Name(); files[name] == nil {
			t.Errorf("%s is of an action that does not exist", name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestComments wants every action and input to be explained, every action to have an example that uses it, and every output to be told of.
func TestComments(t *testing.T) {
	c, err := readComments(repository)
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range action.Modules() {
		p := newPage(name, m, c)
		if !strings.HasPrefix(p.text, name+" ") || p.summary() == "" {
			t.Errorf("%s: its comment begins %.40q", name, p.text)
		}
		page := string(p.markdown())
		if !strings.Contains(page, "```yaml\nsteps:\n") || !strings.Contains(page, "action: "+name+"\n") {
			t.Errorf("%s: its comment shows no steps that use it", name)
		}
		for _, f := range m.InputFields() {
			if p.field(f) == "" {
				t.Errorf("%s: no comment tells of the input %s", name, f.Name)
			}
		}
		for _, output := range m.Outputs {
			if !strings.Contains(p.text, output) {
				t.Errorf("%s: its comment does not tell of the output %s", name, output)
			}
		}
	}
}
