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
	started map[int]time.Time // when the running step of a depth began
}

func newRunProgress(w *os.File) *runProgress {
	return &runProgress{progress: newProgress(w, true), started: map[int]time.Time{}}
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
		p.say("%s%s", indent, name)
	case component.PhaseStarted:
		p.say("%s  %s", indent, e.Phase)
	case component.StepStarted:
		p.stage, p.since, p.doing = e.Phase, time.Now(), e.Step
		if e.Attempt <= 1 {
			p.started[e.Depth] = p.since
		}
		p.say("%s    %s (%s)", indent, e.Step, e.Action)
	case component.Output:
		p.printed(indent, e)
	case component.Reboot:
		p.say("%s    a reboot is wanted", indent)
	case component.StepEnded:
		p.stage = ""
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
