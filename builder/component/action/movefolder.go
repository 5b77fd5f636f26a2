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

// MoveFolder moves folders with all that is in them. Missing parent folders are made.
//
//   - The destination is the new folder. If it ends in a slash it is the folder in which the new one gets the name of the source.
//   - The last part of the source may contain * for any number of characters; then the destination must end in a slash, and it is an error
//     if no folder matches.
//   - A destination that exists is kept, and the source's files are put into it, as by CopyFolder; then the source is deleted.
//   - A new folder appears when it is complete, also on another file system. There everything is copied as by CopyFolder, times included,
//     and the source is deleted when all is there. Named pipes, sockets and devices cannot be copied, so they are an error then, and
//     nothing is deleted.
//   - Symbolic links are moved as they are, and never followed. The source itself must not be a link: that is for MoveFile.
//   - Neither folder may be inside the other. Folders that DeleteFolder refuses are refused here, too.
//
// For example:
//
//	steps:
//	  - name: Release
//	    action: MoveFolder
//	    inputs:
//	      - source: /tmp/unpacked/app-1.2
//	        destination: /opt/app
type MoveFolder struct {
	// Source is the folder to move.
	Source string `input:"source,required"`
	// Destination is the new folder, or the one to put it into with a slash at its end.
	Destination string `input:"destination,required"`
	// Overwrite false makes it an error that the destination exists.
	Overwrite bool `input:"overwrite" default:"true"`
}

// CheckInputs implements [component.InputsChecker].
func (in *MoveFolder) CheckInputs(report func(input, message, hint string)) {
	checkTransfer(in.Source, in.Destination, true, report)
}

// Run implements [component.Action].
func (in MoveFolder) Run(ctx context.Context, x *component.Execution) (component.Outcome, error) {
	transfers, err := folderTransfers(x, in.Source, in.Destination, in.Overwrite)
	if err != nil {
		return component.Outcome{}, fmt.Errorf("move folder %s: %w", in.Source, err)
	}
	for _, t := range transfers {
		if err := t.move(ctx, x); err != nil {
			return component.Outcome{}, fmt.Errorf("move folder %s to %s: %w", x.DocumentPath(t.source), x.DocumentPath(t.destination), err)
		}
	}
	return component.Outcome{}, nil
}

func (t transfer) move(ctx context.Context, x *component.Execution) error {
	info, err := os.Lstat(t.source)
	if err != nil {
		return err
	}
	if err := mustBeFolder(info); err != nil {
		return err
	}
	if err := mustBeExpendable(x, t.source, info); err != nil {
		return err
	}
	exists, err := t.check()
	if err != nil {
		return err
	}
	if !exists {
		if err := os.MkdirAll(filepath.Dir(t.destination), 0o777); err != nil {
			return err
		}
		err := os.Rename(t.source, t.destination)
		if err == nil || !crossesFileSystems(err) {
			return err
		}
	}
	how := treeCopy{times: true, special: func(path string, info fs.FileInfo) error {
		return errors.New("it is " + describe(info.Mode()) + " and cannot be copied")
	}}
	if err := t.copy(ctx, exists, how); err != nil {
		return err
	}
	return removeFolder(t.source)
}
