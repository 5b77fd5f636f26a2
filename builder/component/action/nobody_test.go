//go:build unix

package action_test

import (
	"os/exec"
	"syscall"
)

// asNobody makes a command run as the user nobody.
func asNobody(command *exec.Cmd) *exec.Cmd {
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	return command
}
