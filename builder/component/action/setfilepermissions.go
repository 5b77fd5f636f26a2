package action

import (
	"context"
	"fmt"
	"os"

	"github.com/ingot-image/ingot/builder/component"
)

// SetFilePermissions changes the permissions of a file, as chmod does. A symbolic link is followed. Linux and macOS.
//
//	steps:
//	  - name: Executable
//	    action: SetFilePermissions
//	    inputs:
//	      - path: /usr/local/bin/app
//	        permissions: 0755
type SetFilePermissions struct {
	// Path of the file.
	Path string `input:"path,required"`
	// Permissions are octal digits such as 0755.
	Permissions Permissions `input:"permissions,required"`
}

// Run implements [component.Action].
func (in SetFilePermissions) Run(_ context.Context, x *component.Execution) (component.Outcome, error) {
	path := x.Path(in.Path)
	err := mustBeFile(path)
	if err == nil {
		err = os.Chmod(path, in.Permissions.mode)
	}
	if err != nil {
		return component.Outcome{}, fmt.Errorf("set permissions of file %s: %w", in.Path, err)
	}
	return component.Outcome{}, nil
}
