package builder

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/export/ami"
	"github.com/ingot-image/ingot/qemu"
)

// Failure says why a build failed: the same shape is printed, stored in the catalog and written to the event log. It
// follows the service's failureContext.
type Failure struct {
	Stage string `json:"stage"`
	// Test names the test VM it failed in.
	Test string `json:"test,omitempty"`
	// ComponentFailure is set when a step of a component failed.
	ComponentFailure *component.Failure `json:"componentFailure,omitempty"`
	// DistributionFailure is set when a distribution failed in regions.
	DistributionFailure *ami.DistributionError `json:"distributionFailure,omitempty"`
	ErrorMessage        string                 `json:"errorMessage"`
	Hint                string                 `json:"hint,omitempty"`
	// Console has the guest's last console lines if the guest itself was the cause.
	Console []string `json:"console,omitempty"`
	// Log is the folder of the build's logs.
	Log string `json:"log,omitempty"`

	err error
}

// Reason is the failure in one line.
func (f *Failure) Reason() string { return strings.Join(splitLines(f.Error()), "; ") }

// Error is where the build failed and why, in one line or a few.
func (f *Failure) Error() string {
	where := f.Stage
	if f.Test != "" {
		where += " (" + f.Test + ")"
	}
	return where + ": " + f.ErrorMessage
}

// Unwrap gives the error the failure was made from.
func (f *Failure) Unwrap() error { return f.err }

// Cancelled tells whether the build did not fail by itself but was interrupted.
func (f *Failure) Cancelled() bool { return errors.Is(f.err, context.Canceled) }

// Lines is the failure in full, for people: what failed where, its last output, the console, the hint.
func (f *Failure) Lines() []string {
	lines := splitLines(f.Error())
	field := func(name, value string) {
		if value != "" {
			lines = append(lines, fmt.Sprintf("  %-10s %s", name+":", value))
		}
	}
	block := func(name string, text []string) {
		if len(text) == 0 {
			return
		}
		lines = append(lines, "  "+name+":")
		for _, l := range text {
			lines = append(lines, "    | "+l)
		}
	}
	if c := f.ComponentFailure; c != nil {
		field("component", c.Component)
		field("phase", c.Phase)
		field("step", c.Step)
		field("action", c.Action)
		if c.ExitCode != nil {
			field("exit", fmt.Sprint(*c.ExitCode))
		}
		block("stderr", splitLines(c.Stderr))
		block("stdout", splitLines(c.Stdout))
	}
	block("console", f.Console)
	field("hint", f.Hint)
	field("logs", f.Log)
	return lines
}

func splitLines(text string) []string {
	if text = strings.TrimRight(text, "\n"); text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// advise adds to the hint.
func (f *Failure) advise(hint string) {
	if f.Hint != "" {
		hint = f.Hint + "; " + hint
	}
	f.Hint = hint
}

// asFailure makes the failure of a stage from its error.
func asFailure(stage string, err error) *Failure {
	var failure *Failure
	if errors.As(err, &failure) {
		return failure
	}
	failure = &Failure{Stage: stage, ErrorMessage: err.Error(), err: err}
	var wait *qemu.WaitError
	if errors.As(err, &wait) {
		failure.Hint, failure.Console = wait.Hint, wait.Console
	}
	if errors.Is(err, context.Canceled) {
		failure.ErrorMessage = "interrupted"
	}
	return failure
}

// stepFailed makes a failure from the component engine's.
func stepFailed(stage string, f *component.Failure) *Failure {
	message := fmt.Sprintf("step %q of %s failed in phase %s: %s", f.Step, f.Component, f.Phase, f.Message)
	return &Failure{Stage: stage, ComponentFailure: f, ErrorMessage: message, err: errors.New(message)}
}
