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
	s := x.state
	if s.Started.IsZero() {
		s.Started = time.Now().Round(0)
	}
	a := &attempt{run: x, phase: p, step: step, event: Event{Phase: p.Name, Step: step.Name, Action: step.Action}}
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		a.event.Attempt = s.FailedAttempts + 1
		x.emit(started(a.event))
		end := a.execute(ctx)
		if ctx.Err() != nil && end.err != nil {
			return a.cause(ctx, end.err)
		}
		if end.err == nil && end.stays {
			if s.Nested != nil || !end.reboot.Rerun {
				return x.reboot(a.event, end.reboot) // counted in there, or by the loop
			}
			if s.Reboots++; s.Reboots <= MaxReboots {
				return x.reboot(a.event, end.reboot)
			}
			end.err = &finalError{fmt.Errorf("the step has asked for a reboot %d times", s.Reboots)}
		}
		if end.err == nil {
			return a.succeed(end)
		}
		failure := a.failure(end.err)
		s.FailedAttempts++
		if final(end.err) || a.stuck || s.FailedAttempts >= step.MaxAttempts {
			return a.fail(end, failure)
		}
		s.again()
		x.emit(notice(a.event, fmt.Sprintf("attempt %d of %d failed: %s; trying again\n", s.FailedAttempts, step.MaxAttempts, failure.Message)))
	}
}

// final tells whether another attempt would end the same way.
func final(err error) bool {
	_, wrong := errors.AsType[*inputsError](err)
	_, fixed := errors.AsType[*finalError](err)
	return wrong || fixed
}

func started(e Event) Event {
	e.Type = StepStarted
	return e
}

func notice(e Event, text string) Event {
	e.Type, e.Stream, e.Text = Output, StreamNotice, text
	return e
}

// reboot says that the machine must be rebooted. Of nested runs the outermost step says so.
func (x *run) reboot(e Event, request *RebootRequest) error {
	e.Type, e.Attempt = Reboot, 0
	if x.depth == 0 {
		x.emit(e)
	}
	return &rebootError{request.DelaySeconds}
}

// attempt is what the attempts of a step have in common.
type attempt struct {
	*run
	phase  Phase
	step   Step
	event  Event
	output *output    // of the current attempt
	watch  *attendant // of the action that runs
}

// ended is how an attempt, or an iteration of a loop, ended.
type ended struct {
	inputs  *Node // resolved, unless that failed
	outputs []map[string]string
	reboot  *RebootRequest
	stays   bool // the step is not done before the reboot
	skipped bool
	err     error
}

func (a *attempt) succeed(end ended) error {
	status := StatusSuccess
	if end.skipped {
		status = StatusSkipped
	}
	a.close(end, status, nil)
	if end.reboot != nil {
		return a.run.reboot(a.event, end.reboot)
	}
	return nil
}

func (a *attempt) fail(end ended, failure *Failure) error {
	s := a.state
	if a.step.OnFailure == Ignore && !a.stuck {
		s.IgnoredFailedSteps++
		a.close(end, StatusIgnoredFailure, failure)
		return nil
	}
	s.FailedSteps++
	if s.Failure == nil {
		s.Failure = failure
	}
	a.close(end, StatusFailed, failure)
	if a.step.OnFailure == Abort || a.stuck {
		return errAborted
	}
	return nil
}

// close closes the books of the step.
func (a *attempt) close(end ended, status Status, failure *Failure) {
	s, e := a.state, a.event
	now := time.Now()
	e.Type, e.Status, e.Failure, e.DurationMS = StepEnded, status, failure, now.Sub(s.Started).Milliseconds()
	if !a.silent() {
		e.Detail = a.detail(end, status, failure, now)
	}
	s.ExecutedSteps++
	s.Step++
	s.StepProgress = StepProgress{}
	s.PhaseStatus = worse(s.PhaseStatus, status)
	a.emit(e)
	if a.depth == 0 {
		a.session.nestedDetails = maxNestedDetails
	}
}

func (a *attempt) detail(end ended, status Status, failure *Failure, now time.Time) *StepDetail {
	s, step := a.state, a.step
	d := &StepDetail{
		Name: step.Name, Status: status, TimeoutSeconds: -1, OnFailure: step.OnFailure, MaxAttempts: step.MaxAttempts, Action: step.Action,
		StartTime: s.Started, EndTime: now.Round(0), Inputs: a.secrets.inputs(end.inputs), Outputs: a.secrets.outputs(end.outputs),
		DetailedOutput: s.NestedDetails,
	}
	if step.Timeout > 0 {
		d.TimeoutSeconds = int64(step.Timeout / time.Second)
	}
	if failure != nil {
		d.FailureMessage = failure.Message
	}
	if step.Loop != nil {
		d.Loop = &LoopDetail{Name: step.Loop.Name, Iterations: s.Iterations}
		if s.FailedIteration != nil {
			d.Loop.Failed = []int{*s.FailedIteration}
		}
	}
	return d
}

// timeoutError is the cause of a context whose step has run out of time.
type timeoutError struct{ limit time.Duration }

func (e *timeoutError) Error() string { return fmt.Sprintf("timed out after %s", e.limit) }

// execute runs the step once.
func (a *attempt) execute(ctx context.Context) ended {
	e := a.event
	e.Type = Output
	a.output = newOutput(a.outputLimit(), a.secrets, func(stream string, text []byte) {
		e.Stream = stream
		a.print(e, text)
	})
	defer a.output.close()
	if a.step.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, a.step.Timeout, &timeoutError{a.step.Timeout})
		defer cancel()
	}
	end, goOn := a.decided(ctx)
	switch {
	case !goOn:
	case a.step.Loop != nil:
		end = a.loop(ctx)
	default:
		end = a.once(ctx, nil)
	}
	if end.stays && end.err == nil {
		return end
	}
	kept := a.keep(stepName{a.phase.Name, a.step.Name}, ChainedStep{Inputs: end.inputs, Outputs: end.outputs, Skipped: end.skipped})
	if kept != nil && end.err == nil {
		end.err = &finalError{kept}
	}
	return end
}

// decided asks the step's if whether to go on. It is asked once a step, not again after a reboot.
func (a *attempt) decided(ctx context.Context) (end ended, goOn bool) {
	if a.step.If == nil || a.state.Decided != "" {
		return ended{}, true
	}
	branch, why, err := a.decide(ctx, a.step.If, a.execution())
	end.inputs = a.step.Inputs
	if err != nil {
		end.err = fmt.Errorf("if: %w", a.cause(ctx, err))
		return end, false
	}
	switch a.state.Decided = branch; branch {
	case Skip:
		a.output.notice("skipped: " + why)
		end.skipped = true
	case AbortStep:
		end.err = &finalError{errors.New("the if of the step says Abort: " + why)}
	default:
		return end, true
	}
	return end, false
}

func (a *attempt) execution() *Execution {
	out := a.output
	return &Execution{
		System: a.system, WorkingDirectory: a.workingDirectory,
		Stdout: out.stdout, Stderr: out.stderr, captured: out.text, notice: out.notice, nested: a.nested,
	}
}

// once runs the action with its inputs once: for an attempt, or an iteration of its loop.
func (a *attempt) once(ctx context.Context, i *iteration) ended {
	inputs, err := a.resolver(ctx, i).node(a.step.Inputs)
	if err != nil {
		return ended{inputs: a.step.Inputs, err: a.cause(ctx, err)}
	}
	a.watch = a.attendant()
	module, execution := a.modules[a.step.Action], a.execution()
	outcomes, err := attend(ctx, a.watch, func() (itemOutcomes, error) { return module.run(ctx, execution, inputs) })
	err = a.cause(ctx, err)
	reboot := outcomes.reboot
	return ended{inputs: inputs, outputs: outcomes.outputs, reboot: reboot, stays: reboot != nil && reboot.Rerun, err: err}
}

func (x *run) outputLimit() int64 {
	if x.OutputLimit == 0 {
		return DefaultOutputLimit
	}
	return x.OutputLimit
}

func (a *attempt) failure(err error) *Failure {
	f := &Failure{
		Component: a.component(), Phase: a.phase.Name, Step: a.step.Name, Action: a.step.Action, Line: a.step.Line,
		Message: a.secrets.clean(err.Error()), Stderr: a.output.stderr.lastLines(),
	}
	if nested, ok := errors.AsType[*NestedError](err); ok && nested.Failure != nil {
		f.ExitCode, f.Stderr, f.Stdout = nested.Failure.ExitCode, nested.Failure.Stderr, nested.Failure.Stdout
		return f
	}
	if exit, ok := errors.AsType[*ExitError](err); ok {
		f.ExitCode = &exit.Code
	}
	if f.Stderr == "" {
		f.Stdout = a.output.stdout.lastLines()
	}
	return f
}
