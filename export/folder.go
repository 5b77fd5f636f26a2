// Package export puts finished images where they are used: a folder of this machine when a build is done, and places on premises, of which each is a [Place]:
//
//	place, err := export.NewPlace(ctx, distribution.Distribution{Folder: "/srv/images"}, export.PlaceOptions{})
//	delivered, err := place.Deliver(ctx, export.Delivery{Name: "web", Version: "1.0.3/2", Files: files, Manifest: manifest, ManifestName: "web-1.0.3-2.json"}, nil)
//
// The ways to AWS are packages of their own below this one.
package export

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Folder is a folder that images are published in.
type Folder struct {
	Path string
	// Pending, if given, is told of each file's final path before the file appears there.
	Pending func(path string) error
}

// Publish moves files, which must be on the folder's own file system, into the folder under their base names, in order: the
// one that tells that the others are complete goes last. A file that is already there is never replaced. When one of
// them cannot be moved, those before it are moved back.
//
// Undo moves all of them back.
func (f Folder) Publish(files []string) (undo func() error, err error) {
	var moved []string
	undo = func() error {
		var errs []error
		for _, file := range moved {
			errs = append(errs, os.Rename(f.final(file), file))
		}
		moved = nil
		return errors.Join(errs...)
	}
	for _, file := range files {
		if err := f.publish(file); err != nil {
			return nil, errors.Join(fmt.Errorf("publish %s: %w", filepath.Base(file), err), undo())
		}
		moved = append(moved, file)
	}
	if err := syncFolder(f.Path); err != nil {
		return nil, errors.Join(fmt.Errorf("publish in %s: %w", f.Path, err), undo())
	}
	return undo, nil
}

func (f Folder) final(file string) string { return filepath.Join(f.Path, filepath.Base(file)) }

func (f Folder) publish(file string) error {
	final := f.final(file)
	// Looked at before Pending is told, so that nobody takes a file of somebody else's for one of these.
	if _, err := os.Lstat(final); err == nil {
		return &fs.PathError{Op: "move to", Path: final, Err: fs.ErrExist}
	}
	if f.Pending != nil {
		if err := f.Pending(final); err != nil {
			return err
		}
	}
	err := unix.Renameat2(unix.AT_FDCWD, file, unix.AT_FDCWD, final, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		// A file system without that flag (NFS, some FUSE ones): a link does not replace either.
		if err = os.Link(file, final); err == nil {
			err = os.Remove(file)
		}
	}
	if err != nil {
		return &fs.PathError{Op: "move to", Path: final, Err: err}
	}
	return nil
}

// syncFolder makes the names in a folder durable.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) { // some file systems cannot sync a folder
		return err
	}
	return nil
}
