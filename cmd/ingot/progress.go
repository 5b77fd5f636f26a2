package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/term"

	"github.com/ingot-image/ingot/builder"
	"github.com/ingot-image/ingot/builder/component"
)

// progress shows a build while it runs: on a terminal the finished stages and one line that follows the running one,
// elsewhere plain lines.
type progress struct {
	w        io.Writer
	terminal bool
	width    func() int
	verbose  bool
	output   string

	mu      sync.Mutex
	start   time.Time
	stage   string
	since   time.Time
	doing   string            // what the running stage does
	tests   map[string]string // what each running test, or place of a distribution, does
	said    map[string]string // the last plain line of each of them, and of all else
	stopped chan struct{}
	done    chan struct{}
}

// tick is how often a terminal's line is drawn anew.
const tick = 200 * time.Millisecond

func newProgress(w *os.File, verbose bool) *progress {
	p := &progress{
		w: w, verbose: verbose, start: time.Now(), tests: map[string]string{}, said: map[string]string{},
		terminal: term.IsTerminal(int(w.Fd())) && os.Getenv("TERM") != "dumb",
		stopped:  make(chan struct{}), done: make(chan struct{}),
		width: func() int {
			if width, _, err := term.GetSize(int(w.Fd())); err == nil && width > 0 {
				return width
			}
			return 80
		},
	}
	if !p.terminal {
		close(p.done)
		return p
	}
	go func() {
		defer close(p.done)
		for {
			select {
			case <-p.stopped:
				return
			case <-time.After(tick):
				p.mu.Lock()
				p.draw()
				p.mu.Unlock()
			}
		}
	}()
	return p
}

// close ends the live line.
func (p *progress) close() {
	close(p.stopped)
	<-p.done
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
}

func (p *progress) erase() {
	if p.terminal {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// draw writes the live line.
func (p *progress) draw() {
	if !p.terminal || p.stage == "" {
		return
	}
	doing := p.doing
	if len(p.tests) > 0 {
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(p.tests)) {
			parts = append(parts, strings.TrimSpace(name+" "+p.tests[name]))
		}
		doing = strings.Join(parts, ", ")
	}
	frames := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
	frame := frames[int(time.Since(p.start)/tick)%len(frames)]
	line := []rune(printable(fmt.Sprintf("%c %-10s %6s  %s", frame, p.stage, elapsed(time.Since(p.since)), doing)))
	if width := p.width(); len(line) >= width {
		line = line[:width-1]
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s", string(line))
}

// say prints a line that stays. Much of what comes here is the guest's own words.
func (p *progress) say(format string, args ...any) {
	p.erase()
	fmt.Fprintln(p.w, printable(fmt.Sprintf(format, args...)))
	p.draw()
}

// plain prints a line only where there is no live one, and not the same line twice.
func (p *progress) plain(format string, args ...any) { p.plainOf("", format, args...) }

// plainOf is plain for one of several things that go on at once.
func (p *progress) plainOf(what, format string, args ...any) {
	line := printable(fmt.Sprintf(format, args...))
	if p.terminal || line == p.said[what] {
		return
	}
	p.said[what] = line
	fmt.Fprintf(p.w, "%7s  %s\n", elapsed(time.Since(p.start)), line)
}

// event takes one event of the build.
func (p *progress) event(e builder.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e.Type {
	case builder.BuildStarted:
		p.say("casting %s with %s", e.Image, e.Detail)
		p.output = e.Folder
	case builder.ImageReused:
		p.say("nothing has changed since %s was built", e.Image)
		p.output = e.Folder
	case builder.LayerUsed:
		p.plain("%s: going on from %s", e.Stage, layerName(e.Layer))
	case builder.LayerSaved:
		p.plain("%s: saved a layer of %s (%s)", e.Stage, layerName(e.Layer), elapsed(ms(e.DurationMS)))
	case builder.StageStarted:
		p.stage, p.since, p.doing, p.tests = e.Stage, time.Now(), "", map[string]string{}
		p.plain("%s", e.Stage)
	case builder.StageEnded:
		p.stageEnded(e)
	case builder.Progress:
		p.progressed(e)
	case builder.TestStarted:
		p.tests[e.Test] = ""
		p.plain("%s: %s %s", e.Stage, e.Test, e.Detail)
	case builder.TestEnded:
		delete(p.tests, e.Test)
		p.say("  %s %-16s %6s", mark(e.Status == builder.TestPassed), e.Test, elapsed(ms(e.DurationMS)))
	case builder.Warning:
		p.say("  ! %s", strings.TrimSpace(e.Test+" "+e.Detail))
	case builder.ComponentEvent:
		p.component(e)
	}
}

// layerName says what a layer ends with.
func layerName(l *builder.LayerEvent) string {
	switch {
	case l.Component == "":
		return "the booted base"
	case l.Step != "":
		return l.Component + " › " + l.Step
	}
	return l.Component
}

func mark(good bool) string {
	if good {
		return "✓"
	}
	return "✗"
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

func (p *progress) stageEnded(e builder.Event) {
	p.stage = ""
	if e.Failure != nil {
		p.say("✗ %-10s %6s", e.Stage, elapsed(ms(e.DurationMS)))
		return
	}
	note := ""
	if e.Cached {
		note = "  cached"
	}
	p.say("✓ %-10s %6s%s", e.Stage, elapsed(ms(e.DurationMS)), note)
}

func (p *progress) progressed(e builder.Event) {
	if e.Place != "" {
		p.progressedAt(e)
		return
	}
	p.doing = e.Detail
	if e.Total > 0 {
		percent := e.Done * 100 / e.Total
		p.doing = fmt.Sprintf("%s %d%%", e.Detail, percent)
		// Without a terminal the quarters are enough.
		p.plain("%s: %s %d%%", e.Stage, e.Detail, percent/25*25)
		return
	}
	p.plain("%s: %s", e.Stage, e.Detail)
}

// progressedAt is progress at one of the places of a distribution.
func (p *progress) progressedAt(e builder.Event) {
	doing, quarters := e.Detail, e.Detail
	if e.Total > 0 {
		percent := e.Done * 100 / e.Total
		doing, quarters = fmt.Sprintf("%s %d%%", e.Detail, percent), fmt.Sprintf("%s %d%%", e.Detail, percent/25*25)
		if e.Unit == builder.UnitBytes {
			doing += fmt.Sprintf(" (%s of %s)", size(e.Done), size(e.Total))
			quarters += " of " + size(e.Total)
		}
	}
	p.tests[e.Place] = doing
	if p.stage == "" {
		p.stage, p.since = e.Stage, time.Now()
	}
	p.plainOf(e.Place, "%s: %s: %s", e.Stage, e.Place, quarters)
}

// component shows what the component engine does in the guest.
func (p *progress) component(e builder.Event) {
	c := e.Component
	where := strings.Join(nonEmpty(c.Component, c.Phase, c.Step), " › ")
	switch c.Type {
	case component.StepStarted:
		if e.Test != "" {
			p.tests[e.Test] = where
		} else {
			p.doing = where
		}
		if c.Attempt > 1 {
			where += fmt.Sprintf(" (attempt %d)", c.Attempt)
		}
		p.plain("%s: %s", strings.Join(nonEmpty(e.Stage, e.Test), " "), where)
	case component.Output:
		if p.verbose {
			for line := range strings.Lines(c.Text) {
				p.say("  │ %s", strings.TrimRight(line, "\r\n"))
			}
		}
	case component.Reboot:
		p.doing = "rebooting"
		p.plain("%s: rebooting", strings.Join(nonEmpty(e.Stage, e.Test), " "))
	case component.StepEnded:
		if c.Failure != nil {
			p.say("  ! %s: %s", where, c.Failure.Message)
		}
	}
}

// printable takes from a guest's text what could steer the terminal: control characters, and those that turn the direction
// of writing (Unicode's Bidi_Control). A line end becomes a space.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return ' '
		case r != '\t' && unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, text)
}

func nonEmpty(parts ...string) []string {
	var kept []string
	for _, part := range parts {
		if part != "" {
			kept = append(kept, part)
		}
	}
	return kept
}

// bytes shows how far work on bytes has come; total is 0 where it is not known.
func (p *progress) bytes(doing string, done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stage != doing {
		p.stage, p.since = doing, time.Now()
		p.plain("%s", doing)
	}
	p.doing = size(done)
	if total <= 0 {
		return
	}
	percent := done * 100 / total
	p.doing = fmt.Sprintf("%d%%  %s of %s", percent, size(done), size(total))
	if took := time.Since(p.since); took > time.Second && done > 0 {
		p.doing += "  " + elapsed(time.Duration(float64(took)*float64(total-done)/float64(done))) + " left"
		p.plain("%s %d%%", doing, percent/25*25)
	}
}

// note says something that people should know.
func (p *progress) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.say("! "+format, args...)
}
