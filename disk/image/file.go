package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// File is a raw disk in a file, whose holes are the file's. Where the file system cannot tell them, the whole file is one extent.
type File struct {
	file     *os.File
	size     int64
	modified time.Time
}

// OpenFile opens a regular file as a raw disk. Close it after use.
func OpenFile(path string) (*File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0) // which does not wait for a FIFO's other end
	if err != nil {
		return nil, err
	}
	raw, err := NewFile(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return raw, nil
}

// NewFile is the raw disk in an open regular file. The file's offset is changed by Extents.
func NewFile(f *os.File) (*File, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", f.Name())
	}
	return &File{f, st.Size(), st.ModTime()}, nil
}

// Size is the file's length in bytes when it was opened.
func (f *File) Size() int64 { return f.size }

// ReadAt reads the file.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	if off >= f.size {
		return 0, io.EOF
	}
	if most := f.size - off; int64(len(p)) > most {
		n, err := f.file.ReadAt(p[:most], off)
		if err == nil {
			err = io.EOF
		}
		return n, err
	}
	return f.file.ReadAt(p, off)
}

// Extents calls e for every range of the file that is no hole.
func (f *File) Extents(ctx context.Context, e func(Extent) error) error {
	for off := int64(0); off < f.size; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		start, end, err := f.next(off)
		if err != nil {
			return err
		}
		if start >= f.size {
			return nil
		}
		if err := e(Extent{start, end - start}); err != nil {
			return err
		}
		off = end
	}
	return nil
}

// next finds the next range with data at or after off. Where the file system cannot tell, all is data.
func (f *File) next(off int64) (start, end int64, err error) {
	fd := int(f.file.Fd())
	start, err = unix.Seek(fd, off, unix.SEEK_DATA)
	if errors.Is(err, syscall.ENXIO) { // a hole up to the end of the file, or behind an end that has come nearer
		st, err := f.file.Stat()
		if err == nil && st.Size() < f.size {
			err = f.changed()
		}
		return f.size, f.size, err
	}
	if err != nil || start < off {
		return off, f.size, nil
	}
	end, err = unix.Seek(fd, start, unix.SEEK_HOLE)
	if err != nil || end <= start || end > f.size {
		end = f.size
	}
	return min(start, f.size), end, nil
}

// Unchanged tells whether the file has still the length and the time of modification that it had.
func (f *File) Unchanged() error {
	st, err := f.file.Stat()
	if err != nil {
		return err
	}
	if st.Size() != f.size || !st.ModTime().Equal(f.modified) {
		return f.changed()
	}
	return nil
}

func (f *File) changed() error { return fmt.Errorf("%s was changed while it was read", f.file.Name()) }

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }

// CloneTo makes an empty file share all blocks of this one, where the file system can (btrfs, XFS): FICLONE.
func (f *File) CloneTo(out *os.File) error {
	return unix.IoctlFileClone(int(out.Fd()), int(f.file.Fd()))
}
