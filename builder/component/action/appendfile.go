package action

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/ingot-image/ingot/builder/component"
)

// AppendFile adds text to the end of a file, which must exist.
//
//	steps:
//	  - name: Hosts
//	    action: AppendFile
//	    inputs:
//	      - path: /etc/hosts
//	        content: "10.0.0.1 registry\n"
type AppendFile struct {
	// Path of the file.
	Path string `input:"path,required"`
	// Content is the text to add. Default: none.
	Content string `input:"content"`
	// Encoding of the file.
	Encoding Encoding `input:"encoding" default:"utf-8"`
}

// Run implements [component.Action].
func (in AppendFile) Run(_ context.Context, x *component.Execution) (component.Outcome, error) {
	path := x.Path(in.Path)
	if err := mustBeFile(path); err != nil {
		return component.Outcome{}, fmt.Errorf("append to file %s: %w", in.Path, spelled(err, x, in.Path))
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return component.Outcome{}, fmt.Errorf("append to file %s: %w", in.Path, spelled(err, x, in.Path))
	}
	_, err = file.Write(in.Encoding.encode(in.Content))
	if err := errors.Join(err, file.Close()); err != nil {
		return component.Outcome{}, fmt.Errorf("append to file %s: %w", in.Path, spelled(err, x, in.Path))
	}
	return component.Outcome{}, nil
}
