package qemu

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestExplain checks what a user reads for recorded consoles.
func TestExplain(t *testing.T) {
	for file, want := range map[string]struct{ cause, hint string }{
		"ovmf-secure-unsigned": {`the firmware found nothing to boot (UEFI could not boot "UEFI Misc Device": Access Denied)`, secureHint},
		"ovmf-secure-no-disk":  {"the firmware found nothing to boot", bootOrderHint},
		"grub-no-device":       {"GRUB stopped at its prompt (GRUB: error: no such device: 183a0778-af43-8a0d-bd67-e839c2cc1ff5)", grubHint},
		"systemd-mount-failed": {"the guest came up in emergency mode (timed out waiting for the device /dev/disk/by-uuid/dead-beef; ", fstabHint},
	} {
		data, err := os.ReadFile(filepath.Join("testdata", "console", file+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		c, guest := testConsole(t, nil, 0)
		feed(t, guest, string(data))
		finish(c, guest)
		vm := &VM{console: c, done: make(chan struct{})}
		e := vm.explain(t.Context(), Wait{Name: "the agent", Hint: "not this"}, WaitFatal, 0)
		if !strings.HasPrefix(e.Cause, want.cause) || e.Hint != want.hint || e.Reason != WaitFatal || len(e.Console) == 0 {
			t.Errorf("%s: %+v", file, e)
		}
	}
}

func TestAwait(t *testing.T) {
	vm := startVM(t, testConfig(t))
	ctx := t.Context()
	if err := vm.Await(ctx, Wait{Name: "success"}, func(context.Context) error { return nil }); err != nil {
		t.Error(err)
	}
	own := errors.New("own")
	if err := vm.Await(ctx, Wait{Name: "x"}, func(context.Context) error { return own }); !errors.Is(err, own) {
		t.Error(err)
	} else if _, ok := errors.AsType[*WaitError](err); ok && vm.Console().Finding() == nil {
		t.Errorf("the function's own error became %v", err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	time.AfterFunc(50*time.Millisecond, cancel)
	if err := vm.Await(cancelled, Wait{Name: "x"}, forever); !errors.Is(err, context.Canceled) {
		// The BIOS may have given up before that.
		wantWaitError(t, err, WaitFatal, "nothing to boot")
	}
}

func TestAwaitLimit(t *testing.T) {
	c := testConfig(t)
	// A boot sector that loops: jmp $, with the signature.
	sector := make([]byte, 512)
	sector[0], sector[1], sector[510], sector[511] = 0xeb, 0xfe, 0x55, 0xaa
	c.Disks = []Disk{rawDisk(t, sector)}
	vm := startVM(t, c)
	limit := 200 * time.Millisecond
	err := vm.Await(t.Context(), Wait{Name: "an endless loop", Limit: limit, Hint: "do not loop"}, forever)
	e := wantWaitError(t, err, WaitLimit, "did not happen within")
	if e.Hint != "do not loop" || !errors.Is(err, context.DeadlineExceeded) || e.After < vm.Accelerator().Limit(limit) {
		t.Errorf("%+v", e)
	}
	// A reset is no failure unless it is named one.
	err = vm.Await(t.Context(), Wait{Name: "a reset", NoReset: true, Limit: 10 * time.Second}, func(ctx context.Context) error {
		if err := vm.Reset(ctx); err != nil {
			return err
		}
		return forever(ctx)
	})
	wantWaitError(t, err, WaitReset, "the guest restarted")
	if vm.Resets() != 1 {
		t.Errorf("%d resets", vm.Resets())
	}
	if err := vm.Quit(t.Context()); err != nil {
		t.Error(err)
	}
	if e := vm.ending(); e.Reason != HostQuit || e.Err != nil {
		t.Errorf("ending %+v", e)
	}
}

func TestQEMUDies(t *testing.T) {
	vm := startVM(t, testConfig(t))
	err := vm.Await(t.Context(), Wait{Name: "a login prompt"}, func(ctx context.Context) error {
		unix.Kill(vm.PID(), unix.SIGSEGV)
		return vm.Monitor().Execute(ctx, "query-status", nil, nil) // may fail before QEMU is reaped
	})
	if err == nil { // QEMU answered before it died
		err = vm.Await(t.Context(), Wait{Name: "a login prompt"}, forever)
	}
	e := wantWaitError(t, err, WaitExited, "QEMU was killed by signal 11")
	if exit, ok := errors.AsType[*ExitError](err); !ok || exit.Status == "" {
		t.Errorf("%v has no ExitError", e)
	}
}

// A guest that writes to port 0x604 (the q35 PM1a control register) with SLP_EN powers itself off; one that
// writes to the reset port 0xcf9 reboots.
func TestGuestEndsItself(t *testing.T) {
	// SeaBIOS places the ACPI PM base of q35 at 0x600; S5 is SLP_TYP 0: mov dx,0x604; mov ax,0x2000; out dx,ax; jmp $
	off := []byte{0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xeb, 0xfe}
	// mov dx,0xcf9; mov al,6; out dx,al; jmp $
	reboot := []byte{0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee, 0xeb, 0xfe}
	boot := func(t *testing.T, code []byte, action RebootAction) *VM {
		c := testConfig(t)
		sector := make([]byte, 512)
		copy(sector, code)
		sector[510], sector[511] = 0x55, 0xaa
		c.Disks = []Disk{rawDisk(t, sector)}
		c.OnReboot = action
		return startVM(t, c)
	}
	t.Run("power off", func(t *testing.T) {
		t.Parallel()
		vm := boot(t, off, Reset)
		err := vm.Await(t.Context(), Wait{Name: "a login prompt", Limit: 10 * time.Second}, forever)
		wantWaitError(t, err, WaitShutdown, "the guest powered itself off")
		if vm.Err() != nil {
			t.Errorf("Err = %v", vm.Err())
		}
	})
	t.Run("expected", func(t *testing.T) {
		t.Parallel()
		vm := boot(t, off, Reset)
		end, err := vm.WaitShutdown(t.Context(), Wait{Name: "the guest to power off", Limit: 10 * time.Second})
		if err != nil || end.Reason != GuestShutdown {
			t.Errorf("%+v, %v", end, err)
		}
	})
	t.Run("reboot exits", func(t *testing.T) {
		t.Parallel()
		vm := boot(t, reboot, Exit)
		end, err := vm.WaitShutdown(t.Context(), Wait{Name: "the guest to reboot", Limit: 10 * time.Second})
		if err != nil || end.Reason != GuestReset {
			t.Errorf("%+v, %v", end, err)
		}
	})
	t.Run("reboot loop", func(t *testing.T) {
		t.Parallel()
		vm := boot(t, reboot, Reset)
		err := vm.Await(t.Context(), Wait{Name: "a login prompt", Limit: 600 * time.Millisecond}, forever)
		wantWaitError(t, err, WaitLimit, "the guest has restarted")
	})
	t.Run("killed while expected to end", func(t *testing.T) {
		t.Parallel()
		vm := boot(t, []byte{0xeb, 0xfe}, Reset)
		unix.Kill(vm.PID(), unix.SIGKILL)
		_, err := vm.WaitShutdown(t.Context(), Wait{Name: "the guest to power off", Limit: 10 * time.Second})
		wantWaitError(t, err, WaitExited, "was killed by signal 9")
	})
}
