//go:build !linux && !darwin

package action

import (
	"errors"
	"io/fs"
	"syscall"
)

const (
	openNonblocking = 0
	seekData        = 0
	seekHole        = 0
)

func ownerOf(fs.FileInfo) (uid, gid int, ok bool) { return -1, -1, false }

func hasHoles(fs.FileInfo) bool { return false }

func notSeekable(error) bool { return true }
func noMoreData(error) bool  { return false }

// Error codes of Windows ([MS-ERREF], section 2.2): ERROR_NOT_SAME_DEVICE and ERROR_DIR_NOT_EMPTY.
func crossesFileSystems(err error) bool { return errors.Is(err, syscall.Errno(17)) }
func notEmpty(err error) bool           { return errors.Is(err, syscall.Errno(145)) }
