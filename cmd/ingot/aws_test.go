package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestCloudScripts runs the real program against a simulated AWS, which the scripts of testdata/script/aws find empty.
func TestCloudScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/script/aws/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, script := range scripts {
		c := newCloud(t)
		testscript.Run(t, testscript.Params{
			Files: []string{script},
			Cmds:  map[string]func(ts *testscript.TestScript, neg bool, args []string){"exits": exits},
			Setup: func(env *testscript.Env) error {
				env.Vars = append(env.Vars, c.environ...)
				env.Setenv("HOME", env.WorkDir)
				return nil
			},
		})
	}
}

// TestAWSSetupAsks answers the question at a terminal.
func TestAWSSetupAsks(t *testing.T) {
	c := newCloud(t)
	for _, answer := range []struct {
		says, ends string
		status     int
	}{{"n\n", "not confirmed; nothing was changed", exitBadInput}, {"y\n", "done  role vmimport: iam:CreateRole", exitDone}} {
		cmd := exec.Command("ingot", "aws", "setup", "--bucket", "images")
		cmd.Env = append(os.Environ(), c.environ...)
		screen := onTerminal(t, cmd)
		screen.expect("Go on? [y/N]", time.Minute)
		screen.enter(answer.says)
		screen.expect(answer.ends, time.Minute)
		screen.end(answer.status)
	}
	made := 0
	for _, r := range c.requests() {
		if strings.HasPrefix(r.Action, "Create") {
			made++
		}
	}
	if made != 2 {
		t.Errorf("%d things were made, want the bucket and the role", made)
	}
}
