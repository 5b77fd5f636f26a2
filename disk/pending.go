package disk

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// PendingFile is a file that has no name until it is complete. Where the file system can (O_TMPFILE: ext4, xfs, btrfs, tmpfs)
// it vanishes with the last process that has it open, so even a killed program leaves nothing behind; elsewhere it has a
// hidden temporary name in the same folder.
type PendingFile struct {
	*os.File
	path string
	temp string // name to unlink; empty for a nameless file
	done bool
}

// Create starts a file that will appear at path when Commit is called. The folder must exist.
func Create(path string) (*PendingFile, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(path)
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err == nil {
		return &PendingFile{File: os.NewFile(uintptr(fd), path), path: path}, nil
	}
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EROFS) {
		return nil, &os.PathError{Op: "create", Path: path, Err: err}
	}
	temp := temporaryName(path)
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	return &PendingFile{File: f, path: path, temp: temp}, nil
}

func temporaryName(path string) string {
	return filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%08x", filepath.Base(path), rand.Uint32()))
}

// Commit flushes the file to disk, gives it its name, replacing what was there, and closes it.
func (p *PendingFile) Commit() error { return p.flushed(p.commitUnsynced) }

// CommitNew is Commit that replaces nothing: the error is fs.ErrExist if the name is taken.
func (p *PendingFile) CommitNew() error { return p.flushed(p.commitNew) }

func (p *PendingFile) flushed(commit func() error) error {
	if p.done {
		return os.ErrClosed
	}
	if err := p.Sync(); err != nil {
		return err
	}
	if err := commit(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(p.path))
}

// commitNew gives the file its name by a link, which replaces nothing.
func (p *PendingFile) commitNew() error {
	name := p.link
	if p.temp != "" {
		name = func(to string) error { return os.Link(p.temp, to) }
	}
	if err := name(p.path); err != nil {
		return &os.PathError{Op: "link", Path: p.path, Err: err}
	}
	if p.temp != "" {
		os.Remove(p.temp)
	}
	p.done = true
	return p.File.Close()
}

// link gives a nameless file a name.
func (p *PendingFile) link(to string) error {
	return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", p.Fd()), unix.AT_FDCWD, to, unix.AT_SYMLINK_FOLLOW)
}

// commitUnsynced is Commit without the flushes: after a power cut the name may be there without the content.
func (p *PendingFile) commitUnsynced() error {
	if p.done {
		return os.ErrClosed
	}
	if p.temp == "" {
		err := p.link(p.path)
		if errors.Is(err, syscall.EEXIST) {
			// A link cannot replace a file; a rename can.
			temp := temporaryName(p.path)
			if err = p.link(temp); err == nil {
				p.temp = temp
			}
		}
		if err != nil {
			return &os.PathError{Op: "link", Path: p.path, Err: err}
		}
	}
	if p.temp != "" {
		if err := os.Rename(p.temp, p.path); err != nil {
			return err
		}
	}
	p.done = true
	return p.File.Close()
}

// Close discards the file unless it was committed. It may be called more than once.
func (p *PendingFile) Close() error {
	if p.done {
		return nil
	}
	p.done = true
	if p.temp != "" {
		os.Remove(p.temp)
	}
	return p.File.Close()
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return nil
}
