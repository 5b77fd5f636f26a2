//go:build unix

package component

import (
	"os"
	"os/exec"
	"syscall"
)

// group is the process group of a command.
type group struct{ cmd *exec.Cmd }

func newGroup(cmd *exec.Cmd, _ Command) (group, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return group{cmd}, nil
}

// join and close have nothing to do: the command starts as the leader of its group.
func (g group) join() error { return nil }
func (g group) close()      {}

func (g group) terminate() error { return syscall.Kill(-g.cmd.Process.Pid, syscall.SIGTERM) }

// kill ends what is left of the group. The group's number cannot belong to anybody else while a member lives, and when none does the
// call fails, unless the number was taken anew in the same moment.
func (g group) kill() { _ = syscall.Kill(-g.cmd.Process.Pid, syscall.SIGKILL) }

func exitError(err *exec.ExitError) *ExitError {
	if status, ok := err.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return &ExitError{Code: 128 + int(status.Signal()), Signal: status.Signal().String()}
	}
	return &ExitError{Code: err.ExitCode()}
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}

// missingEnviron adds what a service started early in the boot does not have, and scripts rely on.
func missingEnviron(environ []string) (missing []string) {
	if getenv(environ, "PATH") == "" {
		missing = append(missing, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	}
	if getenv(environ, "HOME") == "" && os.Getuid() == 0 {
		missing = append(missing, "HOME=/root")
	}
	return missing
}
