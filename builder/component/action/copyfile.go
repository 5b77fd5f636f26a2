package action

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ingot-image/ingot/builder/component"
)

// CopyFile copies files with their permissions. Missing parent folders are made. A destination that ends in a slash is a folder, in which
// the file keeps its name. The last part of the source may contain * for any number of characters; then the destination must be a
// folder, and it is an error if no file matches. Symbolic links are copied as the files they point to. The destination is either the whole
// new file or what was there before, never a part.
//
//	steps:
//	  - name: Config
//	    action: CopyFile
//	    inputs:
//	      - source: /tmp/config/*.conf
//	        destination: /etc/app/
type CopyFile struct {
	// Source is the file to copy.
	Source string `input:"source,required"`
	// Destination is the new file, or a folder with a slash at its end.
	Destination string `input:"destination,required"`
	// Overwrite false makes it an error that the destination exists.
	Overwrite bool `input:"overwrite" default:"true"`
}

// CheckInputs implements [component.InputsChecker].
func (in *CopyFile) CheckInputs(report func(input, message, hint string)) {
	if err := checkPattern(in.Source); err != nil {
		report("source", err.Error(), "")
	}
	if hasWildcard(in.Source) && !isFolder(in.Destination) {
		report("destination", "must be a folder when the source contains *", "end it with a slash")
	}
	if hasWildcard(in.Destination) {
		report("destination", "must not contain *", "")
	}
}

// Run implements [component.Action].
func (in CopyFile) Run(ctx context.Context, x *component.Execution) (component.Outcome, error) {
	sources, err := matchFiles(x.Path(in.Source))
	if err == nil && len(sources) == 0 {
		err = errors.New("no file matches")
	}
	if err != nil {
		return component.Outcome{}, fmt.Errorf("copy file %s: %w", in.Source, err)
	}
	for _, source := range sources {
		destination := x.Path(in.Destination)
		if isFolder(in.Destination) {
			destination = filepath.Join(destination, filepath.Base(source))
		}
		if err := copyFile(ctx, source, destination, in.Overwrite); err != nil {
			return component.Outcome{}, fmt.Errorf("copy file %s to %s: %w", x.DocumentPath(source), x.DocumentPath(destination), err)
		}
	}
	return component.Outcome{}, nil
}

func copyFile(ctx context.Context, source, destination string, overwrite bool) error {
	if err := mustBeFile(source); err != nil {
		return err
	}
	file, err := os.Open(source)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	const kept = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
	return replaceFile(destination, overwrite, func(w *os.File) error {
		if _, err := io.Copy(w, component.ContextReader(ctx, file)); err != nil {
			return err
		}
		return w.Chmod(info.Mode() & kept)
	})
}
