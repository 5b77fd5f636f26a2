package builder

import "context"

// task is work that goes on beside a build's stages, on a CPU that they leave idle. Whoever needs its result waits for it, and it never
// outlives the build: see job.end.
type task[T any] struct {
	done   chan struct{}
	result T
	err    error
}

// beside starts a task.
func beside[T any](ctx context.Context, j *job, f func(context.Context) (T, error)) *task[T] {
	ctx, cancel := context.WithCancel(ctx)
	t := &task[T]{done: make(chan struct{})}
	j.mu.Lock()
	j.tasks = append(j.tasks, func() {
		cancel()
		<-t.done
	})
	j.mu.Unlock()
	go func() {
		defer cancel()
		defer close(t.done)
		t.result, t.err = f(ctx)
	}()
	return t
}

// wait waits for the result.
func (t *task[T]) wait(ctx context.Context) (T, error) {
	select {
	case <-t.done:
		return t.result, t.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// stopTasks ends what still goes on beside the build.
func (j *job) stopTasks() {
	j.mu.Lock()
	tasks := j.tasks
	j.tasks = nil
	j.mu.Unlock()
	for _, stop := range tasks {
		stop()
	}
}
