//go:build !windows

package action

// rebootExitCode is the exit status by which a command asks to be run again after a reboot.
const rebootExitCode = 194
