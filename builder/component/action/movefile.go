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

// MoveFile moves or renames files, as mv does. Missing parent folders are made.
//
//   - The destination is the new file. If it ends in a slash it is a folder, in which the file keeps its name.
//   - The last part of the source may contain * for any number of characters; then the destination must end in a slash, and it is an error
//     if no file matches. Folders do not match.
//   - A file at the destination is replaced in one step. A symbolic link there is replaced itself, not what it points to.
//   - A symbolic link is moved itself, with its text unchanged.
//   - To another file system the file is copied with its permissions, time, and owner where that may be set. It appears there when it is
//     complete; then the source is deleted.
//
// For example:
//
//	steps:
//	  - name: Binary
//	    action: MoveFile
//	    inputs:
//	      - source: /tmp/app
//	        destination: /usr/local/bin/
type MoveFile struct {
	// Source is the file to move.
	Source string `input:"source,required"`
	// Destination is the new file, or a folder with a slash at its end.
	Destination string `input:"destination,required"`
	// Overwrite false makes it an error that the destination exists.
	Overwrite bool `input:"overwrite" default:"true"`
}

// CheckInputs implements [component.InputsChecker].
func (in *MoveFile) CheckInputs(report func(input, message, hint string)) {
	checkTransfer(in.Source, in.Destination, false, report)
}

// Run implements [component.Action].
func (in MoveFile) Run(ctx context.Context, x *component.Execution) (component.Outcome, error) {
	sources, err := matchFiles(x.Path(in.Source))
	if err == nil && len(sources) == 0 {
		err = errors.New("no file matches")
	}
	if err != nil {
		return component.Outcome{}, fmt.Errorf("move file %s: %w", in.Source, err)
	}
	for _, source := range sources {
		destination := x.Path(in.Destination)
		if isFolder(in.Destination) {
			destination = filepath.Join(destination, filepath.Base(source))
		}
		if err := in.move(ctx, source, destination); err != nil {
			return component.Outcome{}, fmt.Errorf("move file %s to %s: %w", x.DocumentPath(source), x.DocumentPath(destination), err)
		}
	}
	return component.Outcome{}, nil
}

func (in MoveFile) move(ctx context.Context, source, destination string) error {
	info, err := os.Lstat(source)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return errors.New("it is a folder")
	}
	if there, err := os.Lstat(destination); err == nil {
		switch {
		case !in.Overwrite:
			return errors.New("the destination exists, and overwrite is false")
		case there.IsDir():
			return errors.New("the destination is a folder; end it with a slash to move into it")
		case os.SameFile(info, there):
			return errors.New("source and destination are the same file")
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(destination), 0o777); err != nil {
		return err
	}
	err = os.Rename(source, destination)
	if err == nil || !crossesFileSystems(err) {
		return err
	}
	if err := copyAcross(ctx, source, destination, info); err != nil {
		return err
	}
	return os.Remove(source)
}

// copyAcross copies a file or link to another file system, where it appears when it is complete.
func copyAcross(ctx context.Context, source, destination string, info fs.FileInfo) error {
	from, err := os.OpenRoot(filepath.Dir(source))
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenRoot(filepath.Dir(destination))
	if err != nil {
		return err
	}
	defer to.Close()
	temporary := temporaryName()
	how := treeCopy{fresh: true, times: true}
	switch {
	case info.Mode().IsRegular():
		err = how.file(ctx, from, to, filepath.Base(source), temporary)
	case info.Mode()&fs.ModeSymlink != 0:
		err = how.link(from, to, filepath.Base(source), temporary, info)
	default:
		return errors.New("it is " + describe(info.Mode()) + " and cannot be copied to another file system")
	}
	if err == nil {
		err = to.Rename(temporary, filepath.Base(destination))
	}
	if err != nil {
		return errors.Join(err, to.RemoveAll(temporary))
	}
	return nil
}
