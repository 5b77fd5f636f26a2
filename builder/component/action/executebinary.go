package action

import (
	"context"

	"github.com/ingot-image/ingot/builder/component"
)

// ExecuteBinary runs a program in the working directory, without a shell. Exit statuses and the output stdout are those of
// [ExecuteBash].
//
//	steps:
//	  - name: Install
//	    action: ExecuteBinary
//	    inputs:
//	      path: /tmp/installer
//	      arguments: [--yes, --quiet]
type ExecuteBinary struct {
	// Path is the program: a path, relative to the working directory, or a name that is found on PATH.
	Path string `input:"path,required"`
	// Arguments are passed as they are.
	Arguments []string `input:"arguments"`
}

// Run implements [component.Action].
func (in ExecuteBinary) Run(ctx context.Context, x *component.Execution) (component.Outcome, error) {
	return commandOutcome(x, x.Run(ctx, in.Path, in.Arguments...))
}
