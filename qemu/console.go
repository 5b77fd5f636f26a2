package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	defaultConsoleLog = 16 << 20
	keptLines         = 400
	keptNotes         = 8
	// quiet is how long the console must be silent before an unfinished line counts as a prompt.
	quiet = 100 * time.Millisecond
)

// Console is the guest's serial console. It is read for as long as the VM lives, whether or not anybody looks.
// What the guest prints is hostile: lines are bounded and hold no control characters, and a guest that prints a
// message of failure can only make its own VM fail.
type Console struct {
	out      *os.File // what the guest prints
	in       *os.File // what is typed
	log      io.Writer
	logLeft  int64 // bytes that may still be written to log; negative is no bound
	done     chan struct{}
	failed   chan struct{} // closed with the first finding
	patterns []Pattern

	mu      sync.Mutex
	term    terminal
	lines   []string  // the last ones, at least keptLines
	boot    int       // index in lines of the first since the last reset
	notes   []Finding // details since the last reset: the first and the last ones
	finding *Finding
	watches map[*watch]struct{}
	last    time.Time // of the last output
	logErr  error
}

// watch is a caller of Expect.
type watch struct {
	re    *regexp.Regexp
	found chan string // has room for one
}

// openConsole makes a console and returns the ends of its pipes that are to be QEMU's standard input and output.
//
// Pipes and not a socket: QEMU sends byte by byte and drops what does not fit at once, and a socket's buffer is
// full after a few hundred one-byte messages, while a pipe packs them.
func openConsole(log io.Writer, limit int64) (c *Console, stdin, stdout *os.File, err error) {
	in, typed, err := os.Pipe()
	if err != nil {
		return nil, nil, nil, fmt.Errorf("make console: %w", err)
	}
	printed, out, err := os.Pipe()
	if err != nil {
		in.Close()
		typed.Close()
		return nil, nil, nil, fmt.Errorf("make console: %w", err)
	}
	if raw, err := printed.SyscallConn(); err == nil {
		// As much as an ordinary user may have; a smaller one does too.
		raw.Control(func(fd uintptr) { unix.FcntlInt(fd, unix.F_SETPIPE_SZ, 1<<20) })
	}
	return newConsole(printed, typed, log, limit), in, out, nil
}

func newConsole(out, in *os.File, log io.Writer, limit int64) *Console {
	if limit == 0 {
		limit = defaultConsoleLog
	}
	c := &Console{
		out:      out,
		in:       in,
		log:      log,
		logLeft:  limit,
		done:     make(chan struct{}),
		failed:   make(chan struct{}),
		patterns: Patterns(),
		watches:  map[*watch]struct{}{},
	}
	c.term.line = c.line
	return c
}

func (c *Console) close() {
	c.in.Close()
	c.out.Close()
}

// read takes the console's output until the connection ends.
func (c *Console) read() {
	defer close(c.done)
	buf := make([]byte, 32<<10)
	for {
		n, err := c.out.Read(buf)
		if n > 0 {
			c.writeLog(buf[:n])
			c.mu.Lock()
			c.last = time.Now()
			c.term.Write(buf[:n])
			c.mu.Unlock()
			c.out.SetReadDeadline(time.Now().Add(quiet))
		}
		if err == nil {
			continue
		}
		c.mu.Lock()
		if text := c.term.partial(); text != "" {
			c.match(text, false)
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			for w := range c.watches {
				close(w.found)
			}
			c.watches = nil
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		c.out.SetReadDeadline(time.Time{})
	}
}

func (c *Console) writeLog(p []byte) {
	if c.log == nil || c.logLeft == 0 {
		return
	}
	cut := c.logLeft > 0 && int64(len(p)) >= c.logLeft
	if cut {
		p = p[:c.logLeft]
	}
	if c.logLeft > 0 {
		c.logLeft -= int64(len(p))
	}
	_, err := c.log.Write(p)
	if err == nil && cut {
		_, err = io.WriteString(c.log, "\r\n[the console log ends here: it has reached its limit]\r\n")
	}
	if err != nil {
		c.logLeft = 0
		c.mu.Lock()
		c.logErr = fmt.Errorf("write console log: %w", err)
		c.mu.Unlock()
	}
}

// line takes a line from the terminal; c.mu is held.
func (c *Console) line(text string, overwritten bool) {
	if text == "" {
		return
	}
	c.match(text, true)
	if overwritten {
		return
	}
	if len(c.lines) >= 2*keptLines {
		c.lines = append(c.lines[:0], c.lines[keptLines:]...)
		c.boot = max(0, c.boot-keptLines)
	}
	c.lines = append(c.lines, text)
}

// match holds a line against the patterns and the callers of Expect; c.mu is held. Unfinished lines give no notes,
// or they would give them twice.
func (c *Console) match(text string, finished bool) {
	for w := range c.watches {
		if w.re.MatchString(text) {
			w.found <- text
			delete(c.watches, w)
		}
	}
	for i := range c.patterns {
		p := &c.patterns[i]
		if p.Fatal && c.finding != nil || !p.Fatal && !finished {
			continue
		}
		f := p.match(text)
		if f == nil {
			continue
		}
		if p.Fatal {
			c.failLocked(f)
		} else {
			c.note(*f)
		}
		return
	}
}

func (c *Console) note(f Finding) {
	if f.Cause == "" || slices.ContainsFunc(c.notes, func(n Finding) bool { return n.Cause == f.Cause }) {
		return
	}
	if len(c.notes) == keptNotes {
		c.notes = slices.Delete(c.notes, 1, 2) // the first is often the cause of the others
	}
	c.notes = append(c.notes, f)
}

// fail records that the guest has failed in a way seen otherwise than on the console.
func (c *Console) fail(f Finding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failLocked(&f)
}

func (c *Console) failLocked(f *Finding) {
	if c.finding == nil {
		c.finding = f
		close(c.failed)
	}
}

// restarted begins a new boot: the details of the one before explain nothing any more.
func (c *Console) restarted() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notes = nil
	c.boot = len(c.lines)
}

// Tail returns up to n of the last lines, oldest first, without blank ones, control characters and escape
// sequences. Some hundred lines are kept.
func (c *Console) Tail(n int) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := slices.Clone(c.lines)
	if text := c.term.partial(); text != "" {
		lines = append(lines, text)
	}
	return slices.Clone(lines[max(0, len(lines)-max(n, 0)):])
}

// Notes returns details seen on the console since the machine was last reset that may explain a failure, oldest
// first: mounts that failed, processes killed for memory, boot options the firmware could not load.
func (c *Console) Notes() []Finding {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.notes)
}

// Finding returns the first message of failure, nil if there was none. Failed is closed when there is one.
func (c *Console) Finding() *Finding {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.finding
}

// Failed is closed when the console has shown that the guest cannot go on.
func (c *Console) Failed() <-chan struct{} { return c.failed }

// Expect waits until a line matches, and returns it; a prompt counts as a line once the console falls silent.
// The kernel may print its next message right behind a prompt, on the same line: match a prompt by `login:( |$)`, not by
// `login:$`. Lines kept since the machine was last reset are looked at first. The error is ctx's, or io.EOF when the VM has ended.
// Give it to VM.Await as the thing to wait for, so that a dead guest ends it.
func (c *Console) Expect(ctx context.Context, re *regexp.Regexp) (string, error) {
	w := &watch{re, make(chan string, 1)}
	c.mu.Lock()
	for _, text := range append(slices.Clone(c.lines[c.boot:]), c.term.partial()) {
		if re.MatchString(text) {
			c.mu.Unlock()
			return text, nil
		}
	}
	if c.watches == nil {
		c.mu.Unlock()
		return "", fmt.Errorf("console: %w", io.EOF)
	}
	c.watches[w] = struct{}{}
	c.mu.Unlock()
	select {
	case text, ok := <-w.found:
		if !ok {
			return "", fmt.Errorf("console: %w", io.EOF)
		}
		return text, nil
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.watches, w)
		c.mu.Unlock()
		return "", ctx.Err()
	}
}

// Write types into the console. It blocks while the guest does not read and QEMU's buffer is full, at most until the
// VM ends.
func (c *Console) Write(p []byte) (int, error) { return c.in.Write(p) }

// settle waits until the console has been silent for d, at most max, or until it ends or ctx does: the lines
// after a message of failure often say more than it does.
func (c *Console) settle(ctx context.Context, d, max time.Duration) {
	limit := time.NewTimer(max)
	defer limit.Stop()
	for {
		c.mu.Lock()
		left := d - time.Since(c.last)
		c.mu.Unlock()
		if left <= 0 {
			return
		}
		pause := time.NewTimer(left)
		select {
		case <-pause.C:
			continue
		case <-limit.C:
		case <-c.done:
		case <-ctx.Done():
		}
		pause.Stop()
		return
	}
}
