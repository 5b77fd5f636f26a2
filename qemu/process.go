package qemu

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a child in a process group of its own that dies when this process dies, however that happens.
type process struct {
	pid    int
	stderr *tail
	done   chan struct{} // closed when the child has been reaped
	state  *os.ProcessState

	mu     sync.Mutex
	exited bool // the pid may belong to somebody else from now on
}

// startProcess runs binary with the given standard input and output; files become its descriptors from 3 on.
func startProcess(binary string, args []string, stdin, stdout *os.File, files ...*os.File) (*process, error) {
	p := &process{stderr: &tail{max: 16 << 10}, done: make(chan struct{})}
	cmd := exec.Command(binary, args...)
	cmd.ExtraFiles = files
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, p.stderr
	cmd.Env = environment("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH")
	cmd.WaitDelay = 2 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// PR_SET_PDEATHSIG fires when the parent *thread* ends, so that thread must live as long as the child:
		// it is locked here until Wait has returned.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err != nil {
			return
		}
		p.awaitExit()
		// The child is a zombie still, so its group's number is still its own.
		p.mu.Lock()
		unix.Kill(-p.pid, unix.SIGKILL)
		p.exited = true
		p.mu.Unlock()
		cmd.Wait()
		p.state = cmd.ProcessState
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// awaitExit waits for the child's end without reaping it.
func (p *process) awaitExit() {
	for {
		err := unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return
		}
	}
}

// kill ends the whole group at once, and tells whether it was still there. It may be called any number of times.
func (p *process) kill() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.exited {
		unix.Kill(-p.pid, unix.SIGKILL)
	}
	return !p.exited
}

// status describes the end: "exited 1" or "was killed by signal 9 (killed)".
func (p *process) status() string {
	if ws, ok := p.state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return fmt.Sprintf("was killed by signal %d (%v)", ws.Signal(), ws.Signal())
	}
	return fmt.Sprintf("exited %d", p.state.ExitCode())
}

// environment passes only the named variables on, and no locale: the messages are read by programs.
func environment(names ...string) []string {
	env := []string{"LC_ALL=C"}
	for _, name := range names {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// tail keeps the last max bytes written to it.
type tail struct {
	max int

	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - t.max; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ToValidUTF8(string(t.buf), "?")
}
