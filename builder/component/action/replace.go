package action

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// replaceFile writes a file beside path and puts it there when it is complete. A link at path is followed. Parents are made. A file that
// is replaced hands its owner and permissions on, before write is called.
func replaceFile(path string, overwrite bool, write func(*os.File) error) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	if err := checkPlace(path, overwrite); err != nil {
		return err
	}
	before, err := os.Stat(path)
	if err == nil {
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(filepath.Join(filepath.Dir(path), temporaryName()), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	if before != nil {
		err = makeLike(file, before)
	}
	if err == nil {
		err = write(file)
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// checkPlace tells whether a file may be put at path.
func checkPlace(path string, overwrite bool) error {
	if _, err := os.Lstat(path); err != nil {
		return nil // whatever it is, writing tells
	}
	if !overwrite {
		return errors.New("the destination exists, and overwrite is false")
	}
	if err := mustBeFile(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(errors.New("the destination cannot be replaced"), err)
	}
	return nil
}
