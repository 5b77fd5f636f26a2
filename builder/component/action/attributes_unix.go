//go:build linux || darwin

package action

import (
	"errors"
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

// openNonblocking keeps the opening of a pipe from waiting for somebody at its other end.
const openNonblocking = syscall.O_NONBLOCK

// Where data and holes of a file start, for Seek.
const (
	seekData = unix.SEEK_DATA
	seekHole = unix.SEEK_HOLE
)

// ownerOf returns who owns a file; ok is false where files have no such owners.
func ownerOf(info fs.FileInfo) (uid, gid int, ok bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return -1, -1, false
	}
	return int(stat.Uid), int(stat.Gid), true
}

// hasHoles tells whether a file takes less room on the disk than it has bytes.
func hasHoles(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Size() > 0 && int64(stat.Blocks)*512 < info.Size()
}

// notSeekable tells whether a file system does not know its holes; noMoreData, that there is none after an offset.
func notSeekable(err error) bool {
	return errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP)
}
func noMoreData(err error) bool { return errors.Is(err, syscall.ENXIO) }

// crossesFileSystems tells whether a rename failed because the new place is on another file system.
func crossesFileSystems(err error) bool { return errors.Is(err, syscall.EXDEV) }

// notEmpty tells whether a folder was not removed because something is in it.
func notEmpty(err error) bool {
	return errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST)
}
