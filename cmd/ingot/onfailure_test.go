package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"

	"github.com/ingot-image/ingot/builder"
	"github.com/ingot-image/ingot/builder/agent"
	"github.com/ingot-image/ingot/qemu"
)

// fakeGuest is a failed guest that notes what is done with it.
type fakeGuest struct {
	dead  bool
	fails error // of the shell
	read  func(io.Reader)
	done  []string
}

func (g *fakeGuest) Answers(context.Context) bool { return !g.dead }

func (g *fakeGuest) Keep(context.Context) (string, error) {
	g.done = append(g.done, "keep")
	return "vm-1", nil
}

func (g *fakeGuest) Shell(_ context.Context, shell agent.Shell, streams agent.Streams) (int, error) {
	g.done = append(g.done, "shell")
	if g.read != nil {
		g.read(streams.Stdin)
	}
	return 0, g.fails
}

// fakeShell is a shell without a terminal.
func fakeShell(ctx context.Context, guest sheller, keys *keyboard) error {
	ctx, over := context.WithCancel(ctx)
	defer over()
	_, err := guest.Shell(ctx, agent.Shell{}, agent.Streams{Stdin: keys.reader(ctx)})
	return err
}

func TestOnFailure(t *testing.T) {
	down := &qemu.WaitError{Reason: qemu.WaitShutdown}
	for _, c := range []struct {
		name, mode, typed string
		guest             fakeGuest
		want              []string
		says              string
	}{
		{"stop", failureStop, "", fakeGuest{}, nil, ""},
		{"keep", failureKeep, "", fakeGuest{}, []string{"keep"}, ""},
		{"keep the disk", failureKeep, "", fakeGuest{dead: true}, []string{"keep"}, ""},
		{"shell", failureShell, "", fakeGuest{}, []string{"shell"}, "--on-failure=keep would keep it"},
		{"shell in a dead guest", failureShell, "", fakeGuest{dead: true}, nil, "does not answer"},
		{"ask: stop", failureAsk, "t\n", fakeGuest{}, nil, "[s]hell, [k]eep, s[t]op?"},
		{"ask: keep", failureAsk, "k\n", fakeGuest{}, []string{"keep"}, ""},
		{"ask: words", failureAsk, " Keep \n", fakeGuest{}, []string{"keep"}, ""},
		{"ask: shells, then keep", failureAsk, "s\ns\nk\n", fakeGuest{}, []string{"shell", "shell", "keep"}, ""},
		{"ask: nonsense", failureAsk, "\nmaybe\nstop\n", fakeGuest{}, nil, "k saves it"},
		{"ask: end of input", failureAsk, "", fakeGuest{}, nil, ""},
		{"ask: end of input in a line", failureAsk, "k", fakeGuest{}, nil, ""},
		{"ask: a dead guest has no shell", failureAsk, "s\nk\n", fakeGuest{dead: true}, []string{"keep"}, "does not answer"},
		{"ask: the guest goes down in the shell", failureAsk, "s\nk\n", fakeGuest{fails: down}, []string{"shell", "keep"}, "went down"},
		{"ask: the shell fails", failureAsk, "s\nt\n", fakeGuest{fails: errors.New("no\x1b[2J such shell")}, []string{"shell"}, "no[2J such shell"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			o := &onFailure{out: &out, shell: fakeShell, keys: newKeyboard(strings.NewReader(c.typed))}
			o.do(t.Context(), c.mode, &c.guest)
			if !slices.Equal(c.guest.done, c.want) || !strings.Contains(out.String(), c.says) {
				t.Errorf("done: %v, want %v; said:\n%s", c.guest.done, c.want, out.String())
			}
		})
	}
}

// TestOnFailureMode is about what is done when the flag does not say.
func TestOnFailureMode(t *testing.T) {
	for _, c := range []struct {
		flag                string
		terminal, terminate bool
		want                string
	}{
		{"", true, true, failureAsk}, {"", false, true, failureStop}, {"", true, false, failureKeep}, {"", false, false, failureKeep},
		{failureStop, true, false, failureStop}, {failureShell, true, false, failureShell}, {failureKeep, false, true, failureKeep},
	} {
		o := &onFailure{mode: c.flag, terminal: c.terminal}
		if got := o.resolve(c.terminate); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// TestAskInterrupted wants Ctrl-C to end the question.
func TestAskInterrupted(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	var guest fakeGuest
	o := &onFailure{out: io.Discard, keys: newKeyboard(r)}
	o.do(ctx, failureAsk, &guest)
	if len(guest.done) > 0 {
		t.Errorf("done: %v", guest.done)
	}
	// And a question after it is not asked.
	o.do(ctx, failureAsk, &guest)
}

// TestKeysAfterShell wants what is typed after a shell to be the next question's, though the shell's reader still waits.
func TestKeysAfterShell(t *testing.T) {
	r, w := io.Pipe()
	left := make(chan struct{})
	var readers sync.WaitGroup
	guest := &fakeGuest{read: func(stdin io.Reader) {
		p := make([]byte, 2)
		io.ReadFull(stdin, p) // in pieces smaller than what is typed
		if string(p) != "ls" {
			t.Errorf("the shell was typed %q", p)
		}
		io.ReadFull(stdin, p)
		readers.Go(func() { // as agent.Client.Shell's, which outlives it
			if n, err := stdin.Read(p); err != io.EOF {
				t.Errorf("after the shell its reader got %q, %v", p[:n], err)
			}
		})
		time.Sleep(20 * time.Millisecond)
		close(left)
	}}
	o := &onFailure{out: io.Discard, shell: fakeShell, keys: newKeyboard(r)}
	go func() {
		io.WriteString(w, "s\n")
		io.WriteString(w, "ls\r\n")
		<-left
		time.Sleep(50 * time.Millisecond)
		io.WriteString(w, "keep\n")
	}()
	o.do(t.Context(), failureAsk, guest)
	readers.Wait()
	if !slices.Equal(guest.done, []string{"shell", "keep"}) {
		t.Errorf("done: %v", guest.done)
	}
}

// TestTerminalShell wants a shell to take the terminal over, and to give it back as it was.
func TestTerminalShell(t *testing.T) {
	master, slave, err := pty.Open()
	if err != nil {
		t.Skipf("there are no terminals here: %v", err)
	}
	defer master.Close()
	defer slave.Close()
	pty.Setsize(master, &pty.Winsize{Rows: 40, Cols: 120})
	stdin, stdout := os.Stdin, os.Stdout
	os.Stdin, os.Stdout = slave, slave
	defer func() { os.Stdin, os.Stdout = stdin, stdout }()
	before, err := term.GetState(int(slave.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	keys := newKeyboard(slave)
	var shell agent.Shell
	var typed [3]byte
	guest := shellFunc(func(_ context.Context, s agent.Shell, streams agent.Streams) (int, error) {
		shell = s
		io.WriteString(master, "a\x03\r") // Ctrl-C is a key, and nothing waits for the end of the line
		_, err := io.ReadFull(streams.Stdin, typed[:])
		return 0, err
	})
	if err := terminalShell(t.Context(), guest, keys); err != nil || string(typed[:]) != "a\x03\r" {
		t.Errorf("the shell was typed %q, %v", typed, err)
	}
	if shell.Terminal == nil || shell.Terminal.Size != (agent.Size{Rows: 40, Columns: 120}) {
		t.Errorf("the shell is %+v", shell)
	}
	if after, err := term.GetState(int(slave.Fd())); err != nil || *after != *before {
		t.Errorf("the terminal is not as it was: %v", err)
	}
}

type shellFunc func(context.Context, agent.Shell, agent.Streams) (int, error)

func (f shellFunc) Shell(ctx context.Context, shell agent.Shell, streams agent.Streams) (int, error) {
	return f(ctx, shell, streams)
}

// TestShownOnce wants a failure that was shown in full to be told in brief at the end.
func TestShownOnce(t *testing.T) {
	var out bytes.Buffer
	o := &onFailure{out: &out}
	failure := &builder.Failure{Stage: "apply", ErrorMessage: "step \"A\" failed", Console: []string{"line"}}
	var silent silentError
	if err := o.ended(failure); err != error(failure) {
		t.Errorf("a failure that was not shown became %v", err)
	}
	o.show(failure)
	if !strings.Contains(out.String(), "| line") {
		t.Errorf("shown:\n%s", out.String())
	}
	var again *builder.Failure
	if err := o.ended(failure); !errors.As(err, &silent) || !errors.As(err, &again) {
		t.Errorf("a failure that was shown became %v", err)
	}
}
