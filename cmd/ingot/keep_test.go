package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder"
)

// TestKeep keeps a VM and goes on in it: the process that a document started is still there, which only memory that was truly resumed
// can show.
func TestKeep(t *testing.T) {
	s := newSite(t)
	document := s.write("keep.yml", `name: keep
schemaVersion: 1.0
phases:
  - name: build
    steps:
      - name: Start
        action: ExecuteBash
        inputs:
          commands:
            - cat /opt/given/name
            - mkdir /run/kept && mount -t tmpfs none /run/kept
            - nohup setsid sleep 100000 >/dev/null 2>&1 &
            - echo $! >/run/kept/pid
            - cat /proc/sys/kernel/random/boot_id
      - name: Fail
        action: ExecuteBash
        inputs:
          commands: ["exit 3"]
`)
	given := filepath.Join(s.recipes, "given")
	if err := os.Mkdir(given, 0o755); err != nil {
		t.Fatal(err)
	}
	s.write("given/name", "from the host\n")
	logs := filepath.Join(s.temporary, "logs")
	if err := os.Mkdir(logs, 0o700); err != nil {
		t.Fatal(err)
	}
	stdout, stderr := s.run(1, "component", "run", "-d", document, "--vm", "debian-12", "--keep", "--copy", given+":/opt/", "--log-directory", logs)
	expect(t, stdout, `"status":"failed"`)
	expect(t, stderr, "from the host", "exit status 3", " shell debian-12-")

	var vms []builder.KeptVM
	list, _ := s.run(0, "shell", "--list", "--json")
	if err := json.Unmarshal([]byte(list), &vms); err != nil || len(vms) != 1 || !vms[0].Memory || vms[0].Status != "failed" || vms[0].SizeBytes < 1<<20 {
		t.Fatalf("%v in %s", err, list)
	}
	id := vms[0].ID
	if stat, err := os.Stat(filepath.Join(s.home, "vms", id)); err != nil || stat.Mode().Perm() != 0o700 {
		t.Errorf("the VM's folder is %v, %v", stat, err)
	}
	script := "cat /proc/$(cat /run/kept/pid)/comm; cat /proc/sys/kernel/random/boot_id; echo more >>/run/kept/pid; date +%s; exit 5"
	first, _ := s.run(5, "shell", id, "--", "sh", "-c", script)
	lines := strings.Fields(first)
	if len(lines) != 3 || lines[0] != "sleep" || !strings.Contains(stderr, lines[1]) {
		t.Errorf("in the VM that was kept: %q", first)
	}
	// What the first session changed is there in the next.
	second, _ := s.run(0, "shell", "--", "sh", "-c", "tail -n 1 /run/kept/pid; cat /proc/sys/kernel/random/boot_id")
	if second != "more\n"+lines[1]+"\n" {
		t.Errorf("in the second session: %q", second)
	}
	s.run(0, "shell", "--remove", id)
	list, _ = s.run(0, "shell", "--list", "--json")
	if strings.TrimSpace(list) != "[]" {
		t.Errorf("after the removal: %s", list)
	}
	_, stderr = s.run(2, "shell", id)
	expect(t, stderr, "no such kept VM")
	if err := os.RemoveAll(logs); err != nil {
		t.Fatal(err)
	}
	s.expectClean()
	if left, _ := os.ReadDir(filepath.Join(s.home, "vms")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
