package disk

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

// Tools returns the host programs that this package runs. None is needed before the function that uses it is called.
func Tools() []Tool {
	return []Tool{qemuImg, mke2fs, e2fsck, mkfsVFAT, mcopy, mmd}
}

var (
	qemuImg  = Tool{"qemu-img", "qemu-utils"}
	mke2fs   = Tool{"mke2fs", "e2fsprogs"}
	e2fsck   = Tool{"e2fsck", "e2fsprogs"}
	mkfsVFAT = Tool{"mkfs.vfat", "dosfstools"}
	mcopy    = Tool{"mcopy", "mtools"}
	mmd      = Tool{"mmd", "mtools"}
)

// Find returns the path of the program. It looks in PATH and then in the sbin folders, which Debian leaves out of an ordinary
// user's PATH. The error is a [MissingToolError].
func (t Tool) Find() (string, error) {
	if p, err := exec.LookPath(t.Name); err == nil {
		return filepath.Abs(p)
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if p, err := exec.LookPath(filepath.Join(dir, t.Name)); err == nil {
			return p, nil
		}
	}
	return "", &MissingToolError{Tool: t}
}

// MissingToolError says that a program of the host is not installed, and which package has it.
type MissingToolError struct{ Tool Tool }

func (e *MissingToolError) Error() string {
	return fmt.Sprintf("%s not found: install the package %s", e.Tool.Name, e.Tool.Package)
}

// ToolError is the failure of a program of the host.
type ToolError struct {
	Tool     string // file name, as in [Tool]
	ExitCode int    // -1 when a signal ended it
	Stderr   string // last lines of what it said, at most 4 KiB
	Err      error  // from os/exec
}

func (e *ToolError) Error() string {
	if e.Stderr == "" {
		return fmt.Sprintf("%s: %v", e.Tool, e.Err)
	}
	return fmt.Sprintf("%s: %s", e.Tool, e.Stderr)
}

func (e *ToolError) Unwrap() error { return e.Err }

// NoSpaceError says that a file system is full.
type NoSpaceError struct {
	Dir    string // folder that was written to
	Needed int64  // rough estimate in bytes, 0 when unknown
	Free   int64  // bytes free in Dir for this user
}

func (e *NoSpaceError) Error() string {
	if e.Needed == 0 {
		return fmt.Sprintf("no space left on device: %s free in %s", formatBytes(e.Free), e.Dir)
	}
	return fmt.Sprintf("no space left on device: needs about %s, %s free in %s", formatBytes(e.Needed), formatBytes(e.Free), e.Dir)
}

// Is makes errors.Is(err, syscall.ENOSPC) true.
func (e *NoSpaceError) Is(target error) bool { return target == syscall.ENOSPC }

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

const stderrTail = 4 << 10

// Run runs the command in a process group of its own and waits for it. When ctx ends the whole group is killed and ctx's cause
// is returned. When this process is killed, however hard, the kernel kills the program too (PR_SET_PDEATHSIG; programs with
// children of their own that matter should be started under "unshare --kill-child"). Messages are asked for in English
// (LC_ALL=C). The error is a [MissingToolError] or a [ToolError].
func Run(ctx context.Context, c Command) error {
	path, err := c.Tool.Find()
	if err != nil {
		return err
	}
	tail := &tailBuffer{limit: stderrTail}
	cmd := exec.CommandContext(ctx, path, c.Args...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.ExtraFiles = c.Dir, c.Stdin, c.Stdout, c.Files
	cmd.Env = append(append(os.Environ(), "LC_ALL=C"), c.Env...)
	cmd.Stderr = tail
	if c.Stderr != nil {
		cmd.Stderr = io.MultiWriter(tail, c.Stderr)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second
	done := make(chan error, 1)
	go func() {
		// The death signal belongs to the thread that forks: it must live as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		done <- cmd.Run()
	}()
	err = <-done
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", c.Tool.Name, context.Cause(ctx))
	}
	code := -1
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
		for _, ok := range c.AcceptExit {
			if code == ok {
				return nil
			}
		}
	}
	return &ToolError{Tool: c.Tool.Name, ExitCode: code, Stderr: tail.String(), Err: err}
}

// tailBuffer keeps the last bytes written to it.
type tailBuffer struct {
	limit int
	buf   []byte
	cut   bool
}

func (t *tailBuffer) Write(p []byte) (int, error) {
	n := len(p)
	if len(p) > t.limit {
		p, t.cut = p[len(p)-t.limit:], true
	}
	if over := len(t.buf) + len(p) - t.limit; over > 0 {
		t.buf, t.cut = append(t.buf[:0], t.buf[over:]...), true
	}
	t.buf = append(t.buf, p...)
	return n, nil
}

// String gives the kept text, from the start of a line, without trailing white space.
func (t *tailBuffer) String() string {
	b := t.buf
	if t.cut {
		if i := bytes.IndexByte(b, '\n'); i >= 0 && i+1 < len(b) {
			b = b[i+1:]
		}
	}
	return strings.TrimSpace(strings.ToValidUTF8(string(b), "?"))
}

// ExplainSpace turns a failure for lack of space, of the operating system or of a tool, into a [NoSpaceError] for the folder dir;
// needed is an estimate in bytes, 0 when unknown. Other errors, nil too, come back as they are.
func ExplainSpace(err error, dir string, needed int64) error {
	if err == nil {
		return nil
	}
	free := int64(-1)
	var st syscall.Statfs_t
	if syscall.Statfs(dir, &st) == nil {
		free = int64(st.Bavail) * st.Bsize
	}
	var te *ToolError
	full := errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
	if errors.As(err, &te) {
		// qemu-img's VMDK writer says "Invalid argument" when the disk is full.
		full = strings.Contains(te.Stderr, "No space left on device") || strings.Contains(te.Stderr, "Disk quota exceeded") || free >= 0 && free < 1<<20
	}
	if !full {
		return err
	}
	return &NoSpaceError{Dir: dir, Needed: needed, Free: max(free, 0)}
}

func formatBytes(n int64) string {
	switch {
	case n >= 10<<40:
		return fmt.Sprintf("%.0f TiB", float64(n)/(1<<40))
	case n >= 10<<30:
		return fmt.Sprintf("%.0f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d bytes", n)
}
