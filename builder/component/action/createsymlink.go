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
//   - The target must exist, file or folder. A relative target becomes the link's text as it is, so it starts at the folder of the link, as
//     with ln -s.
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
	target := filepath.Join(filepath.Dir(path), in.Target)
	if filepath.IsAbs(in.Target) {
		target = x.Path(in.Target)
	}
	if _, err := os.Stat(target); err != nil {
		return fmt.Errorf("look at the target: %w", err)
	}
	parent, err := makeFolder(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer parent.Close()
	if !exists {
		return parent.Symlink(in.Target, filepath.Base(path))
	}
	temporary := temporaryName()
	if err := parent.Symlink(in.Target, temporary); err != nil {
		return err
	}
	if err := parent.Rename(temporary, filepath.Base(path)); err != nil {
		return errors.Join(err, parent.Remove(temporary))
	}
	return nil
}
