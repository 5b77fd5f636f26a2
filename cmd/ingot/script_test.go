package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ingot-image/ingot/builder/catalog"
	reference "github.com/ingot-image/ingot/builder/recipe/version"
)

// TestMain lets the test binary be the ingot program, too: scripts and the tests of builds run it as a process.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ingot": main})
}

// TestScripts runs the real program through testdata/script, one file a behaviour. None of them boots a VM.
func TestScripts(t *testing.T) {
	recipes, err := filepath.Abs("../../testdata/recipes")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/script",
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"exits": exits, "fillcache": fillCache, "built": built},
		Setup: func(env *testscript.Env) error {
			env.Setenv("INGOT_HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("RECIPES", recipes)
			env.Setenv("HOME", filepath.Join(env.WorkDir, "user"))
			return os.MkdirAll(filepath.Join(env.WorkDir, "user"), 0o700)
		},
	})
}

// exits is the script command "exits STATUS PROGRAM ARGS…": it runs a program that must end with that exit status.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS PROGRAM ARGS...")
	}
	status := "0"
	err := ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		status = strconv.Itoa(exit.ExitCode())
	} else if err != nil {
		ts.Fatalf("%s: %v", args[1], err)
	}
	if status != args[0] {
		ts.Fatalf("%s exited %s, want %s", strings.Join(args[1:], " "), status, args[0])
	}
}

// built is the script command "built NAME VERSION FORMAT FILE": the catalog has the file as that of an image that was built.
func built(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: built NAME VERSION FORMAT FILE")
	}
	home := ts.Getenv("INGOT_HOME")
	ts.Check(os.MkdirAll(home, 0o700))
	images, err := catalog.Open(context.Background(), filepath.Join(home, "ingot.db"))
	ts.Check(err)
	defer images.Close()
	pattern, err := reference.ParsePattern(args[1])
	ts.Check(err)
	build, err := images.Reserve(context.Background(), args[0], pattern)
	ts.Check(err)
	ts.Check(build.Finish(context.Background(), catalog.Record{Outputs: []catalog.Output{{Format: args[2], Path: ts.MkAbs(args[3])}}}))
	ts.Check(build.Close(context.Background()))
}
