package component

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// step runs the current step with all its attempts, and moves the state on to the next one. The error is nil, errAborted, a
// *rebootError, or the cause of ctx.
func (x *run) step(ctx context.Context, p Phase, step Step) error {
	s, start := x.state, time.Now()
	event := Event{Phase: p.Name, Step: step.Name, Action: step.Action}
	var failure *Failure
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		event.Attempt = s.FailedAttempts + 1
		x.emit(started(event))
		a := x.attempt(ctx, p, step, event)
		if ctx.Err() != nil && a.err != nil {
			return context.Cause(ctx)
		}
		if a.err == nil && a.reboot != nil && a.reboot.Rerun {
			if s.Reboots++; s.Reboots <= MaxReboots {
				return x.reboot(event, a.reboot)
			}
			a.err = fmt.Errorf("the step has asked for a reboot %d times", s.Reboots)
			a.final = true
		}
		if a.err == nil {
			return x.succeed(event, start, a.reboot)
		}
		failure = a.failure(x.component(), p, step)
		s.FailedAttempts++
		if a.final || s.FailedAttempts >= step.MaxAttempts {
			break
		}
		x.emit(notice(event, fmt.Sprintf("attempt %d of %d failed: %s; trying again\n", s.FailedAttempts, step.MaxAttempts, failure.Message)))
	}
	return x.fail(event, start, step, failure)
}

func started(e Event) Event {
	e.Type = StepStarted
	return e
}

func notice(e Event, text string) Event {
	e.Type, e.Stream, e.Text = Output, StreamNotice, text
	return e
}

func (x *run) reboot(e Event, request *RebootRequest) error {
	e.Type, e.Attempt = Reboot, 0
	x.emit(e)
	return &rebootError{request.DelaySeconds}
}

func (x *run) succeed(e Event, start time.Time, request *RebootRequest) error {
	x.ended(e, start, StatusSuccess, nil)
	if request != nil {
		return x.reboot(e, request)
	}
	return nil
}

func (x *run) fail(e Event, start time.Time, step Step, failure *Failure) error {
	if step.OnFailure == Ignore {
		x.state.IgnoredFailedSteps++
		x.ended(e, start, StatusIgnoredFailure, failure)
		return nil
	}
	x.state.FailedSteps++
	if x.state.Failure == nil {
		x.state.Failure = failure
	}
	x.ended(e, start, StatusFailed, failure)
	if step.OnFailure == Abort {
		return errAborted
	}
	return nil
}

// ended closes the books of the current step.
func (x *run) ended(e Event, start time.Time, status Status, failure *Failure) {
	s := x.state
	s.ExecutedSteps++
	s.Step++
	s.FailedAttempts, s.Reboots = 0, 0
	s.PhaseStatus = worse(s.PhaseStatus, status)
	e.Type, e.Status, e.Failure, e.DurationMS = StepEnded, status, failure, since(start)
	x.emit(e)
}

// attempted is how an attempt ended.
type attempted struct {
	reboot *RebootRequest
	err    error
	final  bool // another attempt would end the same way
	output *output
}

// attempt runs a step once.
func (x *run) attempt(ctx context.Context, p Phase, step Step, e Event) attempted {
	e.Type = Output
	out := newOutput(x.outputLimit(), func(stream, text string) {
		e.Stream, e.Text = stream, text
		x.emit(e)
	})
	defer out.close()
	scope := x.scopes[x.state.Document]
	inputs, err := scope.resolve(step.Inputs)
	if err != nil {
		return attempted{err: err, final: true, output: out}
	}
	if step.Timeout > 0 {
		var cancel context.CancelFunc
		cause := fmt.Errorf("timed out after %s", step.Timeout)
		ctx, cancel = context.WithTimeoutCause(ctx, step.Timeout, cause)
		defer cancel()
	}
	execution := &Execution{
		System: x.system, WorkingDirectory: x.workingDirectory,
		Stdout: out.stdout, Stderr: out.stderr, captured: out.text, notice: out.notice,
	}
	outcomes, err := x.Modules[step.Action].run(ctx, execution, inputs)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx) // whatever the action says, this is why
	}
	_, wrong := errors.AsType[*inputsError](err)
	a := attempted{reboot: outcomes.reboot, err: err, final: wrong, output: out}
	if kept := x.keep(stepKey{p.Name, step.Name}, inputs, outcomes.outputs); kept != nil && a.err == nil {
		a.err, a.final = kept, true
	}
	return a
}

func (x *run) outputLimit() int64 {
	if x.OutputLimit == 0 {
		return DefaultOutputLimit
	}
	return x.OutputLimit
}

func (a attempted) failure(component string, p Phase, step Step) *Failure {
	f := &Failure{
		Component: component, Phase: p.Name, Step: step.Name, Action: step.Action, Line: step.Line,
		Message: a.err.Error(), Stderr: a.output.stderr.lastLines(),
	}
	if exit, ok := errors.AsType[*ExitError](a.err); ok {
		f.ExitCode = &exit.Code
	}
	if f.Stderr == "" {
		f.Stdout = a.output.stdout.lastLines()
	}
	return f
}

// keep remembers the inputs and outputs of a step if later steps refer to them.
func (x *run) keep(key stepKey, inputs *Node, outputs []map[string]string) error {
	s := x.state
	if !x.parsed[s.Document].chains[key] {
		return nil
	}
	steps := x.scopes[s.Document].steps
	if before := steps[key]; before != nil {
		x.forget(before)
	}
	c := &ChainedStep{Document: s.Document, Phase: key.phase, Step: key.step, Inputs: inputs, Outputs: outputs}
	if x.chained+c.size() > maxChained {
		return fmt.Errorf("the inputs and outputs that later steps refer to are larger than %s", size(maxChained))
	}
	x.chained += c.size()
	steps[key] = c
	s.Chained = append(s.Chained, *c)
	return nil
}

// forget removes what an earlier attempt left.
func (x *run) forget(c *ChainedStep) {
	x.chained -= c.size()
	delete(x.scopes[c.Document].steps, stepKey{c.Phase, c.Step})
	for i, kept := range x.state.Chained {
		if kept.Document == c.Document && kept.Phase == c.Phase && kept.Step == c.Step {
			x.state.Chained = append(x.state.Chained[:i], x.state.Chained[i+1:]...)
			return
		}
	}
}

// size is about the memory of the step's values, in bytes.
func (c *ChainedStep) size() int {
	total := nodeSize(c.Inputs)
	for _, item := range c.Outputs {
		for _, value := range item {
			total += len(value)
		}
	}
	return total
}

func nodeSize(n *Node) int {
	if n == nil {
		return 0
	}
	total := len(n.Text) + 64
	for _, item := range n.Items {
		total += nodeSize(item)
	}
	for _, e := range n.Entries {
		total += len(e.Key) + nodeSize(e.Value)
	}
	return total
}
