package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder"
	"github.com/ingot-image/ingot/builder/component"
)

// TestProgressIsPlain has a guest that says things to steer the terminal with, in every place where its words come out.
func TestProgressIsPlain(t *testing.T) {
	const evil = "a\x1b]0;title\x07\x1b[2J\u009b1m\u202eb\nc"
	var out bytes.Buffer
	p := &progress{said: map[string]string{}, w: &out, tests: map[string]string{}, verbose: true}
	p.event(builder.Event{Type: builder.Progress, Stage: "boot", Detail: evil})
	p.event(builder.Event{Type: builder.Warning, Detail: evil})
	c := component.Event{Component: evil, Phase: evil, Step: evil, Text: evil, Failure: &component.Failure{Message: evil}}
	for _, c.Type = range []component.EventType{component.StepStarted, component.Output, component.StepEnded, component.Reboot} {
		p.event(builder.Event{Type: builder.ComponentEvent, Component: &c})
	}
	if got := out.String(); strings.ContainsAny(got, "\x1b\x07\u009b\u202e") || !strings.Contains(got, "a]0;title[2J1mb c") {
		t.Errorf("printed %q", got)
	}
}
