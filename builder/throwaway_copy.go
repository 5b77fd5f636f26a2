package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/ingot-image/ingot/builder/agent"
	"github.com/ingot-image/ingot/builder/copyout"
	"github.com/ingot-image/ingot/qemu"
)

// VMFile is an order to copy a file or a folder out of a kept VM.
type VMFile struct {
	VM   string // as OpenVM takes it
	Path string // absolute, in the guest; a link there is followed
	To   copyout.Destination
	// MaxBytes bounds what is copied; 0 is copyout.DefaultMaxBytes.
	MaxBytes int64
	// Progress is told what goes on. It may be nil.
	Progress func(VMProgress)
}

// CopyFromVM copies a file, or a folder with all that is in it, out of a kept VM, which is left as it was: what the guest does meanwhile is
// lost. The guest needs no program for it. Whatever it sends, nothing is written outside of the destination; see package copyout.
func (b *Builder) CopyFromVM(ctx context.Context, file VMFile) (_ *copyout.Summary, err error) {
	if !path.IsAbs(file.Path) || strings.ContainsRune(file.Path, 0) {
		return nil, fmt.Errorf("copy out of a VM: %q is not an absolute path", file.Path)
	}
	vm, err := b.OpenVM(ctx, VMOpen{VM: file.VM, Progress: file.Progress})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, vm.Close()) }()
	return vm.copyOut(ctx, file)
}

func (vm *VM) copyOut(ctx context.Context, file VMFile) (*copyout.Summary, error) {
	vm.doing("copying %s", file.Path)
	options := copyout.Options{MaxBytes: file.MaxBytes, Making: vm.work.own, Progress: func(s copyout.Summary) {
		vm.doing("copying %s: %d files, %d MiB", file.Path, s.Files, s.Bytes>>20)
	}}
	c := guestCopy{
		tar: func(ctx context.Context, w io.Writer, skipped func(agent.Skipped)) error {
			return vm.agent.Tar(ctx, file.Path, w, skipped)
		},
		alive: vm.alive, every: heartbeatEvery, limit: vm.config.Accelerator.Limit(agentLimit),
		to: file.To, options: options,
	}
	// How long a copy takes is nobody's to say. What must not happen is waiting for a guest that is gone.
	wait := qemu.Wait{Name: "the copy of " + file.Path + " out of the guest"}
	err := vm.vm.Await(ctx, wait, c.run)
	var guest *qemu.WaitError
	switch {
	case ctx.Err() != nil, errors.As(err, &guest), errors.Is(err, errNoAnswer): // which is why there was no more to copy
		return nil, err
	case c.err != nil:
		return nil, c.err
	case err != nil:
		return nil, err
	}
	summary, skipped := c.summary, c.skipped
	for _, s := range skipped.Skipped {
		summary.Skip(s.Path, s.Reason)
	}
	summary.MoreSkipped += skipped.MoreSkipped
	return summary, nil
}

// guestCopy is a copy out of a guest, which ends when the guest no longer answers.
type guestCopy struct {
	tar          func(ctx context.Context, w io.Writer, skipped func(agent.Skipped)) error // sends the archive
	alive        func(context.Context) error
	every, limit time.Duration // of the signs of life
	to           copyout.Destination
	options      copyout.Options

	summary *copyout.Summary
	skipped copyout.Summary // what the guest left out
	err     error           // of the copy as it is, without what was waited for
}

func (c *guestCopy) run(ctx context.Context) error {
	return whileAlive(ctx, c.every, c.limit, c.alive, func(ctx context.Context) error {
		c.summary, c.err = c.unpack(ctx)
		return c.err
	})
}

func (c *guestCopy) unpack(ctx context.Context) (*copyout.Summary, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, w := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := c.tar(ctx, w, func(s agent.Skipped) { c.skipped.Skip(s.Path, s.Reason) })
		w.CloseWithError(err)
		sent <- err
	}()
	summary, err := copyout.Unpack(ctx, r, c.to, c.options)
	r.CloseWithError(errors.New("the copy is over"))
	cancel()
	// What the guest says of itself comes first, and is all there is if it did not begin.
	if sendErr := <-sent; err != nil && sendErr != nil && errors.Is(err, sendErr) {
		err = sendErr
	}
	return summary, err
}
