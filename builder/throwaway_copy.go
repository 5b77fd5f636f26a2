package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

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
	var summary *copyout.Summary
	var skipped copyout.Summary
	var copyErr error // as it is, without what was waited for
	wait := qemu.Wait{Name: "the copy of " + file.Path + " out of the guest"}
	err := vm.vm.Await(ctx, wait, func(ctx context.Context) (err error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		r, w := io.Pipe()
		sent := make(chan error, 1)
		go func() {
			err := vm.agent.Tar(ctx, file.Path, w, func(s agent.Skipped) { skipped.Skip(s.Path, s.Reason) })
			w.CloseWithError(err)
			sent <- err
		}()
		summary, err = copyout.Unpack(ctx, r, file.To, options)
		r.CloseWithError(errors.New("the copy is over"))
		cancel()
		// What the guest says of itself comes first, and is all there is if it did not begin.
		if sendErr := <-sent; err != nil && sendErr != nil && errors.Is(err, sendErr) {
			err = sendErr
		}
		copyErr = err
		return err
	})
	var guest *qemu.WaitError
	switch {
	case ctx.Err() != nil, errors.As(err, &guest): // which is why there was no more to copy
		return nil, err
	case copyErr != nil:
		return nil, copyErr
	case err != nil:
		return nil, err
	}
	for _, s := range skipped.Skipped {
		summary.Skip(s.Path, s.Reason)
	}
	summary.MoreSkipped += skipped.MoreSkipped
	return summary, nil
}
