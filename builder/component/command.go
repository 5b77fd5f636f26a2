package component

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"
)

// ProcessGroup runs commands in a process group of their own, on Windows in a job object, which is ended as a whole when the context ends:
// first politely, after Grace by force; on Windows by force. Children that left the group (setsid, CREATE_BREAKAWAY_FROM_JOB) live on.
//
// A command that has ended while a child in the background still holds its output counts as ended Grace later; the child goes on, its
// output is no longer read.
type ProcessGroup struct {
	// Grace is how long a group may take to end, and a background child may hold the output. Default: 5 seconds.
	Grace time.Duration
}

// Run implements [CommandRunner]. When the context has ended, the error is its cause.
func (p ProcessGroup) Run(ctx context.Context, c Command) error {
	cmd := exec.CommandContext(ctx, c.Path, c.Args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = c.Dir, c.Env, inPieces(c.Stdout), inPieces(c.Stderr)
	cmd.WaitDelay = p.Grace
	if cmd.WaitDelay == 0 {
		cmd.WaitDelay = 5 * time.Second
	}
	group, err := newGroup(cmd, c)
	if err != nil {
		return fmt.Errorf("start %s: %w", c.Path, err)
	}
	defer group.close()
	cmd.Cancel = group.terminate
	if err := cmd.Start(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("start %s: %w", c.Path, err)
	}
	joined := group.join()
	err = cmd.Wait()
	if ctx.Err() != nil && err != nil {
		group.kill()
		return context.Cause(ctx)
	}
	if joined != nil {
		return fmt.Errorf("start %s: %w", c.Path, joined)
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		if c.Notice != nil {
			c.Notice("a process left in the background still holds the output; what it prints from now on is lost")
		}
		err = nil
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exitError(exit)
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", c.Path, err)
	}
	return nil
}
