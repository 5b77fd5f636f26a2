package builder

import (
	"context"
	"errors"
	"time"

	"github.com/ingot-image/ingot/builder/component"
)

// VMRun is an order to run component documents in a throwaway VM.
type VMRun struct {
	// Base is what the VM starts from, spelt as a recipe's parentImage: debian-12, the path of a disk image, or NAME/x.x.x of an image that
	// was built. Paths are relative to the current folder.
	Base string
	// Request is what to run. The paths in its documents are the guest's.
	Request component.Request
	// Services are what the documents may reach outside of the guest.
	Services VMServices
	// Copy are files and folders to put into the guest before the first document runs.
	Copy []VMCopy
	// Keep leaves the VM behind, saved, for [Builder.OpenVM].
	Keep bool
	// CPUs and MemoryMiB are the VM's; 0 is 2 and 2048. Accelerator is auto (or empty), kvm or tcg.
	CPUs, MemoryMiB int
	Accelerator     string
	// Console is the path of a file that takes what the guest prints on its serial console. Empty: it is only kept for failures.
	Console string
	// Events is told what the documents do, one event at a time. It may be nil.
	Events func(component.Event)
	// Progress is told what goes on beside: the base being made, the boot, the end. It may be nil.
	Progress func(VMProgress)
}

// VMServices are what lies outside of a guest and its documents may reach through the host. What is nil they cannot use.
type VMServices struct {
	S3         component.S3
	Parameters component.ParameterStore
	Components component.ComponentSource
}

// VMCopy is a file or folder to be copied into a guest.
type VMCopy struct {
	Host  string // path on this machine
	Guest string // absolute path in the guest; folders above it are made
}

// VMProgress is what a throwaway VM is at.
type VMProgress struct {
	// Doing is one clause: "booting debian-12". Total is 0 where there is nothing to count.
	Doing       string
	Done, Total int64
	Elapsed     time.Duration // since the run began
}

// VMResult is how a run in a VM ended.
type VMResult struct {
	Result *component.Result
	// Kept is the ID of the VM that was kept, empty if none was.
	Kept string
}

// RunInVM runs component documents in a VM that starts from Base on a throwaway overlay, through all the reboots that they ask for.
// Nothing of the host but what Copy names is read, and nothing is written; the VM is gone when RunInVM returns, and soon after this
// process was killed. With Keep, the VM is saved first, however the documents ended.
//
// A step that fails is no error, as with [component.Runner.Run]. Mistakes in Base, the documents or their parameters are
// component.Problems; a *Failure tells of a guest that could not be booted, hung or died, of an interruption, and of a run that the VM
// could not be kept of. The result is not nil when the documents ran to their end.
func (b *Builder) RunInVM(ctx context.Context, run VMRun) (*VMResult, error) {
	return nil, errors.New("not yet")
}
