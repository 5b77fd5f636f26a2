//go:build unix

package agent

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/creack/pty"
)

// endGrace is how long a program may take to end after it was told to.
const endGrace = 2 * time.Second

// shell is the guest's side of Client.Shell.
func (s *Server) shell(ctx context.Context, req Shell, r *bufio.Reader, w io.Writer) error {
	frames := &frameWriter{w: w}
	cmd := s.shellCommand(req)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var err error
	if req.Terminal != nil {
		err = runOnTerminal(ctx, cancel, cmd, req.Terminal.Size, r, frames)
	} else {
		err = runOnPipes(ctx, cancel, cmd, r, frames)
	}
	var exit *exec.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return frames.answer(response{Exit: &Exit{}})
	case errors.As(err, &exit):
		code := exit.ExitCode()
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			code = 128 + int(status.Signal())
		}
		return frames.answer(response{Exit: &Exit{Code: code}})
	}
	return frames.answer(response{Error: err.Error()})
}

func (s *Server) shellCommand(req Shell) *exec.Cmd {
	var cmd *exec.Cmd
	if len(req.Command) > 0 {
		// By a shell, which looks for the program as the guest's users do and tells as usual what it does not find.
		cmd = exec.Command("/bin/sh", append([]string{"-c", `exec "$@"`, "sh"}, req.Command...)...)
	} else {
		cmd = exec.Command("/bin/bash")
		if _, err := os.Stat(cmd.Path); err != nil {
			cmd = exec.Command("/bin/sh")
		}
		cmd.Args = []string{"-" + filepath.Base(cmd.Path)} // a login shell
	}
	cmd.Env = s.System.Environment()
	if req.Terminal != nil && req.Terminal.Type != "" {
		cmd.Env = append(cmd.Env, "TERM="+req.Terminal.Type)
	}
	cmd.Dir = "/"
	for _, e := range cmd.Env {
		if home, ok := cutHome(e); ok {
			cmd.Dir = home
		}
	}
	return cmd
}

func cutHome(variable string) (string, bool) {
	const name = "HOME="
	if len(variable) <= len(name) || variable[:len(name)] != name {
		return "", false
	}
	info, err := os.Stat(variable[len(name):])
	return variable[len(name):], err == nil && info.IsDir()
}

// runOnTerminal runs a program as the leader of a session of its own on a terminal of its own.
func runOnTerminal(ctx context.Context, cancel func(), cmd *exec.Cmd, size Size, r *bufio.Reader, frames *frameWriter) error {
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: size.Rows, Cols: size.Columns})
	if err != nil {
		return err
	}
	defer terminal.Close()
	// The end of the input is the end of a line with nothing in it, as a person types it.
	stdin := terminalInput{terminal}
	go func() {
		defer cancel()
		receiveInput(r, stdin, func(size Size) {
			pty.Setsize(terminal, &pty.Winsize{Rows: size.Rows, Cols: size.Columns})
		})
	}()
	printed := &copier{idleSince: make(chan time.Time, 1), done: make(chan struct{})}
	go printed.copy(outputFrames{frames, frameStdout}, terminal)
	err = waitOrEnd(ctx, cmd)
	// The terminal's other end stays open as long as a program in the background holds it.
	printed.settle(200 * time.Millisecond)
	return err
}

// copier copies, and knows when it has waited for input in vain.
type copier struct {
	idleSince chan time.Time // holds when the read under way began; empty while something is being written
	done      chan struct{}
}

func (c *copier) copy(w io.Writer, r io.Reader) {
	defer close(c.done)
	buf := make([]byte, 32<<10)
	for {
		c.idleSince <- time.Now()
		n, err := r.Read(buf)
		<-c.idleSince
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// settle waits for the end of the copy, or until nothing came for a while.
func (c *copier) settle(idle time.Duration) {
	for {
		select {
		case <-c.done:
			return
		case <-time.After(idle / 10):
		}
		select {
		case since := <-c.idleSince:
			c.idleSince <- since
			if time.Since(since) > idle {
				return
			}
		default:
		}
	}
}

// terminalInput is a terminal whose close types Ctrl-D.
type terminalInput struct{ *os.File }

func (t terminalInput) Close() error {
	_, err := t.File.Write([]byte{4})
	return err
}

// runOnPipes runs a program with three pipes, in a process group of its own.
func runOnPipes(ctx context.Context, cancel func(), cmd *exec.Cmd, r *bufio.Reader, frames *frameWriter) error {
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = outputFrames{frames, frameStdout}, outputFrames{frames, frameStderr}
	cmd.WaitDelay = endGrace
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		defer cancel()
		receiveInput(r, stdin, func(Size) {})
	}()
	return waitOrEnd(ctx, cmd)
}

// waitOrEnd waits for a program, which leads its process group, and ends the group when ctx does.
func waitOrEnd(ctx context.Context, cmd *exec.Cmd) error {
	ended := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-ended:
			return
		case <-ctx.Done():
		}
		syscall.Kill(-cmd.Process.Pid, syscall.SIGHUP)
		select {
		case <-ended:
		case <-time.After(endGrace):
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}
	}()
	err := cmd.Wait()
	close(ended)
	<-stopped
	return err
}
