package action

import (
	"context"
	"fmt"
	"io/fs"
	"os"

	"github.com/ingot-image/ingot/builder/component"
)

// SetFolderPermissions changes the permissions of a folder, and of all that is in it unless recursive is false. Linux and macOS.
//
// Files and folders get the same permissions, as by chmod -R: folders need the x that makes files executable. Symbolic links in the folder
// have no permissions; they are left out and never followed. With recursive, the folder itself must not be a link; without, it may be one,
// and the folder that it leads to is changed. The umask plays no part.
//
//	steps:
//	  - name: Private
//	    action: SetFolderPermissions
//	    inputs:
//	      - path: /srv/app/keys
//	        permissions: 0700
type SetFolderPermissions struct {
	// Path of the folder.
	Path string `input:"path,required"`
	// Permissions are octal digits such as 0755.
	Permissions Permissions `input:"permissions,required"`
	// Recursive false changes only the folder itself.
	Recursive bool `input:"recursive" default:"true"`
}

// CheckInputs implements [component.InputsChecker].
func (in *SetFolderPermissions) CheckInputs(report func(input, message, hint string)) {
	checkPlainFolder(in.Path, report)
}

// Run implements [component.Action].
func (in SetFolderPermissions) Run(ctx context.Context, x *component.Execution) (component.Outcome, error) {
	err := changeFolder(ctx, x.Path(in.Path), in.Recursive, func(folder *os.Root, name string, info fs.FileInfo) error {
		if info.Mode()&fs.ModeSymlink != 0 {
			return nil
		}
		return folder.Chmod(name, in.Permissions.mode)
	})
	if err != nil {
		return component.Outcome{}, fmt.Errorf("set permissions of folder %s: %w", in.Path, err)
	}
	return component.Outcome{}, nil
}
