package builder

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// workspace is where one build keeps what must not outlive it: a folder under $INGOT_HOME/work, a short folder for UNIX
// sockets (their paths are limited to 107 bytes, unix(7)), and any path given to own. close removes all of it. So does a
// watcher process when the builder dies of a signal that nothing can catch, and so does the next build (sweep) when the
// whole machine died.
type workspace struct {
	dir     string
	sockets string
	lock    *os.File // held for the builder's life; a workspace whose lock is free is a dead builder's
	stdin   io.WriteCloser
	watcher *exec.Cmd
}

const (
	lockFile  = "lock"
	newPrefix = ".new-"
	// leftoversFile lists what to remove beside the workspace itself, one path a line.
	leftoversFile = "leftovers"
)

// watch removes the workspace in $1 and what its leftovers name when its standard input ends without a word, which is
// when the builder is gone. The builder's children die with it (PR_SET_PDEATHSIG), but not before this starts, hence the
// repetition. Files of other ids of a user namespace need the namespace to be removed.
const watch = `
read -r word && [ "$word" = done ] && exit 0
while IFS= read -r path; do set -- "$@" "$path"; done <"$1/leftovers"
for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
	rm -rf -- "$@" 2>/dev/null || unshare --map-root-user --map-auto rm -rf -- "$@" 2>/dev/null
	left=
	for path in "$@"; do [ -e "$path" ] && left=$path; done
	[ -z "$left" ] && exit 0
	sleep 0.2
done
`

// newWorkspace makes the workspace of one build under home.
func newWorkspace(home string) (_ *workspace, err error) {
	parent := filepath.Join(home, "work")
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, fmt.Errorf("make workspace: %w", err)
	}
	// Under a name that sweep passes over until it has its lock.
	dir, err := os.MkdirTemp(parent, newPrefix)
	if err != nil {
		return nil, fmt.Errorf("make workspace: %w", err)
	}
	w := &workspace{dir: dir}
	defer func() {
		if err != nil {
			w.close()
			err = fmt.Errorf("make workspace: %w", err)
		}
	}()
	if w.lock, err = holdLock(filepath.Join(dir, lockFile)); err != nil {
		return nil, err
	}
	dir = filepath.Join(parent, "build-"+strings.TrimPrefix(filepath.Base(dir), newPrefix))
	if err = os.Rename(w.dir, dir); err != nil {
		return nil, err
	}
	w.dir = dir
	// $XDG_RUNTIME_DIR may be another user's, after su.
	if w.sockets, err = os.MkdirTemp(os.Getenv("XDG_RUNTIME_DIR"), "ingot-"); err != nil {
		if w.sockets, err = os.MkdirTemp("", "ingot-"); err != nil {
			return nil, err
		}
	}
	if err := w.own(w.sockets); err != nil {
		return nil, err
	}
	w.watcher = exec.Command("/bin/sh", "-c", watch, "ingot-watcher", dir)
	// A session of its own: a Ctrl-C at the terminal, or a kill of the builder's process group, must not reach it.
	w.watcher.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if w.stdin, err = w.watcher.StdinPipe(); err != nil {
		return nil, err
	}
	return w, w.watcher.Start()
}

// own makes path part of the workspace: if the build dies, or ends before disown, it is removed.
func (w *workspace) own(path string) error {
	if !filepath.IsAbs(path) || strings.Contains(path, "\n") {
		return fmt.Errorf("not a path for a workspace: %q", path)
	}
	f, err := os.OpenFile(filepath.Join(w.dir, leftoversFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(path + "\n")
	return err
}

// disown lets a path given to own live on.
func (w *workspace) disown(paths ...string) error {
	owned, err := os.ReadFile(filepath.Join(w.dir, leftoversFile))
	if err != nil {
		return err
	}
	var left strings.Builder
	for line := range strings.Lines(string(owned)) {
		if !slices.Contains(paths, strings.TrimSuffix(line, "\n")) {
			left.WriteString(line)
		}
	}
	next := filepath.Join(w.dir, leftoversFile+".next")
	if err := os.WriteFile(next, []byte(left.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(w.dir, leftoversFile))
}

// path names a file or folder in the workspace.
func (w *workspace) path(elem ...string) string {
	return filepath.Join(append([]string{w.dir}, elem...)...)
}

// close removes everything and ends the watcher. It may be called again.
func (w *workspace) close() error {
	err := removeWorkspace(w.dir)
	if w.lock != nil {
		w.lock.Close()
	}
	if w.watcher != nil && w.watcher.Process != nil {
		io.WriteString(w.stdin, "done\n")
		w.stdin.Close()
		w.watcher.Wait()
		w.watcher = nil
	}
	return err
}

// removeWorkspace removes a workspace with all that its leftovers name.
func removeWorkspace(dir string) error {
	var errs []error
	if f, err := os.Open(filepath.Join(dir, leftoversFile)); err == nil {
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if path := lines.Text(); filepath.IsAbs(path) {
				errs = append(errs, os.RemoveAll(path))
			}
		}
		f.Close()
	}
	return errors.Join(append(errs, os.RemoveAll(dir))...)
}

// sweep removes the workspaces whose builder no longer runs, and with them what it left elsewhere.
func sweep(home string) error {
	parent := filepath.Join(home, "work")
	entries, err := os.ReadDir(parent)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("clear away old workspaces: %w", err)
	}
	var errs []error
	for _, e := range entries {
		dir := filepath.Join(parent, e.Name())
		if info, err := e.Info(); err != nil || strings.HasPrefix(e.Name(), newPrefix) && time.Since(info.ModTime()) < time.Hour {
			continue
		}
		lock, err := holdLock(filepath.Join(dir, lockFile))
		if err != nil {
			continue // its builder runs
		}
		errs = append(errs, removeWorkspace(dir))
		lock.Close()
	}
	return errors.Join(errs...)
}

// holdLock takes an exclusive lock on path, which ends with the process, or fails at once.
func holdLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
