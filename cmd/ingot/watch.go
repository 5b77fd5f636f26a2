package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/ingot-image/ingot/builder"
	"github.com/ingot-image/ingot/builder/component"
)

// How often the inputs are looked at, and how long they must have rested before the next build begins: an editor writes a file in
// several steps, and a change of branch writes many files.
const (
	watchInterval = 250 * time.Millisecond
	watchSettle   = 250 * time.Millisecond
	watchRestless = 5 * time.Second // and then it begins anyway
)

// errInputsChanged is the cause why a build was cancelled.
var errInputsChanged = errors.New("an input has changed")

// watch builds again and again: whenever an input has changed, at once if a build is under way. Neither a failed build nor a mistake in
// an input ends it.
type watch struct {
	inputs *inputs
	w      io.Writer

	mu       sync.Mutex // guards what follows; the build's uploads come from other goroutines
	baseline map[string]identity
	writing  map[string]int // files that the build itself writes now
}

// run builds and watches until ctx ends, whose error it returns.
func (w *watch) run(ctx context.Context, build func(context.Context) error) error {
	for {
		w.rest(ctx)
		buildCtx, cancel := context.WithCancelCause(ctx)
		done := make(chan error, 1)
		go func() { done <- build(buildCtx) }()
		changed, running := w.await(ctx, done)
		cancel(errInputsChanged)
		if running {
			// Its live line is gone after that.
			if err := <-done; ctx.Err() != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		w.tell(changed, running)
	}
}

// await waits for a change or the end of ctx, and tells of the build's end meanwhile.
func (w *watch) await(ctx context.Context, done <-chan error) (changed []string, running bool) {
	running = true
	wait := watchInterval
	for {
		select {
		case <-ctx.Done():
			return nil, running
		case err := <-done:
			if ctx.Err() != nil {
				return nil, false
			}
			if err != nil {
				report(err)
			}
			running, done = false, nil
			fmt.Fprintf(w.w, "watching %s; Ctrl-C ends\n", counted(w.watched(), "input"))
		case <-time.After(wait):
			start := time.Now()
			if changed = w.changes(); len(changed) > 0 {
				return changed, running
			}
			// Looking at very many files must not keep a CPU busy.
			wait = max(watchInterval, 10*time.Since(start))
		}
	}
}

// rest waits until the inputs have not changed for a while, and takes them for those of the next build.
func (w *watch) rest(ctx context.Context) {
	start := time.Now()
	first := w.baseline == nil
	w.take()
	for !first && time.Since(start) < watchRestless {
		select {
		case <-ctx.Done():
			return
		case <-time.After(watchSettle):
		}
		if len(w.changes()) == 0 {
			return
		}
		w.take()
	}
}

func (w *watch) take() {
	now := w.inputs.scan()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.baseline = now
}

func (w *watch) watched() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.baseline)
}

// changes lists the inputs that are not what they were when the build began.
func (w *watch) changes() (changed []string) {
	// What the build wrote while the scan went on is not in question.
	w.mu.Lock()
	skipped := maps.Clone(w.writing)
	before := maps.Clone(w.baseline)
	w.mu.Unlock()
	now := w.inputs.scan()
	for path, is := range now {
		if was, known := before[path]; (!known || was != is) && skipped[path] == 0 && w.still(path, was, known) {
			changed = append(changed, path)
		}
	}
	for path := range before {
		if _, ok := now[path]; !ok && skipped[path] == 0 {
			changed = append(changed, path)
		}
	}
	slices.Sort(changed)
	return changed
}

// still tells whether a file was not written by the build since its identity was looked up.
func (w *watch) still(path string, was identity, known bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	is, ok := w.baseline[path]
	return w.writing[path] == 0 && ok == known && is == was
}

// write brackets a write of the build's own to a watched file.
func (w *watch) write(path string, write func() error) error {
	w.mu.Lock()
	w.writing[path]++
	w.mu.Unlock()
	err := write()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.writing[path]--; w.writing[path] == 0 {
		delete(w.writing, path)
	}
	if is := identify(path); w.baseline != nil && is != (identity{}) {
		w.baseline[path] = is
	}
	return err
}

func (w *watch) tell(changed []string, running bool) {
	const most = 5
	for i, path := range changed {
		if i == most {
			fmt.Fprintf(w.w, "changed: %d more\n", len(changed)-most)
			break
		}
		fmt.Fprintf(w.w, "changed: %s\n", printable(near(path)))
	}
	if running {
		fmt.Fprintln(w.w, "the build is stopped and begun again")
	}
}

// near is a path as people name it from where they are.
func near(path string) string {
	if here, err := os.Getwd(); err == nil {
		if short, err := filepath.Rel(here, path); err == nil && filepath.IsLocal(short) {
			return short
		}
	}
	return path
}

// ownUploads is S3 for a build under watch: what the build uploads to a mapped folder is no change to build again for.
type ownUploads struct {
	component.S3
	watch *watch
}

func (o ownUploads) Put(ctx context.Context, place component.S3Place, r io.Reader, size int64) error {
	put := func() error { return o.S3.Put(ctx, place, r, size) }
	if path := o.watch.inputs.mapped(place); path != "" {
		return o.watch.write(path, put)
	}
	return put()
}

// watchBuilds builds a recipe under watch.
func (s *show) watchBuilds(cmd *cobra.Command, b *builder.Builder, o builder.Options, services *serviceFlags, failing *onFailure) error {
	if failing.mode == failureShell || failing.mode == failureAsk {
		return usageError{fmt.Errorf("--on-failure=%s waits for a person, --watch for the next change; use --on-failure=keep", failing.mode)}
	}
	// Nor is anybody asked by default.
	if err := failing.open(true); err != nil {
		return err
	}
	o.OnFailure = failing.handle
	// A mistake of the command line cannot be mended while it runs.
	var usage usageError
	if _, err := services.open(cmd.Context()); errors.As(err, &usage) {
		return err
	}
	in, err := newInputs(b.Home, o, services)
	if err != nil {
		return err
	}
	w := &watch{inputs: in, w: os.Stderr, writing: map[string]int{}}
	return w.run(cmd.Context(), func(ctx context.Context) (err error) {
		// The file of parameters may have been edited, a folder made.
		if b.Services, err = services.open(ctx); err != nil {
			return err
		}
		b.Services.S3 = ownUploads{b.Services.S3, w}
		return s.build(ctx, cmd, b, o)
	})
}
