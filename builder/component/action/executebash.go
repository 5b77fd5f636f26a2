package action

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/ingot-image/ingot/builder/component"
)

// ExecuteBash runs commands with bash. All commands are one script, run in the working directory: variables and the current folder last
// from one to the next, and the exit status is that of the last one, unless the script says set -e or exits earlier.
//
//   - exit status 0: the step succeeds
//   - exit status 194: the machine reboots, then the step runs again from the start
//   - any other: the step fails
//
// The output stdout is what the commands printed there, without line feeds at the end.
//
//	steps:
//	  - name: InstallNginx
//	    action: ExecuteBash
//	    inputs:
//	      commands:
//	        - set -eu
//	        - apt-get install -y nginx
type ExecuteBash struct {
	// Commands are the lines of the script. Each may have several lines itself.
	Commands []string `input:"commands,required"`
}

// Run implements [component.Action].
func (in ExecuteBash) Run(ctx context.Context, x *component.Execution) (_ component.Outcome, err error) {
	// The working directory is often /tmp, where anybody may put an input.sh or a link of that name: hence the folder.
	dir, err := os.MkdirTemp(x.Path(x.WorkingDirectory), "ingot-step-")
	if err != nil {
		return component.Outcome{}, fmt.Errorf("make a folder for the script: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	script := filepath.Join(dir, "input.sh")
	if err := os.WriteFile(script, []byte(strings.Join(in.Commands, "\n")+"\n"), 0o700); err != nil {
		return component.Outcome{}, fmt.Errorf("write the script: %w", err)
	}
	// The working directory may be on a file system mounted noexec, so bash reads the script.
	return commandOutcome(x, x.Run(ctx, "bash", script))
}

// commandOutcome is the outcome of a step that is one command.
func commandOutcome(x *component.Execution, err error) (component.Outcome, error) {
	outcome := component.Outcome{Outputs: map[string]string{"stdout": x.CapturedStdout()}}
	if exit, ok := errors.AsType[*component.ExitError](err); ok && exit.Code == rebootExitCode {
		outcome.Reboot = &component.RebootRequest{Rerun: true}
		return outcome, nil
	}
	return outcome, err
}
