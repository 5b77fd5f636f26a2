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

// CreateSymlink makes a symbolic link. Linux and macOS.
//
//   - The target must exist, file or folder. A relative target starts at the working directory, as every path does, and the link gets the
//     absolute path. If nothing is there it starts at the folder of the link, and becomes the link's text as it is, as with ln -s.
//   - Missing parent folders of the link are made. A relative path starts at the working directory.
//   - A link that exists is an error, unless force is true: then it is replaced in one step.
//   - Anything else at the path, a file or folder, is an error in any case.
//
// For example:
//
//	steps:
//	  - name: Current
//	    action: CreateSymlink
//	    inputs:
//	      - path: /opt/app/current
//	        target: /opt/app/1.2
//	        force: true
type CreateSymlink struct {
	// Path of the link.
	Path string `input:"path,required"`
	// Target is what the link leads to.
	Target string `input:"target,required"`
	// Force replaces a link that exists.
	Force bool `input:"force" default:"false"`
}

// Run implements [component.Action].
func (in CreateSymlink) Run(_ context.Context, x *component.Execution) (component.Outcome, error) {
	if err := in.create(x); err != nil {
		return component.Outcome{}, fmt.Errorf("create symlink %s: %w", in.Path, err)
	}
	return component.Outcome{}, nil
}

func (in CreateSymlink) create(x *component.Execution) error {
	path := x.Path(in.Path)
	there, err := os.Lstat(path)
	exists := err == nil
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case exists && there.Mode()&fs.ModeSymlink == 0:
		return errors.New("what is there is no symbolic link, so it is not replaced")
	case exists && !in.Force:
		return errors.New("the link exists, and force is false")
	}
	text, err := in.text(x, path)
	if err != nil {
		return fmt.Errorf("look at the target: %w", err)
	}
	parent, err := makeFolder(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer parent.Close()
	if !exists {
		return parent.Symlink(text, filepath.Base(path))
	}
	temporary := temporaryName()
	if err := parent.Symlink(text, temporary); err != nil {
		return err
	}
	if err := parent.Rename(temporary, filepath.Base(path)); err != nil {
		return errors.Join(err, parent.Remove(temporary))
	}
	return nil
}

// text is what the link at path holds.
func (in CreateSymlink) text(x *component.Execution, path string) (string, error) {
	_, err := os.Stat(x.Path(in.Target))
	switch {
	case filepath.IsAbs(in.Target):
		return in.Target, err
	case err == nil:
		return x.DocumentPath(x.Path(in.Target)), nil
	}
	_, err = os.Stat(filepath.Join(filepath.Dir(path), in.Target))
	return in.Target, err
}
