package qemu

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Wait names something that is waited for.
type Wait struct {
	// Name is what is waited for, so that "waiting for NAME" reads well: "the agent to answer".
	Name string
	// Limit is how long it may take under KVM; Accelerator.Limit scales it. 0 is no limit.
	Limit time.Duration
	// Hint is the advice given when the limit passes.
	Hint string
	// NoReset makes a restart of the guest a failure.
	NoReset bool
}

// WaitReason is why a wait failed.
type WaitReason string

// The reasons.
const (
	WaitExited   WaitReason = "exited"   // QEMU ended without being asked
	WaitClosed   WaitReason = "closed"   // Close was called, or Start's context ended
	WaitShutdown WaitReason = "shutdown" // the guest powered itself off, or Quit was called
	WaitReset    WaitReason = "reset"    // the guest restarted, and that was not allowed
	WaitFatal    WaitReason = "fatal"    // the console (or the panic device) showed that the guest cannot go on
	WaitLimit    WaitReason = "limit"    // the time was up
)

// WaitError is a wait that ended early or took too long, with the cause.
type WaitError struct {
	Name    string        // of the Wait
	After   time.Duration // since the wait began
	Reason  WaitReason
	Cause   string   // one clause: "the guest's kernel panicked: VFS: Unable to mount root fs …"
	Hint    string   // what to do about it; may be empty
	Console []string // the last lines of the guest's console
	Err     error    // what is behind it: *ExitError, ErrClosed, context.DeadlineExceeded; may be nil
}

func (e *WaitError) Error() string {
	s := fmt.Sprintf("waiting for %s: %s (after %v)", e.Name, e.Cause, e.After.Round(100*time.Millisecond))
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

func (e *WaitError) Unwrap() error { return e.Err }

const (
	consoleTail = 40              // lines in a WaitError
	abandon     = 5 * time.Second // how long a cancelled function has to return
	afterlife   = time.Second     // how long a failure may take to show that the VM's end is behind it
)

// Await runs f and returns its result, unless the VM fails first: when QEMU ends, the guest powers itself off, the
// console shows that the guest cannot go on (see Patterns), or the limit passes. Then f's context is cancelled and
// the error is a *WaitError with the cause. When ctx ends the error wraps ctx's. An error of f's own is returned
// with the wait's name, or as a *WaitError if the VM ended within a second of it, for then that is its cause.
//
// f must return soon after its context has ended; Await does not wait for it for more than 5 seconds.
func (vm *VM) Await(ctx context.Context, w Wait, f func(context.Context) error) error {
	return vm.await(ctx, w, vm.done, f)
}

// await is Await with a choice of what end of the VM is a failure: ended may be nil.
func (vm *VM) await(ctx context.Context, w Wait, ended <-chan struct{}, f func(context.Context) error) error {
	began := time.Now()
	limit := vm.config.Accelerator.Limit(w.Limit)
	var up <-chan time.Time
	if limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		up = timer.C
	}
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- f(inner) }()

	var reason WaitReason
	var own error
	returned := false
	reset := vm.nextReset(inner, w.NoReset)
	select {
	case own = <-result:
		returned = true
	case <-ended:
	case <-vm.console.failed:
		reason = WaitFatal
	case <-reset:
		reason = WaitReset
	case <-up:
		reason = WaitLimit
	case <-ctx.Done():
	}
	if !returned && reason != WaitLimit {
		select { // both at once: f's success counts
		case own = <-result:
			returned = true
		default:
		}
	}
	if returned && own == nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		cancel()
		vm.abandon(result, returned)
		return fmt.Errorf("waiting for %s: %w", w.Name, context.Cause(ctx))
	}
	if returned {
		select { // the connection to a dying VM fails a little before the VM is dead
		case <-vm.done:
		case <-vm.console.failed:
		case <-ctx.Done():
		case <-time.After(afterlife):
			return fmt.Errorf("waiting for %s: %w", w.Name, own)
		}
	}
	cancel()
	e := vm.explain(ctx, w, reason, limit)
	e.After = time.Since(began)
	if returned && e.Err == nil {
		e.Err = own
	}
	vm.abandon(result, returned)
	return e
}

// abandon waits for a cancelled function for a while.
func (vm *VM) abandon(result <-chan error, returned bool) {
	if returned {
		return
	}
	select {
	case <-result:
	case <-time.After(abandon):
	}
}

// explain finds the cause. What the console shows says more than that QEMU ended, and that more than what reason
// says.
func (vm *VM) explain(ctx context.Context, w Wait, reason WaitReason, limit time.Duration) *WaitError {
	e := &WaitError{Name: w.Name, Reason: reason}
	ended := false
	select {
	case <-vm.done:
		ended = true
	default:
	}
	finding := vm.console.Finding()
	if finding != nil && !ended {
		vm.console.settle(ctx, 300*time.Millisecond, 3*time.Second)
	}
	switch {
	case finding != nil:
		e.Reason, e.Cause, e.Hint = WaitFatal, finding.Cause, finding.Hint
		if ended {
			e.Err = vm.Err()
		}
	case ended:
		vm.explainEnd(e)
	case reason == WaitReset:
		e.Cause = "the guest restarted"
	default:
		e.Reason, e.Hint = WaitLimit, w.Hint
		e.Err = context.DeadlineExceeded
		e.Cause = fmt.Sprintf("it did not happen within %v", limit)
		if n := vm.Resets(); n > 1 {
			e.Cause += fmt.Sprintf("; the guest has restarted %d times", n)
		}
	}
	var details []string
	for _, note := range vm.console.Notes() {
		details = append(details, note.Cause)
		if note.Hint != "" {
			e.Hint = note.Hint
		}
	}
	if n := len(details); n > 2 {
		details = []string{details[0], details[n-1]}
	}
	if len(details) > 0 {
		e.Cause += " (" + strings.Join(details, "; ") + ")"
	}
	e.Console = vm.console.Tail(consoleTail)
	return e
}

// explainEnd says how the VM ended.
func (vm *VM) explainEnd(e *WaitError) {
	ending := vm.ending()
	e.Err = vm.Err()
	switch {
	case e.Err != nil && (errors.Is(e.Err, ErrClosed) || vm.wasKilled()):
		e.Reason, e.Cause = WaitClosed, "the VM was ended: "+e.Err.Error()
		if errors.Is(e.Err, ErrClosed) {
			e.Cause = e.Err.Error()
		}
	case e.Err != nil:
		e.Reason, e.Cause = WaitExited, e.Err.Error()
		e.Hint = "QEMU's own message says why; a kill by signal 9 usually comes from the host running out of memory"
	case ending.Reason == GuestShutdown:
		e.Reason, e.Cause = WaitShutdown, "the guest powered itself off"
	case ending.Reason == GuestReset:
		e.Reason, e.Cause = WaitReset, "the guest restarted"
	case ending.Reason == HostSignal:
		e.Reason, e.Cause = WaitExited, "QEMU was ended by a signal"
	default:
		e.Reason, e.Cause = WaitShutdown, fmt.Sprintf("the machine was switched off (%s)", ending.Reason)
	}
}

func (vm *VM) wasKilled() bool {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	return vm.killed != nil
}
