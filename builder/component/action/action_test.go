package action_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/action"
)

// machine is a machine in a temporary folder, on which single steps are run.
type machine struct {
	component.Runner
	t       *testing.T
	root    string
	notices string
	output  string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, root: t.TempDir()}
	m.Modules = action.Modules()
	m.System = component.System{
		Root:  m.root,
		Sleep: func(context.Context, time.Duration) error { return nil },
	}
	m.Events = func(e component.Event) {
		switch e.Stream {
		case component.StreamNotice:
			m.notices += e.Text
		default:
			m.output += e.Text
		}
	}
	return m
}

// run runs a step with the inputs, written in YAML's flow style, and returns the failure's message.
func (m *machine) run(name, inputs string) string {
	m.t.Helper()
	m.notices, m.output = "", ""
	document := fmt.Sprintf("schemaVersion: 1.0\nphases: [{name: build, steps: [{name: A, action: %s, inputs: %s}]}]\n", name, inputs)
	return m.runDocument(document)
}

func (m *machine) runDocument(document string) string {
	m.t.Helper()
	result, err := m.Run(context.Background(), component.Request{
		Documents:        []component.RunDocument{{Name: "d", Content: []byte(document)}},
		WorkingDirectory: "/work",
	})
	if err != nil {
		m.t.Fatal(err)
	}
	if result.Failure != nil {
		return result.Failure.Message
	}
	return ""
}

// runContext runs a step until ctx ends.
func (m *machine) runContext(ctx context.Context, name, inputs string) error {
	document := fmt.Sprintf("schemaVersion: 1.0\nphases: [{name: build, steps: [{name: A, action: %s, inputs: %s}]}]\n", name, inputs)
	_, err := m.Run(ctx, component.Request{
		Documents:        []component.RunDocument{{Name: "d", Content: []byte(document)}},
		WorkingDirectory: "/work",
	})
	return err
}

// tryDocument is runDocument for documents that may be wrong.
func (m *machine) tryDocument(document string) string {
	m.t.Helper()
	m.notices, m.output = "", ""
	result, err := m.Run(context.Background(), component.Request{
		Documents:        []component.RunDocument{{Name: "d", Content: []byte(document)}},
		WorkingDirectory: "/work",
	})
	switch {
	case err != nil:
		return err.Error()
	case result.Failure != nil:
		return result.Failure.Message
	}
	return ""
}

func (m *machine) write(name, content string, mode fs.FileMode) {
	m.t.Helper()
	path := filepath.Join(m.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) link(target, name string) {
	m.t.Helper()
	if err := os.Symlink(target, filepath.Join(m.root, name)); err != nil {
		m.t.Fatal(err)
	}
}

// read returns a file's content, or "-" when there is none.
func (m *machine) read(name string) string {
	m.t.Helper()
	data, err := os.ReadFile(filepath.Join(m.root, name))
	if os.IsNotExist(err) {
		return "-"
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return string(data)
}

func (m *machine) mode(name string) fs.FileMode {
	m.t.Helper()
	info, err := os.Stat(filepath.Join(m.root, name))
	if err != nil {
		m.t.Fatal(err)
	}
	return info.Mode()
}

// expect compares a failure's message; want is a part of it, "" for success.
func expect(t *testing.T, got, want string) {
	t.Helper()
	if want == "" && got != "" || !strings.Contains(got, want) {
		t.Errorf("got failure %q, want %q", got, want)
	}
}

// noTemporaryFiles checks that nothing half written is left.
func (m *machine) noTemporaryFiles() {
	m.t.Helper()
	err := filepath.WalkDir(m.root, func(path string, _ fs.DirEntry, err error) error {
		if strings.Contains(filepath.Base(path), "ingot-") {
			m.t.Errorf("left behind: %s", path)
		}
		return err
	})
	if err != nil {
		m.t.Error(err)
	}
}
