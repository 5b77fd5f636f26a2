package action

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/ingot-image/ingot/builder/component"
)

// CopyFolder copies folders with all that is in them. Missing parent folders are made.
//
//   - The destination is the new folder. If it ends in a slash it is the folder in which the new one gets the name of the source.
//   - The last part of the source may contain * for any number of characters; then the destination must end in a slash, and it is an error
//     if no folder matches.
//   - A destination that exists is kept, and the source's files are put into it: files of the same name are replaced, others stay, folders
//     that were there keep their owner and permissions. A new folder appears when it is complete.
//   - Permissions are kept, and owners where the user that runs the documents may set them, as root may. Holes in files stay holes.
//     Times, extended attributes and hard links are not kept.
//   - Symbolic links are copied as links, and never followed, neither in the source nor in the destination. The source itself may be a link
//     to a folder.
//   - Named pipes, sockets and devices are left out, which the step's output notes.
//   - Neither folder may be inside the other.
//
// For example:
//
//	steps:
//	  - name: Site
//	    action: CopyFolder
//	    inputs:
//	      - source: /tmp/site
//	        destination: /var/www/
type CopyFolder struct {
	// Source is the folder to copy.
	Source string `input:"source,required"`
	// Destination is the new folder, or the one to put it into with a slash at its end.
	Destination string `input:"destination,required"`
	// Overwrite false makes it an error that the destination exists.
	Overwrite bool `input:"overwrite" default:"true"`
}

// CheckInputs implements [component.InputsChecker].
func (in *CopyFolder) CheckInputs(report func(input, message, hint string)) {
	checkTransfer(in.Source, in.Destination, true, report)
}

// Run implements [component.Action].
func (in CopyFolder) Run(ctx context.Context, x *component.Execution) (component.Outcome, error) {
	transfers, err := folderTransfers(x, in.Source, in.Destination, in.Overwrite)
	if err != nil {
		return component.Outcome{}, fmt.Errorf("copy folder %s: %w", in.Source, err)
	}
	how := treeCopy{special: func(path string, info fs.FileInfo) error {
		x.Notice(fmt.Sprintf("%s is %s and not copied", x.DocumentPath(path), describe(info.Mode())))
		return nil
	}}
	for _, t := range transfers {
		exists, err := t.check()
		if err == nil {
			err = t.copy(ctx, exists, how)
		}
		if err != nil {
			return component.Outcome{}, fmt.Errorf("copy folder %s to %s: %w", x.DocumentPath(t.source), x.DocumentPath(t.destination), err)
		}
	}
	return component.Outcome{}, nil
}
