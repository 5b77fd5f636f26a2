package export

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Seen is what a file was when it was looked at. A file that is still the same has the content that it had then: whoever writes to it changes its time of change,
// which nobody can set (stat(2), st_ctim), and whoever puts another one in its place changes its number.
type Seen struct {
	device, inode uint64
	size          int64
	modified      unix.Timespec
	changed       unix.Timespec
}

// See looks at a file, or at that which a link names.
func See(path string) (Seen, error) {
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		return Seen{}, &os.PathError{Op: "look at", Path: path, Err: err}
	}
	return seen(s), nil
}

func seen(s unix.Stat_t) Seen {
	return Seen{device: uint64(s.Dev), inode: s.Ino, size: s.Size, modified: s.Mtim, changed: s.Ctim}
}

// unchanged is an error if a file is not the one that was seen, for it is not what was checked either. A file that was not looked at is not judged.
func (f *ImageFile) unchanged() error {
	if f.Seen == (Seen{}) {
		return nil
	}
	now, err := See(f.Path)
	return f.same(now, err)
}

// opened is unchanged for a file that is open.
func (f *ImageFile) opened(file *os.File) error {
	if f.Seen == (Seen{}) {
		return nil
	}
	var s unix.Stat_t
	err := unix.Fstat(int(file.Fd()), &s)
	return f.same(seen(s), err)
}

func (f *ImageFile) same(now Seen, err error) error {
	if err == nil && now != f.Seen {
		err = fmt.Errorf("%s was changed or replaced after it was checked; nothing was made of it, start the command again to have it checked again", f.Path)
	}
	return err
}
