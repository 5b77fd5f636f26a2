package action

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/ingot-image/ingot/builder/component"
)

// CreateFolder makes a folder, and the parents it lacks. A folder that exists keeps what is in it, and gets the owner and permissions that
// are given. (The service's documentation says it is overwritten; nothing is deleted here.)
//
//	steps:
//	  - name: Data
//	    action: CreateFolder
//	    inputs:
//	      - path: /srv/data
//	        owner: www-data
//	        permissions: 0750
type CreateFolder struct {
	// Path of the folder.
	Path string `input:"path,required"`
	Ownership
	// Overwrite false makes it an error that the folder exists.
	Overwrite bool `input:"overwrite" default:"true"`
}

// Run implements [component.Action].
func (in CreateFolder) Run(_ context.Context, x *component.Execution) (component.Outcome, error) {
	if err := in.create(x.Path(in.Path)); err != nil {
		return component.Outcome{}, fmt.Errorf("create folder %s: %w", in.Path, err)
	}
	return component.Outcome{}, nil
}

func (in CreateFolder) create(path string) error {
	apply, err := in.Ownership.resolve()
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path); err == nil && !in.Overwrite {
		return errors.New("it exists, and overwrite is false")
	}
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	if in.Ownership == (Ownership{}) {
		return nil
	}
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(apply(folder), folder.Close())
}
