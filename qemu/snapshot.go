package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// stateSocket is where a VM's state goes through, in its own folder.
const stateSocket = "s.sock"

// stateBuffer is how much of a state is passed on at once, in bytes: with less, files are written in pieces that cost their file system more;
// more, or a second buffer that is filled meanwhile, falls out of the CPU's cache between reading, hashing and writing.
const stateBuffer = 128 << 10

// stateLimit bounds the time in which a state may be saved or loaded.
const stateLimit = 10 * time.Minute

// SaveState stops the guest and writes its state to w: memory, CPUs and devices, in QEMU's migration stream, whose pages of zeros take no
// room. The disks' content is not in it: they are as the guest has left them once Quit or Close has returned, and belong to the state
// from then on. The guest stays stopped, whatever the outcome; Quit is what usually follows.
//
// What was connected to the guest's ports on the host should be closed before, and may be unknown to be so when the guest goes on (see
// Dial).
func (vm *VM) SaveState(ctx context.Context, w io.Writer) error {
	if err := vm.saveState(ctx, w); err != nil {
		return fmt.Errorf("save the guest's state: %w", err)
	}
	return nil
}

func (vm *VM) saveState(ctx context.Context, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, stateLimit)
	defer cancel()
	vm.saving.Lock()
	defer vm.saving.Unlock()
	if err := vm.monitor.Execute(ctx, "stop", nil, nil); err != nil {
		return err
	}
	return vm.writeState(ctx, w, func() error { return nil })
}

// writeState writes a stopped guest's state to w and calls complete once QEMU has sent all of it, when w may still be taking the rest.
func (vm *VM) writeState(ctx context.Context, w io.Writer, complete func() error) error {
	// A stream that somebody else must not be able to read: the folder is the VM's own.
	path := vm.dir.file(stateSocket)
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	defer listener.Close()
	// The default bandwidth is a network's.
	if err := vm.monitor.Execute(ctx, "migrate-set-parameters", map[string]any{"max-bandwidth": int64(1) << 40}, nil); err != nil {
		return err
	}
	copied := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			_, err = io.CopyBuffer(w, conn, make([]byte, stateBuffer))
		}
		copied <- err
	}()
	if err := vm.monitor.Execute(ctx, "migrate", map[string]any{"uri": "unix:" + path}, nil); err != nil {
		return err
	}
	err = vm.migrated(ctx)
	if err != nil {
		listener.Close()
		select { // what went wrong here is why QEMU could not go on
		case copyErr := <-copied:
			return errors.Join(copyErr, err)
		case <-ctx.Done():
			return err
		}
	}
	err = complete()
	select {
	case copyErr := <-copied:
		return errors.Join(copyErr, err)
	case <-ctx.Done():
		return errors.Join(ctx.Err(), err)
	}
}

// migrated waits for the end of a migration, in either direction.
func (vm *VM) migrated(ctx context.Context) error {
	for {
		var status struct {
			Status string `json:"status"`
			Error  string `json:"error-desc"`
		}
		if err := vm.monitor.Execute(ctx, "query-migrate", nil, &status); err != nil {
			return err
		}
		switch status.Status {
		case "completed":
			return nil
		case "failed", "cancelled":
			if status.Error == "" {
				status.Error = "QEMU does not say why"
			}
			return fmt.Errorf("migration %s: %s", status.Status, status.Error)
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Resume is Start with a guest that goes on from where SaveState left it. The configuration must be that of the VM that was saved, with
// disks of the same content; only paths, forwards and the console log may differ. The QEMU must be of the same version, and the CPU must
// have the same features.
//
// A state that is an *os.File is read by QEMU itself, from where the file is, which saves a fifth of the time.
//
// started, if not nil, is called when the state is loaded and the guest is about to run: the disks change from there on. Its error is
// that of Resume.
func Resume(ctx context.Context, config Config, state io.Reader, started func() error) (*VM, error) {
	load := func(ctx context.Context, vm *VM) error { return vm.loadState(ctx, state) }
	var files []*os.File
	if file, ok := state.(*os.File); ok {
		files, load = []*os.File{file}, func(ctx context.Context, vm *VM) error {
			return vm.incoming(ctx, fmt.Sprintf("fd:%d", inheritedFD), func() error { return nil })
		}
	}
	vm, err := start(ctx, config, func(ctx context.Context, vm *VM) error {
		if err := load(ctx, vm); err != nil || started == nil {
			return err
		}
		return started()
	}, files...)
	if err != nil {
		return nil, fmt.Errorf("resume a guest: %w", err)
	}
	return vm, nil
}

// loadState gives a VM that waits for it (-incoming defer) its state.
func (vm *VM) loadState(ctx context.Context, state io.Reader) error {
	path := vm.dir.file(stateSocket)
	return vm.incoming(ctx, "unix:"+path, func() error {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
		if err != nil {
			return err
		}
		defer os.Remove(path)
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		_, err = io.Copy(conn, state)
		return err
	})
}

// incoming has QEMU load a state from a place to which give brings it.
func (vm *VM) incoming(ctx context.Context, uri string, give func() error) error {
	if err := vm.monitor.Execute(ctx, "migrate-incoming", map[string]any{"uri": uri}, nil); err != nil {
		return err
	}
	giveErr := give()
	// A QEMU that refuses the state ends, and tells why as it does.
	if err := vm.migrated(ctx); err != nil {
		if errors.Is(err, ErrMonitorClosed) {
			return err
		}
		return errors.Join(err, giveErr)
	}
	return giveErr
}
