package qemu

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	runtimeDirPrefix = "qemu-vm-"
	// maxSocketPath is sizeof(sockaddr_un.sun_path) less the final NUL on Linux (unix(7)).
	maxSocketPath = 107
	// longestName is the longest path below the runtime folder's parent: the random part of os.MkdirTemp has at
	// most ten digits, and the sockets are p0.sock to p29.sock.
	longestName = len("/") + len(runtimeDirPrefix) + 10 + len("/p29.sock")
)

// runtimeDir is a VM's own folder, mode 0700. It is locked while its owner lives, so that others can tell a
// folder in use from one whose owner was killed.
type runtimeDir struct {
	path string
	lock *os.File
}

// newRuntimeDir makes the folder under parent, or where the system keeps such things if that is "", after
// removing those that killed processes have left there.
func newRuntimeDir(parent string) (*runtimeDir, error) {
	parents := []string{parent}
	if parent == "" {
		parents = []string{os.TempDir(), "/tmp"}
		if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
			parents = append([]string{dir}, parents...)
		}
	}
	var errs []error
	for _, parent := range parents {
		d, err := makeRuntimeDir(parent)
		if err == nil {
			return d, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("make runtime folder: %w", errors.Join(errs...))
}

func makeRuntimeDir(parent string) (*runtimeDir, error) {
	parent, err := filepath.Abs(parent)
	if err != nil {
		return nil, err
	}
	if len(parent)+longestName > maxSocketPath {
		return nil, fmt.Errorf("%s: the path is too long for UNIX sockets, at most %d bytes", parent, maxSocketPath-longestName)
	}
	removeStale(parent)
	for {
		path, err := os.MkdirTemp(parent, runtimeDirPrefix)
		if err != nil {
			return nil, err
		}
		lock, err := lockDir(path)
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, fs.ErrNotExist) {
			continue // removeStale of another process came between
		}
		if err != nil {
			os.Remove(path)
			return nil, err
		}
		return &runtimeDir{path, lock}, nil
	}
}

// lockDir locks the folder and makes sure that it is still the one with that name.
func lockDir(path string) (*os.File, error) {
	f, err := os.OpenFile(path, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		var here, named fs.FileInfo
		if here, err = f.Stat(); err == nil {
			named, err = os.Lstat(path)
		}
		if err == nil && !os.SameFile(here, named) {
			err = fs.ErrNotExist
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// removeStale removes the folders of ours under parent of which the owner is gone. What cannot be removed is left.
func removeStale(parent string) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), runtimeDirPrefix) {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue
		}
		if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Geteuid() {
			continue
		}
		d := &runtimeDir{path: filepath.Join(parent, e.Name())}
		if d.lock, err = lockDir(d.path); err == nil {
			d.remove()
		}
	}
}

// file returns the path of a name in the folder.
func (d *runtimeDir) file(name string) string { return filepath.Join(d.path, name) }

func (d *runtimeDir) remove() error {
	return errors.Join(os.RemoveAll(d.path), d.lock.Close())
}
