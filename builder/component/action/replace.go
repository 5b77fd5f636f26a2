package action

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// replaceFile writes a file beside path and puts it there when it is complete. A link at path is followed. Parents are made.
func replaceFile(path string, overwrite bool, write func(*os.File) error) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	if _, err := os.Lstat(path); err == nil {
		if !overwrite {
			return errors.New("the destination exists, and overwrite is false")
		}
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
		}
		if err := mustBeFile(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(errors.New("the destination cannot be replaced"), err)
		}
	}
	file, err := os.OpenFile(filepath.Join(filepath.Dir(path), ".ingot-"+rand.Text()), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	if err := errors.Join(write(file), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
