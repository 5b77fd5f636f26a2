package action

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ingot-image/ingot/builder/component"
)

// CopyFile copies files. Missing parent folders are made.
//
//   - The destination is the new file. If it ends in a slash it is a folder, in which the file keeps its name.
//   - The last part of the source may contain * for any number of characters; then the destination must end in a slash, and it is an error
//     if no file matches. Folders do not match.
//   - Symbolic links are copied as the files they lead to. A link at the destination is followed.
//   - The copy is either complete or not there: what was at the destination before is replaced in one step.
//   - Permissions are kept, and the owner where the user that runs the documents may set it, as root may; elsewhere a copy is not setuid
//     or setgid. Holes stay holes. Times, extended attributes and hard links are not kept.
//
// For example:
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
	checkTransfer(in.Source, in.Destination, false, report)
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
	file, err := openSource(ctx, source)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	return replaceFile(destination, overwrite, func(w *os.File) error {
		if err := copyContent(ctx, w, file); err != nil {
			return err
		}
		return makeLike(w, info)
	})
}
