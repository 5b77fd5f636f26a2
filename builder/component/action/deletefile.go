package action

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/ingot-image/ingot/builder/component"
)

// DeleteFile deletes files. The last part of the path may contain * for any number of characters. A symbolic link is deleted itself, not
// what it points to. That there is no such file is no error, but noted in the output; a folder is an error.
//
//	steps:
//	  - name: Logs
//	    action: DeleteFile
//	    inputs:
//	      - path: /var/log/app/*.log
type DeleteFile struct {
	// Path of the file.
	Path string `input:"path,required"`
}

// CheckInputs implements [component.InputsChecker].
func (in *DeleteFile) CheckInputs(report func(input, message, hint string)) {
	if err := checkPattern(in.Path); err != nil {
		report("path", err.Error(), "")
	}
}

// Run implements [component.Action].
func (in DeleteFile) Run(_ context.Context, x *component.Execution) (component.Outcome, error) {
	files, err := matchFiles(x.Path(in.Path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return component.Outcome{}, fmt.Errorf("delete file %s: %w", in.Path, err)
	}
	deleted := 0
	for _, file := range files {
		info, err := os.Lstat(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && info.IsDir() {
			err = errors.New("it is a folder")
		}
		if err == nil {
			err = os.Remove(file)
		}
		if err != nil {
			return component.Outcome{}, fmt.Errorf("delete file %s: %w", x.DocumentPath(file), err)
		}
		deleted++
	}
	if deleted == 0 {
		x.Notice(fmt.Sprintf("there is no file %s to delete", in.Path))
	}
	return component.Outcome{}, nil
}
