package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/ingot-image/ingot/builder/component"
)

// build runs the go command for another platform.
func build(t *testing.T, goos, goarch string, args ...string) {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+goos, "GOARCH="+goarch, "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %v: %v\n%s", args, err, out)
	}
}

// ran is what `ingot-agent run` printed.
type ran struct {
	events []component.Event
	result *component.Result
	err    string
	code   int
}

func parseRun(t *testing.T, stdout []byte) (r ran) {
	t.Helper()
	for line := range bytes.Lines(stdout) {
		var last struct {
			Result *component.Result
			Error  string
		}
		var event component.Event
		if err := json.Unmarshal(line, &last); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		if last.Result != nil || last.Error != "" {
			r.result, r.err = last.Result, last.Error
			continue
		}
		if err := json.Unmarshal(line, &event); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		r.events = append(r.events, event)
	}
	if r.result == nil && r.err == "" {
		t.Fatalf("neither a result nor an error: %s", stdout)
	}
	return r
}

// text is what the steps printed to a stream.
func (r ran) text(stream string) (text string) {
	for _, e := range r.events {
		if e.Type == component.Output && e.Stream == stream {
			text += e.Text
		}
	}
	return text
}

func (r ran) String() string {
	if r.result == nil {
		return fmt.Sprintf("exit status %d, error %s", r.code, r.err)
	}
	s := fmt.Sprintf("exit status %d, %s, stdout %q, notices %q", r.code, r.result.Status, r.text(component.StreamStdout), r.text(component.StreamNotice))
	if f := r.result.Failure; f != nil {
		s += fmt.Sprintf(", step %s failed: %s %s", f.Step, f.Message, f.Stderr)
	}
	return s
}

// succeeded ends the test unless the run was a success.
func (r ran) succeeded(t *testing.T) {
	t.Helper()
	if r.result == nil || r.result.Status != component.StatusSuccess || r.code != 0 {
		t.Fatal(r)
	}
}
