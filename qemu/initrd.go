package qemu

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/cavaliergopher/cpio"
)

// InitrdFile is a file to be added to an initial RAM file system.
type InitrdFile struct {
	// Path within the root, such as "scripts/init-bottom/ORDER"; a leading slash is ignored.
	Path string
	// Mode is the permissions, with fs.ModeDir for a folder and fs.ModeSymlink for a link. Files belong to root.
	Mode    fs.FileMode
	Content []byte // of a file; the target of a link
}

// AppendInitrd writes to dst the initrd src with one more archive behind it. The kernel unpacks the archives of an
// initrd one after the other (Documentation/driver-api/early-userspace/buffer-format.rst of Linux), so a file given
// here replaces one of that name in src, however src is compressed. src may be "", for an initrd of these files only.
//
// Folders that lead to the files are made with mode 0755 where they are not given; that changes the mode of one
// that src has, and replaces a link of that name by a folder, so use paths without links (usr/bin, not bin).
// dst is written to a temporary file beside it and renamed, so it may be src itself.
func AppendInitrd(dst, src string, files []InitrdFile) error {
	if err := appendInitrd(dst, src, files); err != nil {
		return fmt.Errorf("append to initrd: %w", err)
	}
	return nil
}

func appendInitrd(dst, src string, files []InitrdFile) (err error) {
	out, err := os.CreateTemp(filepath.Dir(dst), ".initrd-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			out.Close()
			os.Remove(out.Name())
		}
	}()
	w := &countingWriter{w: bufio.NewWriterSize(out, 1<<20)}
	if src != "" {
		if err := copyFile(w, src); err != nil {
			return err
		}
		// The kernel skips zeros between archives, and wants an uncompressed one to begin at a multiple of 4.
		if err := w.pad(512); err != nil {
			return err
		}
	}
	if err := writeArchive(w, files); err != nil {
		return err
	}
	if err := w.pad(512); err != nil {
		return err
	}
	if err := errors.Join(w.w.Flush(), out.Chmod(0o644), out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), dst)
}

func copyFile(w io.Writer, src string) error {
	f, err := os.Open(src)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// writeArchive writes a cpio archive in the "newc" format, each folder before what is in it.
func writeArchive(w io.Writer, files []InitrdFile) error {
	archive := cpio.NewWriter(w)
	written := map[string]bool{}
	add := func(name string, mode cpio.FileMode, content []byte) error {
		written[name] = true
		links := 1
		if mode&cpio.ModeType == cpio.TypeDir {
			links = 2
		}
		err := archive.WriteHeader(&cpio.Header{Name: name, Mode: mode, Links: links, Size: int64(len(content))})
		if err == nil && len(content) > 0 {
			_, err = archive.Write(content)
		}
		return err
	}
	given := map[string]bool{}
	for _, f := range files {
		given[clean(f.Path)] = true
	}
	for _, f := range files {
		name := clean(f.Path)
		if name == "" || strings.ContainsRune(name, 0) {
			return fmt.Errorf("bad path %q", f.Path)
		}
		if written[name] {
			return fmt.Errorf("%s is given twice", name)
		}
		for i, r := range name {
			if parent := name[:i]; r == '/' && !written[parent] {
				if given[parent] {
					return fmt.Errorf("%s must come before %s", parent, name)
				}
				if err := add(parent, cpio.TypeDir|0o755, nil); err != nil {
					return err
				}
			}
		}
		mode, content := cpio.FileMode(f.Mode.Perm()), f.Content
		for bit, m := range map[fs.FileMode]cpio.FileMode{
			fs.ModeSetuid: cpio.ModeSetuid, fs.ModeSetgid: cpio.ModeSetgid, fs.ModeSticky: cpio.ModeSticky,
		} {
			if f.Mode&bit != 0 {
				mode |= m
			}
		}
		switch f.Mode.Type() {
		case 0:
			mode |= cpio.TypeReg
		case fs.ModeDir:
			mode, content = mode|cpio.TypeDir, nil
		case fs.ModeSymlink:
			mode = cpio.TypeSymlink | 0o777
		default:
			return fmt.Errorf("%s: cannot add a file of type %v", name, f.Mode.Type())
		}
		if err := add(name, mode, content); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return archive.Close()
}

// clean makes a path relative to the root, with no way out of it.
func clean(p string) string { return path.Clean("/" + p)[1:] }

type countingWriter struct {
	w *bufio.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// pad writes zeros up to a multiple of size.
func (c *countingWriter) pad(size int64) error {
	_, err := c.Write(make([]byte, (size-c.n%size)%size))
	return err
}
