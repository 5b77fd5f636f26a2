package component

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"
)

// stuck is an action that does not care for its context, like a read that blocks.
type stuck struct {
	Nest bool `input:"nest"`
}

type stuckKey struct{}

func (s stuck) Run(ctx context.Context, x *Execution) (Outcome, error) {
	if s.Nest {
		inner := "schemaVersion: 1.0\nphases: [{name: build, steps: [{name: In, action: Stuck, timeoutSeconds: 1, inputs: {}}]}]\n"
		_, err := x.RunDocument(ctx, func(context.Context) (NestedDocument, error) {
			return NestedDocument{Path: "inner.yml", Content: []byte(inner)}, nil
		})
		return Outcome{}, err
	}
	<-ctx.Value(stuckKey{}).(chan struct{})
	fmt.Fprintln(x.Stdout, "too late")
	x.Notice("too late")
	return Outcome{}, nil
}

type passing struct{}

func (passing) Run(context.Context, *Execution) (Outcome, error) { return Outcome{}, nil }

func TestStuckAction(t *testing.T) {
	tests := []struct {
		name, step string
		interrupt  bool
		want       string
	}{
		{"timeout", "timeoutSeconds: 1, maxAttempts: 3, onFailure: Ignore", false, "timed out after 1s; the action has not stopped 50ms later and is given up, and the run ends"},
		{"loop", "timeoutSeconds: 1, onFailure: Continue, loop: {forEach: [a, b]}", false, "iteration 0 of the loop: timed out after 1s; the action has not stopped 50ms later"},
		{"nested", "onFailure: Continue, inputs: {nest: true}", false, "step In: timed out after 1s; the action has not stopped"},
		{"interrupt", "timeoutSeconds: -1", true, "interrupted; the action has not stopped 50ms later and is given up, and the run ends"},
	}
	modules := Modules{"Stuck": MapModule[stuck](Spec{InputsOptional: true}), "Pass": MapModule[passing](Spec{InputsOptional: true})}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			release := make(chan struct{})
			ctx, cancel := context.WithCancelCause(context.WithValue(t.Context(), stuckKey{}, release))
			defer cancel(nil)
			attempts, printed := 0, ""
			r := &Runner{Modules: maps.Clone(modules), grace: 50 * time.Millisecond, Events: func(e Event) {
				printed += e.Text
				if e.Type == StepStarted && e.Depth == 0 {
					attempts++
				}
			}}
			if test.interrupt {
				time.AfterFunc(100*time.Millisecond, func() { cancel(errors.New("interrupted")) })
			}
			document := "schemaVersion: 1.0\nphases:\n- name: build\n  steps:\n  - {name: A, action: Stuck, " + test.step + "}\n  - {name: B, action: Pass}\n- {name: test, steps: [{name: C, action: Pass}]}\n"
			result, err := r.Run(ctx, Request{Documents: []RunDocument{{Name: "d", Content: []byte(document)}}, WorkingDirectory: t.TempDir()})
			close(release)
			time.Sleep(20 * time.Millisecond) // for what comes too late
			if attempts != 1 || strings.Contains(printed, "too late") {
				t.Errorf("%d attempts, printed %q", attempts, printed)
			}
			message := fmt.Sprint(err)
			if err == nil && result.Status == StatusFailed {
				message = result.Failure.Message
			}
			if !strings.Contains(message, test.want) {
				t.Errorf("got %q, want %q", message, test.want)
			}
		})
	}
}
