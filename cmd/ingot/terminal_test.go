package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
)

// terminal is a program on a terminal, with a person before it.
type terminal struct {
	t    *testing.T
	cmd  *exec.Cmd
	keys *os.File
	done chan struct{}

	mu     sync.Mutex
	screen bytes.Buffer
	seen   int // what expect has found already
}

// lastDrawn leaves out what a live line has drawn over.
func lastDrawn(screen string) string {
	lines := strings.SplitAfter(screen, "\n")
	for i, line := range lines {
		lines[i] = line[max(0, strings.LastIndex(line, "\r\x1b[K")):]
	}
	return strings.Join(lines, "")
}

func onTerminal(t *testing.T, cmd *exec.Cmd) *terminal {
	t.Helper()
	cmd.Env = append(cmd.Env, "TERM=xterm-256color")
	keys, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 31, Cols: 97})
	if err != nil {
		t.Fatal(err)
	}
	p := &terminal{t: t, cmd: cmd, keys: keys, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		io.Copy(p, keys)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		keys.Close()
		if t.Failed() {
			t.Logf("the terminal of %s:\n%s", strings.Join(cmd.Args, " "), lastDrawn(p.text()))
		}
	})
	return p
}

func (p *terminal) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.screen.Write(b)
}

func (p *terminal) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.screen.String()
}

// expect waits until something is printed after what was expected before, and gives what came with it.
func (p *terminal) expect(part string, limit time.Duration) string {
	p.t.Helper()
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		text := p.text()[p.seen:]
		if i := strings.Index(text, part); i >= 0 {
			p.seen += i + len(part)
			return text[:i+len(part)]
		}
		select {
		case <-p.done:
			limit = 0
		default:
		}
		if time.Since(start) > limit {
			p.t.Fatalf("%q did not appear", part)
		}
	}
}

func (p *terminal) enter(keys string) {
	p.t.Helper()
	if _, err := io.WriteString(p.keys, keys); err != nil {
		p.t.Fatal(err)
	}
}

// end waits for the program to end with an exit status.
func (p *terminal) end(status int) {
	p.t.Helper()
	select {
	case <-p.done: // its last process has let go of the terminal
	case <-time.After(2 * time.Minute):
		p.t.Fatal("the program does not end")
	}
	p.cmd.Wait()
	if got := p.cmd.ProcessState.ExitCode(); got != status {
		p.t.Errorf("%s exited %d, want %d", strings.Join(p.cmd.Args, " "), got, status)
	}
}
