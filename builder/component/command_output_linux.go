package component

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// enlarge makes a pipe larger if it may; a smaller one does, too.
func enlarge(pipe syscall.Conn) {
	if raw, err := pipe.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
	}
}
