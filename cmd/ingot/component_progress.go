package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/ingot-image/ingot/builder/component"
)

// runProgress shows a run of component documents while it goes on: an indented outline with what the steps print, and on a terminal a line
// below it that follows the running step.
type runProgress struct {
	*progress
	document string // the path of the running one
	failed   string // that of the first with a failed step
}

func newRunProgress(w *os.File) *runProgress {
	return &runProgress{progress: newProgress(w, true)}
}

// enter shows the document that a run goes on in after a reboot, of which the engine sends no event again.
func (p *runProgress) enter(document string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.document = document
	p.say("%s", document)
}

// event takes one event of the run.
func (p *runProgress) event(e component.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	indent := strings.Repeat("    ", e.Depth)
	switch e.Type {
	case component.DocumentStarted:
		name := e.Path
		if name == "" {
			name = e.Component
		}
		if e.Depth == 0 {
			p.document = name
		}
		p.say("%s%s", indent, name)
	case component.PhaseStarted:
		p.say("%s  %s", indent, e.Phase)
	case component.StepStarted:
		p.stage, p.since, p.doing = e.Phase, time.Now(), e.Step
		p.say("%s    %s (%s)", indent, e.Step, e.Action)
	case component.Output:
		p.printed(indent, e)
	case component.Reboot:
		p.say("%s    a reboot is wanted", indent)
	case component.StepEnded:
		p.stage = ""
		if e.Status == component.StatusFailed && e.Depth == 0 && p.failed == "" {
			p.failed = p.document
		}
		p.ended(indent, e)
	}
}

func (p *runProgress) ended(indent string, e component.Event) {
	took := elapsed(ms(e.DurationMS))
	switch {
	case e.Detail != nil && e.Detail.Status == component.StatusSkipped:
		p.say("%s    - %s skipped", indent, e.Step)
	case e.Status == component.StatusIgnoredFailure && e.Failure != nil:
		p.say("%s    ! %s %s: %s (ignored)", indent, e.Step, took, e.Failure.Message)
	case e.Failure != nil:
		p.say("%s    ✗ %s %s: %s", indent, e.Step, took, e.Failure.Message)
	default:
		p.say("%s    ✓ %s %s", indent, e.Step, took)
	}
}

// printed shows output with one write, for there may be much of it.
func (p *runProgress) printed(indent string, e component.Event) {
	sign := map[string]string{component.StreamStdout: "│", component.StreamStderr: "┊", component.StreamNotice: "!"}[e.Stream]
	var lines bytes.Buffer
	for line := range strings.Lines(e.Text) {
		fmt.Fprintf(&lines, "%s      %s %s\n", indent, sign, printable(strings.TrimRight(line, "\r\n")))
	}
	p.erase()
	p.w.Write(lines.Bytes())
	p.draw()
}

// tellFailure prints where the first failed step is. What it printed stands above.
func (p *runProgress) tellFailure(f *component.Failure) {
	if f == nil {
		return
	}
	place := component.Problem{File: p.failed, Line: f.Line, Message: fmt.Sprintf("%s › %s (%s): %s", f.Phase, f.Step, f.Action, f.Message)}
	fmt.Fprintf(p.w, "ingot: %s\n", printable(place.String()))
}
