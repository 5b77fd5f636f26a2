package qemu

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/digitalocean/go-qemu/qmp"
)

// ShutdownReason is why QEMU stopped or restarted the machine (qapi/run-state.json of QEMU, ShutdownCause).
type ShutdownReason string

// The reasons that matter here; others are passed on as QEMU gives them.
const (
	GuestShutdown ShutdownReason = "guest-shutdown" // the guest switched itself off
	GuestReset    ShutdownReason = "guest-reset"    // the guest rebooted, with OnReboot: Exit
	GuestPanic    ShutdownReason = "guest-panic"
	HostQuit      ShutdownReason = "host-qmp-quit" // Quit
	HostSignal    ShutdownReason = "host-signal"   // SIGTERM, SIGINT or SIGHUP
)

// Ending is how a VM ended.
type Ending struct {
	Reason ShutdownReason // "" if QEMU gave none: it was killed or crashed
	Err    error          // as VM.Err
}

// ending may be called once done is closed.
func (vm *VM) ending() Ending {
	err := vm.Err()
	vm.mu.Lock()
	defer vm.mu.Unlock()
	return Ending{vm.reason, err}
}

// pressInterval is how often PowerDown presses the button.
const pressInterval = 2 * time.Second

// PowerDown presses the power button (ACPI) until the machine is off, as WaitShutdown tells it. A guest that has no
// program listening to its button yet, which may well be after its login prompt shows, loses a press.
func (vm *VM) PowerDown(ctx context.Context, w Wait) (Ending, error) {
	press := func() error { return vm.monitor.Execute(ctx, "system_powerdown", nil, nil) }
	if err := press(); err != nil {
		return Ending{}, fmt.Errorf("power down: %w", err)
	}
	off := make(chan struct{})
	defer close(off)
	go func() {
		for tick := time.NewTicker(pressInterval); ; {
			select {
			case <-tick.C:
				press() // its error is the machine's end, which WaitShutdown tells
			case <-off:
				tick.Stop()
				return
			}
		}
	}()
	return vm.WaitShutdown(ctx, w)
}

// Reset restarts the machine at once, as the reset button does.
func (vm *VM) Reset(ctx context.Context) error {
	return vm.monitor.Execute(ctx, "system_reset", nil, nil)
}

// Quit ends QEMU in good order: the guest is stopped where it is, the disk images are flushed and closed. It
// returns when QEMU is gone.
func (vm *VM) Quit(ctx context.Context) error {
	err := vm.monitor.Execute(ctx, "quit", nil, nil)
	if err != nil && !errors.Is(err, ErrMonitorClosed) {
		return err
	}
	select {
	case <-vm.done:
		return vm.Err()
	case <-ctx.Done():
		return fmt.Errorf("quit qemu: %w", ctx.Err())
	}
}

// WaitShutdown waits until the machine is off and tells how that came about. An end that nobody asked for, a
// panic seen on the console, or the limit's passing is a *WaitError.
func (vm *VM) WaitShutdown(ctx context.Context, w Wait) (Ending, error) {
	err := vm.await(ctx, w, nil, func(ctx context.Context) error {
		select {
		case <-vm.done:
			return vm.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if err != nil {
		return Ending{}, err
	}
	return vm.ending(), nil
}

// Resets returns how often the machine has restarted, by itself or by Reset.
func (vm *VM) Resets() int {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	return vm.resets
}

// nextReset is closed at the next reset, or never if it is not wanted.
func (vm *VM) nextReset(ctx context.Context, wanted bool) <-chan struct{} {
	if !wanted {
		return nil
	}
	c := make(chan struct{})
	n := vm.Resets()
	go func() {
		if vm.until(ctx, func() bool { return vm.resets > n }) == nil {
			close(c)
		}
	}()
	return c
}

// event takes one of QEMU's events.
func (vm *VM) event(e qmp.Event) {
	str := func(key string) string { s, _ := e.Data[key].(string); return s }
	vm.mu.Lock()
	defer vm.mu.Unlock()
	switch e.Event {
	case "SHUTDOWN":
		vm.reason = ShutdownReason(str("reason"))
	case "RESET":
		vm.resets++
		vm.console.restarted()
	case "GUEST_PANICKED":
		vm.console.fail(Finding{
			Name:  "kernel panic",
			Cause: "the guest's kernel panicked",
			Hint:  "if the console shows nothing, the guest's kernel does not print to its first serial port: add console=ttyS0 to its command line",
		})
	case "BLOCK_IO_ERROR":
		// With its disk full QEMU stops the machine, which then waits for somebody to make room.
		if full, _ := e.Data["nospace"].(bool); full {
			vm.console.fail(Finding{
				Name:  "host disk full",
				Cause: "the host's file system is full: no space left on device for what the guest writes",
				Hint:  "free space where the machine's disk is, then try again",
			})
		}
	case "VSERPORT_CHANGE":
		open, _ := e.Data["open"].(bool)
		vm.portChanged(str("id"), open)
	default:
		return
	}
	close(vm.changed)
	vm.changed = make(chan struct{})
}

// until waits until f is true; f is called with vm.mu held, at every event. It fails when the VM or ctx ends.
func (vm *VM) until(ctx context.Context, f func() bool) error {
	for {
		vm.mu.Lock()
		ok, changed := f(), vm.changed
		vm.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-vm.done:
			if err := vm.Err(); err != nil {
				return err
			}
			return fmt.Errorf("the machine is off (%s)", vm.ending().Reason)
		}
	}
}
