package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// leases are locks on single bytes of one file: byte 0 is for the process that opens the catalog, byte N for the process
// that runs the build with id N. They are open file description locks (fcntl(2), F_OFD_SETLK): the kernel drops them when
// the last descriptor is closed, so at the latest when the process ends, and they are not inherited by programs that the
// process starts, because Go opens files with O_CLOEXEC.
type leases struct {
	path string
	file *os.File // only for asking and for byte 0; each lease has a descriptor of its own
}

func openLeases(path string) (*leases, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return &leases{path: path, file: f}, nil
}

func (l *leases) close() error { return l.file.Close() }

// lease is a byte that is held. Its open file descriptor is what holds it.
type lease struct{ file *os.File }

// acquire takes byte id, which nobody else can have wanted.
func (l *leases) acquire(id int64) (*lease, error) {
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lock(f, id); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock byte %d of %s: %w", id, l.path, err)
	}
	return &lease{file: f}, nil
}

func (l *lease) release() error { return l.file.Close() }

// held reports whether some process, this one included, holds byte id.
func (l *leases) held(id int64) (bool, error) {
	flock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: id, Len: 1}
	if err := control(l.file, unix.F_OFD_GETLK, &flock); err != nil {
		return false, fmt.Errorf("ask for the lock on byte %d of %s: %w", id, l.path, err)
	}
	return flock.Type != unix.F_UNLCK, nil
}

// exclusively runs f while no other process does. It waits for at most the time SQLite waits for a lock.
func (l *leases) exclusively(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, errors.New("another process has been opening the catalog for 30 s"))
	defer cancel()
	for {
		own, err := l.acquire(0)
		if err == nil {
			return errors.Join(f(), own.release())
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func lock(f *os.File, id int64) error {
	flock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: id, Len: 1}
	return control(f, unix.F_OFD_SETLK, &flock)
}

func control(f *os.File, command int, flock *unix.Flock_t) error {
	connection, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = connection.Control(func(fd uintptr) {
		for {
			if result = unix.FcntlFlock(fd, command, flock); result != unix.EINTR {
				return
			}
		}
	})
	return errors.Join(err, result)
}
