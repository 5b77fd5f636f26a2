package component

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// stopGrace is how long an action may take to return when its context has ended: longer than [ProcessGroup] needs to end commands.
const stopGrace = 10 * time.Second

// stuckError says that an action did not return when its context had ended, as one that blocks in a read. It may go on at any time, so
// that nothing else must run.
type stuckError struct {
	cause error
	grace time.Duration
}

func (e *stuckError) Error() string {
	return fmt.Sprintf("%s; the action has not stopped %s later and is given up, and the run ends", e.cause, e.grace)
}

func (e *stuckError) Unwrap() error { return e.cause }

// attendant waits for what an action does, but not for ever.
type attendant struct {
	grace time.Duration

	mu      sync.Mutex
	nesting bool // a document runs inside of the action, and has an attendant of its own
	gone    bool
}

// enter is called when a document begins to run inside of the action, leave when it has ended. When enter returns false, nobody waits.
func (a *attendant) enter() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.nesting = !a.gone
	return a.nesting
}

func (a *attendant) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.nesting = false
}

// leaveBehind tells whether the action is alone in what it does, and then lets no document begin in it.
func (a *attendant) leaveBehind() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gone = !a.nesting
	return a.gone
}

// attend does the work. When it has not returned the grace after ctx has ended, the work is left behind and the error is a *stuckError.
func attend[T any](ctx context.Context, a *attendant, work func() (T, error)) (T, error) {
	if ctx.Done() == nil {
		return work()
	}
	type returned struct {
		value T
		err   error
	}
	done := make(chan returned, 1)
	go func() {
		value, err := work()
		done <- returned{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
	}
	timer := time.NewTimer(a.grace)
	defer timer.Stop()
	for {
		select {
		case r := <-done:
			return r.value, r.err
		case <-timer.C:
		}
		if a.leaveBehind() {
			var none T
			return none, &stuckError{context.Cause(ctx), a.grace}
		}
		timer.Reset(a.grace)
	}
}

func (x *run) attendant() *attendant {
	if x.grace > 0 {
		return &attendant{grace: x.grace}
	}
	return &attendant{grace: stopGrace}
}

// cause is why something failed: whatever it says itself, when ctx has ended, that is why.
func (x *run) cause(ctx context.Context, err error) error {
	if _, stuck := errors.AsType[*stuckError](err); stuck {
		x.session.stuck = true
		return err
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
