// Package tool runs programs of the host so that none outlives its caller: each is in a process group of its own that ends with the context, and the
// kernel kills it when the caller dies.
//
//	img := tool.Tool{Name: "qemu-img", Package: "qemu-utils"}
//	err := tool.Run(ctx, tool.Command{Tool: img, Args: []string{"check", tool.FilePath(0)}, Files: []*os.File{f}})
package tool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Tool is a program of the host: its file name and the Debian package that brings it.
type Tool struct {
	Name    string
	Package string
}

// Find returns the path of the program. It looks in PATH and then in the sbin folders, which Debian leaves out of an ordinary
// user's PATH. The error is a [MissingError].
func (t Tool) Find() (string, error) {
	if p, err := exec.LookPath(t.Name); err == nil {
		return filepath.Abs(p)
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if p, err := exec.LookPath(filepath.Join(dir, t.Name)); err == nil {
			return p, nil
		}
	}
	return "", &MissingError{Tool: t}
}

// MissingError says that a program of the host is not installed, and which package has it.
type MissingError struct{ Tool Tool }

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s not found: install the package %s", e.Tool.Name, e.Tool.Package)
}

// Error is the failure of a program of the host.
type Error struct {
	Tool     string // file name, as in [Tool]
	ExitCode int    // -1 when a signal ended it
	Stderr   string // last lines of what it said, at most 4 KiB
	Err      error  // from os/exec
}

func (e *Error) Error() string {
	if e.Stderr == "" {
		return fmt.Sprintf("%s: %v", e.Tool, e.Err)
	}
	return fmt.Sprintf("%s: %s", e.Tool, e.Stderr)
}

func (e *Error) Unwrap() error { return e.Err }

// Command is one run of a host program.
type Command struct {
	Tool   Tool
	Args   []string
	Dir    string
	Env    []string // added to this process's environment
	Stdin  io.Reader
	Stdout io.Writer  // nil discards
	Stderr io.Writer  // gets a copy of stderr as it comes; nil: only the tail is kept for the error
	Files  []*os.File // file descriptors 3 and up of the program: see [FilePath]
	// AcceptExit lists exit codes besides 0 that are no failure.
	AcceptExit []int
}

// FilePath is the path by which a program started with [Run] can open the i-th file of Command.Files again. It keeps odd
// characters in the real name away from programs that give them a meaning (mtools' "@@", e2fsprogs' "?").
func FilePath(i int) string { return fmt.Sprintf("/proc/self/fd/%d", 3+i) }

// TailLimit is how much of what a program says is kept for its error, in bytes.
const TailLimit = 4 << 10

// Run runs the command in a process group of its own and waits for it. When ctx ends the whole group is killed and ctx's cause
// is returned. When this process is killed, however hard, the kernel kills the program too (PR_SET_PDEATHSIG; programs with
// children of their own that matter should be started under "unshare --kill-child"). Messages are asked for in English
// (LC_ALL=C). The error is a [MissingError] or an [Error].
func Run(ctx context.Context, c Command) error {
	p, err := Start(ctx, c)
	if err != nil {
		return err
	}
	return p.Wait()
}

// Process is a program that runs.
type Process struct {
	ctx     context.Context
	command Command
	cmd     *exec.Cmd
	tail    *Tail
	done    chan struct{}
	err     error // when done
}

// Start starts the command as Run does, and does not wait for it. The process's Wait must be called.
func Start(ctx context.Context, c Command) (*Process, error) {
	path, err := c.Tool.Find()
	if err != nil {
		return nil, err
	}
	p := &Process{ctx: ctx, command: c, tail: &Tail{Limit: TailLimit}, done: make(chan struct{})}
	cmd := exec.CommandContext(ctx, path, c.Args...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.ExtraFiles = c.Dir, c.Stdin, c.Stdout, c.Files
	cmd.Env = append(append(os.Environ(), "LC_ALL=C"), c.Env...)
	cmd.Stderr = p.tail
	if c.Stderr != nil {
		cmd.Stderr = io.MultiWriter(p.tail, c.Stderr)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second
	p.cmd = cmd
	started := make(chan error, 1)
	go func() {
		// The death signal belongs to the thread that forks: it must live as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, p.explain(err)
	}
	return p, nil
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Signal sends the program, not its group, a signal.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Wait waits until the program has ended and returns what [Run] does.
func (p *Process) Wait() error {
	<-p.done
	if p.err == nil {
		return nil
	}
	return p.explain(p.err)
}

func (p *Process) explain(err error) error {
	if p.ctx.Err() != nil {
		return fmt.Errorf("%s: %w", p.command.Tool.Name, context.Cause(p.ctx))
	}
	code := -1
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
		for _, ok := range p.command.AcceptExit {
			if code == ok {
				return nil
			}
		}
	}
	return &Error{Tool: p.command.Tool.Name, ExitCode: code, Stderr: p.tail.String(), Err: err}
}

// Tail keeps the last bytes written to it, Limit of them.
type Tail struct {
	Limit int
	buf   []byte
	cut   bool
}

func (t *Tail) Write(p []byte) (int, error) {
	n := len(p)
	if len(p) > t.Limit {
		p, t.cut = p[len(p)-t.Limit:], true
	}
	if over := len(t.buf) + len(p) - t.Limit; over > 0 {
		t.buf, t.cut = append(t.buf[:0], t.buf[over:]...), true
	}
	t.buf = append(t.buf, p...)
	return n, nil
}

// String gives the kept text, from the start of a line, without trailing white space.
func (t *Tail) String() string {
	b := t.buf
	if t.cut {
		if i := bytes.IndexByte(b, '\n'); i >= 0 && i+1 < len(b) {
			b = b[i+1:]
		}
	}
	return strings.TrimSpace(strings.ToValidUTF8(string(b), "?"))
}
