package action

import (
	"context"
	"fmt"
	"os"

	"github.com/ingot-image/ingot/builder/component"
)

// SetFileOwner changes owner and group of a file, as chown does. Of a symbolic link it changes the file that it points to. Linux and macOS.
//
//	steps:
//	  - name: Owner
//	    action: SetFileOwner
//	    inputs:
//	      - path: /srv/app/data.db
//	        owner: www-data
type SetFileOwner struct {
	// Path of the file.
	Path string `input:"path,required"`
	// Owner is the name or number of a user.
	Owner string `input:"owner,required"`
	// Group is the name or number of a group. Default: the user's group.
	Group string `input:"group"`
}

// Run implements [component.Action].
func (in SetFileOwner) Run(_ context.Context, x *component.Execution) (component.Outcome, error) {
	path := x.Path(in.Path)
	err := mustBeFile(path)
	if err == nil {
		err = in.chown(path)
	}
	if err != nil {
		return component.Outcome{}, fmt.Errorf("set owner of file %s: %w", in.Path, err)
	}
	return component.Outcome{}, nil
}

func (in SetFileOwner) chown(path string) error {
	uid, gid, err := lookupOwner(in.Owner, in.Group)
	if err != nil {
		return err
	}
	return os.Chown(path, uid, gid)
}
