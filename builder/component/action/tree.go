package action

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Everything that works on the content of a folder goes through an [os.Root] of each folder on the way, so that no symbolic link leads
// it out of the path it was given, not even one that is put in the place of a folder in the meantime.

// maxDepth is how deep folders may nest: one is kept open for every level.
const maxDepth = 1000

var (
	errDepth    = fmt.Errorf("folders nest deeper than %d levels", maxDepth)
	errReplaced = errors.New("it was replaced in the meantime")
	errIsLink   = errors.New("it is a symbolic link; name the folder that it leads to")
)

// openFolder opens a folder. A symbolic link is refused.
func openFolder(path string) (*os.Root, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if err := mustBeFolder(info); err != nil {
		return nil, err
	}
	folder, err := os.OpenRoot(path)
	return sameFolder(folder, info, err)
}

// openSubfolder opens the folder name of a folder; info is that of Lstat.
func openSubfolder(folder *os.Root, name string, info fs.FileInfo) (*os.Root, error) {
	sub, err := folder.OpenRoot(name)
	return sameFolder(sub, info, err)
}

// sameFolder closes an opened folder that is not the one that was looked at before.
func sameFolder(folder *os.Root, info fs.FileInfo, err error) (*os.Root, error) {
	if err != nil {
		return nil, err
	}
	opened, err := folder.Stat(".")
	if err == nil && !os.SameFile(opened, info) {
		err = errReplaced
	}
	if err != nil {
		return nil, errors.Join(err, folder.Close())
	}
	return folder, nil
}

func mustBeFolder(info fs.FileInfo) error {
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return errIsLink
	case !info.IsDir():
		return errors.New("it is no folder")
	}
	return nil
}

// folderNames returns the names in a folder, sorted.
func folderNames(folder *os.Root) ([]string, error) {
	file, err := folder.Open(".")
	if err != nil {
		return nil, err
	}
	names, err := file.Readdirnames(-1)
	slices.Sort(names)
	return names, errors.Join(err, file.Close())
}

// visit is called for something in a folder. The name is "." for the folder itself.
type visit func(folder *os.Root, name string, info fs.FileInfo) error

// visitTree visits all that is in a folder, then the folder itself. Symbolic links are visited and not followed. A subfolder that may not
// be opened is visited before, too, which may change that.
func visitTree(ctx context.Context, folder *os.Root, do visit) error {
	return visitLevel(ctx, folder, 0, do)
}

func visitLevel(ctx context.Context, folder *os.Root, depth int, do visit) error {
	if depth > maxDepth {
		return errDepth
	}
	names, err := folderNames(folder)
	if err != nil {
		return inFolder(folder, ".", err)
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		info, err := folder.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone in the meantime
		}
		if err == nil && info.IsDir() {
			err = visitSubfolder(ctx, folder, name, info, depth, do)
		} else if err == nil {
			err = do(folder, name, info)
		}
		if err != nil {
			return inFolder(folder, name, err)
		}
	}
	info, err := folder.Lstat(".")
	if err == nil {
		err = do(folder, ".", info)
	}
	return inFolder(folder, ".", err)
}

func visitSubfolder(ctx context.Context, folder *os.Root, name string, info fs.FileInfo, depth int, do visit) error {
	sub, err := openSubfolder(folder, name, info)
	if errors.Is(err, fs.ErrPermission) {
		if err := do(folder, name, info); err != nil {
			return err
		}
		sub, err = openSubfolder(folder, name, info)
	}
	if err != nil {
		return err
	}
	defer sub.Close()
	return visitLevel(ctx, sub, depth+1, do)
}

// placeError is an error with the path it is about.
type placeError struct {
	path string
	err  error
}

func (e *placeError) Error() string { return e.path + ": " + e.err.Error() }
func (e *placeError) Unwrap() error { return e.err }

// inFolder names the file an error is about by its path on the machine; those of [os.Root] name the last part of it only. The innermost
// caller knows best.
func inFolder(folder *os.Root, name string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*placeError](err); ok {
		return err
	}
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		err = failed.Err
	}
	return &placeError{filepath.Join(folder.Name(), name), err}
}
