package seed

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestWrite reads a seed back with xorriso, another implementation of ISO 9660.
func TestWrite(t *testing.T) {
	xorriso, err := exec.LookPath("xorriso")
	if err != nil {
		t.Skip("xorriso is not installed")
	}
	program := bytes.Repeat([]byte{0x7f, 'E', 'L', 'F'}, 300_001)
	files, err := NoCloud(Instance{ID: "i-1", Hostname: "h"}, program)
	if err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "seed.iso")
	if err := Write(image, LabelNoCloud, files); err != nil {
		t.Fatal(err)
	}
	if leftover, _ := filepath.Glob(filepath.Join(filepath.Dir(image), "seed-*")); len(leftover) > 0 {
		t.Errorf("left behind: %v", leftover)
	}
	out := t.TempDir()
	if text, err := exec.Command(xorriso, "-osirrox", "on", "-indev", image, "-extract", "/", out).CombinedOutput(); err != nil {
		t.Fatalf("xorriso: %v\n%s", err, text)
	} else if !strings.Contains(string(text), "'cidata'") {
		t.Errorf("xorriso does not see the label cidata:\n%s", text)
	}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(out, f.Name))
		if err != nil || !bytes.Equal(data, f.Data) {
			t.Errorf("%s: %d bytes read back of %d, %v", f.Name, len(data), len(f.Data), err)
		}
		if info, err := os.Stat(filepath.Join(out, f.Name)); err == nil && info.Mode().Perm()&0o111 != f.Mode&0o111 {
			t.Errorf("%s has mode %v, want %v", f.Name, info.Mode(), f.Mode)
		}
	}
}

func TestNoCloud(t *testing.T) {
	files, err := NoCloud(Instance{ID: "i-1", Hostname: "h", AuthorizedKeys: []string{`ssh-ed25519 AAAA "quoted": yes`}, Password: "p"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Name == "ingot-agent" {
			t.Error("a seed without a program starts an agent")
		}
		if f.Name != "user-data" {
			continue
		}
		body, ok := bytes.CutPrefix(f.Data, []byte("#cloud-config\n"))
		var user map[string]any
		if err := json.Unmarshal(body, &user); !ok || err != nil {
			t.Fatalf("user-data %q: %v", f.Data, err)
		}
		if keys := user["ssh_authorized_keys"].([]any); keys[0] != `ssh-ed25519 AAAA "quoted": yes` {
			t.Errorf("keys = %v", keys)
		}
	}
}
