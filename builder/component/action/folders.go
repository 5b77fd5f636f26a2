package action

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ingot-image/ingot/builder/component"
)

// checkTransfer checks the inputs of actions that copy or move.
func checkTransfer(source, destination string, folders bool, report func(input, message, hint string)) {
	check := checkPattern
	if folders {
		check = checkFolderPattern
	}
	if err := check(source); err != nil {
		report("source", err.Error(), "")
	}
	if hasWildcard(source) && !isFolder(destination) {
		report("destination", "must be a folder when the source contains *", "end it with a slash")
	}
	if hasWildcard(destination) {
		report("destination", "must not contain *", "")
	}
}

// transfer is one folder to copy or move. Its paths are those of the machine.
type transfer struct {
	source, destination string
	overwrite           bool
}

// folderTransfers returns what a source and destination of a document mean.
func folderTransfers(x *component.Execution, source, destination string, overwrite bool) ([]transfer, error) {
	sources, err := matchFolders(x.Path(source))
	if err == nil && len(sources) == 0 {
		err = errors.New("no folder matches")
	}
	if err != nil {
		return nil, err
	}
	var all []transfer
	for _, found := range sources {
		to := x.Path(destination)
		if isFolder(destination) {
			to = filepath.Join(to, filepath.Base(found))
		}
		all = append(all, transfer{found, to, overwrite})
	}
	return all, nil
}

// check tells whether the destination exists, as a folder to copy into, and refuses what cannot work.
func (t transfer) check() (exists bool, err error) {
	source, err := os.Stat(t.source)
	if err != nil {
		return false, err
	}
	if !source.IsDir() {
		return false, errors.New("it is no folder")
	}
	if _, err := os.Lstat(t.destination); err == nil {
		exists = true
	} else if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if exists && !t.overwrite {
		return true, errors.New("the destination exists, and overwrite is false")
	}
	if err := t.nested(source, exists); err != nil {
		return exists, err
	}
	if exists {
		destination, err := os.Stat(t.destination)
		if err == nil && !destination.IsDir() {
			err = errors.New("the destination is no folder")
		}
		return true, err
	}
	return false, nil
}

// nested refuses that one of the folders is in the other.
func (t transfer) nested(source fs.FileInfo, exists bool) error {
	above, err := existing(t.destination)
	if err != nil {
		return err
	}
	for first := exists; ; first = false {
		info, err := os.Stat(above)
		if err != nil {
			return err
		}
		if os.SameFile(info, source) {
			if first {
				return errors.New("source and destination are the same folder")
			}
			return errors.New("the destination is inside the source")
		}
		parent := filepath.Dir(above)
		if parent == above {
			break
		}
		above = parent
	}
	if !exists {
		return nil
	}
	destination, err := os.Stat(t.destination)
	if err != nil {
		return err
	}
	path, err := filepath.EvalSymlinks(t.source)
	if err != nil {
		return err
	}
	for parent := filepath.Dir(path); parent != path; path, parent = parent, filepath.Dir(parent) {
		info, err := os.Stat(parent)
		if err != nil {
			return err
		}
		if os.SameFile(info, destination) {
			return errors.New("the source is inside the destination")
		}
	}
	return nil
}

// existing returns the path, without symbolic links, of the deepest folder above a path that exists, or of the path itself.
func existing(path string) (string, error) {
	for {
		real, err := filepath.EvalSymlinks(path)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || filepath.Dir(path) == path {
			return real, err
		}
		path = filepath.Dir(path)
	}
}

// copy copies the folder. A new one appears when it is complete; into one that exists, files are put one by one.
func (t transfer) copy(ctx context.Context, exists bool, how treeCopy) error {
	real, err := filepath.EvalSymlinks(t.source)
	if err != nil {
		return err
	}
	from, err := openFolder(real)
	if err != nil {
		return err
	}
	defer from.Close()
	if exists {
		to, err := os.OpenRoot(t.destination)
		if err != nil {
			return err
		}
		defer to.Close()
		return how.copy(ctx, from, to)
	}
	info, err := from.Stat(".")
	if err != nil {
		return err
	}
	parent, err := makeFolder(filepath.Dir(t.destination))
	if err != nil {
		return err
	}
	defer parent.Close()
	temporary := temporaryName()
	how.fresh = true
	err = how.copyNew(ctx, from, parent, temporary, info)
	if err == nil {
		err = parent.Rename(temporary, filepath.Base(t.destination))
	}
	if err != nil {
		return errors.Join(err, parent.RemoveAll(temporary))
	}
	return nil
}

func (c treeCopy) copyNew(ctx context.Context, from, parent *os.Root, name string, info fs.FileInfo) error {
	if err := parent.Mkdir(name, 0o700); err != nil {
		return err
	}
	to, err := parent.OpenRoot(name)
	if err != nil {
		return err
	}
	defer to.Close()
	if err := c.copy(ctx, from, to); err != nil {
		return err
	}
	return c.finish(to, info)
}

// makeFolder opens a folder that is made when it is missing.
func makeFolder(path string) (*os.Root, error) {
	if err := os.MkdirAll(path, 0o777); err != nil {
		return nil, err
	}
	return os.OpenRoot(path)
}

// removeFolder removes a folder with all that is in it. A symbolic link in its place is removed itself.
func removeFolder(path string) error {
	parent, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(parent.RemoveAll(filepath.Base(path)), parent.Close())
}

// describe says what kind of special file something is.
func describe(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return fmt.Sprintf("no file, folder or link (%s)", mode.Type())
}
