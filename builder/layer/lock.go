package layer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// The locks, all by flock(2), so that they end with their process:
//
//   - the folder of a layer or draft: shared by those that use or make it, exclusive by those that remove it or its memory, into which a
//     draft's maker turns its own shared one;
//   - the file "lock" of the store: exclusive while somebody chooses what to remove and takes it out of the way, shared while a new layer
//     gets its name. So nothing is removed that a new layer is about to stand on. It is held for milliseconds only.

// lockLimit is how long the store's lock is waited for.
const lockLimit = 30 * time.Second

// errGone is that a folder was removed, or is about to be.
var errGone = errors.New("was removed")

// tryFolder locks a folder without waiting; nil if somebody else has it.
func tryFolder(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	err = flock(f, how)
	if err == nil {
		// It may have got another name, or given its name to another, meanwhile.
		var mine, named os.FileInfo
		if mine, err = f.Stat(); err == nil {
			if named, err = os.Lstat(path); err == nil && os.SameFile(mine, named) {
				return f, nil
			}
		}
	}
	f.Close()
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, nil
	case err == nil || errors.Is(err, os.ErrNotExist):
		return nil, errGone
	}
	return nil, err
}

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// claim makes a shared lock exclusive, if nobody else has one. flock(2) gives the shared one up for that, even when it fails: call it only
// with the store's lock, so that nobody can remove the folder meanwhile, and release before that is given back.
func claim(held *os.File) (bool, error) {
	err := flock(held, unix.LOCK_EX)
	if err == nil {
		return true, nil
	}
	return false, release(held)
}

// release makes a lock shared again. Somebody may have the exclusive one for a moment, to see whether anybody uses the layer.
func release(held *os.File) error {
	for end := time.Now().Add(lockLimit); ; {
		err := flock(held, unix.LOCK_SH)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s is locked for %s", held.Name(), lockLimit)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// hold takes the shared lock on the folder of a layer. Somebody may have the exclusive one for a moment, to see whether it could be removed.
func (s *Store) hold(ctx context.Context, l *Layer) (*os.File, error) {
	path := s.path(l)
	for end := time.Now().Add(lockLimit); ; {
		f, err := tryFolder(path, unix.LOCK_SH)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil, errGone
		case err != nil || f != nil:
			return f, err
		case time.Now().After(end):
			return nil, fmt.Errorf("%s is locked for %s", path, lockLimit)
		}
		if err := pause(ctx); err != nil {
			return nil, err
		}
	}
}

// lock takes the store's lock; call unlock.
func (s *Store) lock(ctx context.Context, how int) (unlock func(), err error) {
	path := filepath.Join(s.dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(lockLimit); ; {
		err := flock(f, how)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if errors.Is(err, unix.EWOULDBLOCK) && time.Now().Before(end) {
			err = pause(ctx)
		}
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
	}
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(2 * time.Millisecond):
		return nil
	}
}
