package disk

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// When this program is killed so that it can do nothing about it, its tools must die and its unfinished files must go.
func TestKilledParentLeavesNothing(t *testing.T) {
	if dir := os.Getenv("INGOT_TEST_KILL_DIR"); dir != "" {
		out, err := Create(filepath.Join(dir, "out.raw"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(out, "half")
		Run(context.Background(), Command{Tool: Tool{Name: "sh", Package: "dash"}, Args: []string{"-c", "echo child $$; exec sleep 300"}, Stdout: os.Stdout})
		return
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledParentLeavesNothing$", "-test.v")
	cmd.Env = append(os.Environ(), "INGOT_TEST_KILL_DIR="+dir)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	child := 0
	sc := bufio.NewScanner(stdout)
	for sc.Scan() {
		if _, text, ok := strings.Cut(sc.Text(), "child "); ok {
			child, _ = strconv.Atoi(text)
			break
		}
	}
	if child == 0 {
		t.Fatal("the child did not start")
	}
	cmd.Process.Kill()
	cmd.Wait()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
		if err != nil || strings.Contains(string(state), ") Z ") {
			break
		}
		if time.Now().After(end) {
			syscall.Kill(child, syscall.SIGKILL)
			t.Fatal("the tool outlived its killed parent")
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("files left: %v (is the temporary folder on a file system without O_TMPFILE?)", entries)
	}
}
