package action

import (
	"context"
	"fmt"
	"io/fs"
	"os"

	"github.com/ingot-image/ingot/builder/component"
)

// SetFolderOwner changes owner and group of a folder, and of all that is in it unless recursive is false. Linux and macOS.
//
// Symbolic links in the folder get the new owner themselves; they are never followed. With recursive, the folder itself must not be a link;
// without, it may be one, and the folder that it leads to is changed.
//
//	steps:
//	  - name: Owner
//	    action: SetFolderOwner
//	    inputs:
//	      - path: /srv/app
//	        owner: www-data
type SetFolderOwner struct {
	// Path of the folder.
	Path string `input:"path,required"`
	// Owner is the name or number of a user.
	Owner string `input:"owner,required"`
	// Group is the name or number of a group. Default: the user's group.
	Group string `input:"group"`
	// Recursive false changes only the folder itself.
	Recursive bool `input:"recursive" default:"true"`
}

// CheckInputs implements [component.InputsChecker].
func (in *SetFolderOwner) CheckInputs(report func(input, message, hint string)) {
	checkPlainFolder(in.Path, report)
}

// Run implements [component.Action].
func (in SetFolderOwner) Run(ctx context.Context, x *component.Execution) (component.Outcome, error) {
	if err := in.change(ctx, x.Path(in.Path)); err != nil {
		return component.Outcome{}, fmt.Errorf("set owner of folder %s: %w", in.Path, err)
	}
	return component.Outcome{}, nil
}

func (in SetFolderOwner) change(ctx context.Context, path string) error {
	uid, gid, err := lookupOwner(in.Owner, in.Group)
	if err != nil {
		return err
	}
	return changeFolder(ctx, path, in.Recursive, func(folder *os.Root, name string, _ fs.FileInfo) error {
		return folder.Lchown(name, uid, gid)
	})
}

// changeFolder calls change for a folder, before that for all that is in it if recursive.
func changeFolder(ctx context.Context, path string, recursive bool, change visit) error {
	if recursive {
		folder, err := openFolder(path)
		if err != nil {
			return err
		}
		defer folder.Close()
		return visitTree(ctx, folder, change)
	}
	folder, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	defer folder.Close()
	info, err := folder.Stat(".")
	if err != nil {
		return err
	}
	return inFolder(folder, ".", change(folder, ".", info))
}
