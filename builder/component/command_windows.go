package component

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// group is a command with the children it started.
type group struct{ cmd *exec.Cmd }

func newGroup(cmd *exec.Cmd) group { return group{cmd} }

// terminate ends the tree at once: there is no polite way for processes without windows.
func (g group) terminate() error {
	g.kill()
	return g.cmd.Process.Kill()
}

func (g group) kill() {
	taskkill := filepath.Join(os.Getenv("SystemRoot"), "System32", "taskkill.exe")
	_ = exec.Command(taskkill, "/T", "/F", "/PID", strconv.Itoa(g.cmd.Process.Pid)).Run()
}

func exitError(err *exec.ExitError) *ExitError { return &ExitError{Code: err.ExitCode()} }

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// executableExtensions are those of PATHEXT; a name that has one already is tried as it is first.
func executableExtensions(getenv func(string) string) []string {
	list := getenv("PATHEXT")
	if list == "" {
		list = ".COM;.EXE;.BAT;.CMD"
	}
	return append([]string{""}, strings.Split(list, ";")...)
}

func missingEnviron([]string) []string { return nil }
