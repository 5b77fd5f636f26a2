//go:build unix

package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// screen takes what a guest's program prints and lets a test wait for parts of it.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *screen) expect(t *testing.T, part string) {
	t.Helper()
	for start := time.Now(); time.Since(start) < 20*time.Second; time.Sleep(5 * time.Millisecond) {
		if strings.Contains(s.String(), part) {
			return
		}
	}
	t.Fatalf("%q did not appear in %q", part, s.String())
}

// session is a shell that a test types into.
type session struct {
	screen
	keys  io.Writer
	sizes chan Size
	done  chan struct{}
	code  int
	err   error
}

func openSession(t *testing.T, shell Shell) *session {
	t.Helper()
	p, _ := serve(t, nil)
	c := connected(t, p)
	r, w := io.Pipe()
	s := &session{keys: w, sizes: make(chan Size), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		s.code, s.err = c.Shell(t.Context(), shell, Streams{Stdin: r, Stdout: s, Stderr: s, Sizes: s.sizes})
	}()
	t.Cleanup(func() { w.Close() })
	return s
}

func (s *session) end(t *testing.T, code int) {
	t.Helper()
	select {
	case <-s.done:
	case <-time.After(20 * time.Second):
		t.Fatalf("the shell does not end: %q", s.String())
	}
	if s.err != nil || s.code != code {
		t.Errorf("the shell ended with %d, %v, want %d: %q", s.code, s.err, code, s.String())
	}
}

func terminalOf(rows, columns uint16) *Terminal {
	return &Terminal{Type: "xterm-256color", Size: Size{Rows: rows, Columns: columns}}
}

func TestShellOnTerminal(t *testing.T) {
	s := openSession(t, Shell{Command: []string{"/bin/sh"}, Terminal: terminalOf(31, 97)})
	io.WriteString(s.keys, "tty >/dev/null && echo on a $TERM\n")
	s.expect(t, "on a xterm-256color\r\n")
	io.WriteString(s.keys, "stty size\n")
	s.expect(t, "31 97\r\n")
	s.sizes <- Size{Rows: 50, Columns: 200}
	s.sizes <- Size{Rows: 50, Columns: 200} // it is taken when the first one has been sent, the same way as the keys
	io.WriteString(s.keys, "stty size\n")
	s.expect(t, "50 200\r\n")
	io.WriteString(s.keys, "exit 9\n")
	s.end(t, 9)
}

func TestShellResizeSignal(t *testing.T) {
	s := openSession(t, Shell{Command: []string{"/bin/sh", "-c", "trap 'echo resized; exit 4' WINCH; echo go; while :; do sleep 0.05; done"}, Terminal: terminalOf(24, 80)})
	s.expect(t, "go")
	s.sizes <- Size{Rows: 25, Columns: 80}
	s.expect(t, "resized")
	s.end(t, 4)
}

func TestShellCtrlC(t *testing.T) {
	s := openSession(t, Shell{Command: []string{"/bin/sh"}, Terminal: terminalOf(24, 80)})
	// It is the program in the foreground that says it has begun.
	io.WriteString(s.keys, "sh -c 'echo be\"\"gun; exec sleep 1000'; echo status $?\n")
	s.expect(t, "begun\r\n")
	io.WriteString(s.keys, "\x03")
	io.WriteString(s.keys, "echo still; exit 3\n")
	s.expect(t, "still\r\n")
	s.end(t, 3)
}

// TestShellHangsUp is about a host that goes away: what ran in the foreground is told, and ends.
func TestShellHangsUp(t *testing.T) {
	p, _ := serve(t, nil)
	c := connected(t, p)
	pid := filepath.Join(t.TempDir(), "pid")
	for name, shell := range map[string]Shell{
		"terminal": {Command: []string{"/bin/sh", "-c", "echo $$ >" + pid + "; exec sleep 1000"}, Terminal: terminalOf(24, 80)},
		"pipes":    {Command: []string{"/bin/sh", "-c", "trap '' HUP; echo $$ >" + pid + "; exec sleep 1000"}},
	} {
		t.Run(name, func(t *testing.T) {
			os.Remove(pid)
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				for !exists(pid) {
					time.Sleep(10 * time.Millisecond)
				}
				cancel()
			}()
			if _, err := c.Shell(ctx, shell, Streams{Stdout: io.Discard, Stderr: io.Discard, Stdin: neverReads{ctx}}); !errors.Is(err, context.Canceled) {
				t.Fatalf("Shell gave %v", err)
			}
			number, _ := os.ReadFile(pid)
			for start := time.Now(); exists("/proc/" + strings.TrimSpace(string(number))); time.Sleep(10 * time.Millisecond) {
				if time.Since(start) > 10*time.Second {
					t.Fatal("the program goes on")
				}
			}
		})
	}
}

// neverReads is an input from which nothing comes.
type neverReads struct{ ctx context.Context }

func (n neverReads) Read([]byte) (int, error) {
	<-n.ctx.Done()
	return 0, io.EOF
}

func exists(path string) bool {
	data, err := os.ReadFile(filepath.Join(path, "stat"))
	if err == nil {
		return !strings.Contains(string(data), ") Z ")
	}
	data, err = os.ReadFile(path)
	return err == nil && len(data) > 0
}

func TestShellOnPipes(t *testing.T) {
	p, _ := serve(t, nil)
	c := connected(t, p)
	input := bytes.Repeat([]byte("0123456789\x00\xff\n"), 100_000)
	for _, test := range []struct {
		command        []string
		stdin          io.Reader
		stdout, stderr string
		code           int
	}{
		{command: []string{"cat"}, stdin: bytes.NewReader(input), stdout: string(input)},
		{command: []string{"sh", "-c", "echo out; echo err >&2; exit 42"}, stdout: "out\n", stderr: "err\n", code: 42},
		{command: []string{"sh", "-c", "kill -TERM $$"}, code: 143},
		{command: []string{"sh", "-c", "read line || echo none"}, stdout: "none\n"},
		{command: []string{"no-such-program-here"}, code: 127},
		// What is left in the background holds the output open, but not the shell.
		{command: []string{"sh", "-c", "sleep 1000 & echo $!"}, stdout: "*"},
		{command: []string{"head", "-c", "1"}, stdin: bytes.NewReader(input), stdout: "0"},
	} {
		var stdout, stderr bytes.Buffer
		code, err := c.Shell(t.Context(), Shell{Command: test.command}, Streams{Stdin: test.stdin, Stdout: &stdout, Stderr: &stderr})
		if err != nil || code != test.code {
			t.Errorf("%q ended with %d, %v", test.command, code, err)
		}
		if test.stdout != "*" && stdout.String() != test.stdout {
			t.Errorf("%q printed %d bytes %.50q", test.command, stdout.Len(), stdout.String())
		}
		if test.code != 127 && stderr.String() != test.stderr {
			t.Errorf("%q printed %q as errors", test.command, stderr.String())
		}
	}
}

func TestPut(t *testing.T) {
	p, _ := serve(t, nil)
	c := connected(t, p)
	dir := t.TempDir()
	path := filepath.Join(dir, "a", "b", "file")
	content := bytes.Repeat([]byte("0123456789abcdef"), 200_000)
	if err := c.Put(t.Context(), PutFile{Path: path, Mode: 0o4750, Size: int64(len(content))}, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if got, _ := os.ReadFile(path); err != nil || !bytes.Equal(got, content) || info.Mode() != 0o750 {
		t.Errorf("the file has %d bytes, %v, %v", len(got), info, err)
	}
	if err := c.Put(t.Context(), PutFile{Path: path, Mode: 0o600}, nil); err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(path); info.Size() != 0 || info.Mode() != 0o600 {
		t.Errorf("the file was not replaced: %v", info)
	}
	if err := c.Put(t.Context(), PutFile{Path: filepath.Join(dir, "folder"), Mode: 0o711, Folder: true}, nil); err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(filepath.Join(dir, "folder")); info == nil || info.Mode() != os.ModeDir|0o711 {
		t.Errorf("the folder is %v", info)
	}
	// An error comes back although the host has much to send.
	err = c.Put(t.Context(), PutFile{Path: filepath.Join(path, "below"), Size: int64(len(content))}, bytes.NewReader(content))
	if err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("Put below a file gave %v", err)
	}
	err = c.Put(t.Context(), PutFile{Path: filepath.Join(dir, "short"), Size: 100}, strings.NewReader("x"))
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Put of a file that became shorter gave %v", err)
	}
	if err := c.Put(t.Context(), PutFile{Path: "relative"}, nil); err == nil {
		t.Error("Put of a relative path gave no error")
	}
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		left, _ := filepath.Glob(filepath.Join(dir, ".ingot-put-*"))
		if _, err := os.Stat(filepath.Join(dir, "short")); len(left) == 0 && err != nil {
			break
		}
		if time.Since(start) > 10*time.Second {
			t.Fatalf("a file that did not come whole is there: %v", left)
		}
	}
	if _, err := c.Info(t.Context()); err != nil {
		t.Error(err)
	}
}
