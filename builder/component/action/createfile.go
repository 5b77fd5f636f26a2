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

// CreateFile writes a file. Missing parent folders are made. A file that exists is replaced in place: it keeps its owner and permissions
// unless others are given, and a symbolic link is followed.
//
//	steps:
//	  - name: Page
//	    action: CreateFile
//	    inputs:
//	      - path: /var/www/html/index.html
//	        content: |
//	          <h1>Hello</h1>
//	        owner: www-data
//	        permissions: 0640
type CreateFile struct {
	// Path of the file.
	Path string `input:"path,required"`
	// Content is the text to write. Default: none.
	Content string `input:"content"`
	// Encoding of the file.
	Encoding Encoding `input:"encoding" default:"utf-8"`
	Ownership
	// Overwrite false makes it an error that the file exists.
	Overwrite bool `input:"overwrite" default:"true"`
}

// Run implements [component.Action].
func (in CreateFile) Run(_ context.Context, x *component.Execution) (component.Outcome, error) {
	return component.Outcome{}, in.create(x)
}

func (in CreateFile) create(x *component.Execution) error {
	apply, err := in.Ownership.resolve()
	if err != nil {
		return fmt.Errorf("create file %s: %w", in.Path, err)
	}
	file, err := in.open(x.Path(in.Path))
	if err != nil {
		return fmt.Errorf("create file %s: %w", in.Path, spelled(err, x, in.Path))
	}
	if in.Content != "" {
		_, err = file.Write(in.Encoding.encode(in.Content))
	}
	if err == nil {
		err = apply(file)
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("create file %s: %w", in.Path, spelled(err, x, in.Path))
	}
	return nil
}

// open opens the empty file. A new one, the usual case, takes a single system call. Who may not read the file in the end may not do so
// before.
func (in CreateFile) open(path string) (*os.File, error) {
	perm := fs.FileMode(0o666)
	if in.Permissions.set {
		perm = in.Permissions.mode.Perm()
	}
	const flags = os.O_WRONLY | os.O_CREATE
	file, err := os.OpenFile(path, flags|os.O_EXCL, perm)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			return nil, err
		}
		file, err = os.OpenFile(path, flags|os.O_EXCL, perm)
	}
	if !errors.Is(err, fs.ErrExist) {
		return file, err
	}
	if !in.Overwrite {
		return nil, errors.New("it exists, and overwrite is false")
	}
	if err := mustBeFile(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	file, err = os.OpenFile(path, flags|os.O_TRUNC, perm)
	if err != nil || !in.Permissions.set {
		return file, err
	}
	if err := file.Chmod(perm); err != nil {
		return nil, errors.Join(fmt.Errorf("set the permissions: %w", err), file.Close())
	}
	return file, nil
}

// mustBeFile refuses what is no regular file, after symbolic links: opening a pipe would block, writing a device would not end.
func mustBeFile(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return errors.New("it is a folder")
	case !info.Mode().IsRegular():
		return errors.New("it is no regular file")
	}
	return nil
}
