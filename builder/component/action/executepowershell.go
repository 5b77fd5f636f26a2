package action

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/ingot-image/ingot/builder/component"
)

// ExecutePowerShell runs commands, or a script that is there already, with Windows PowerShell. All commands are one script, run by
// powershell -File in the working directory: variables and the current folder last from one to the next. The script ends with exit status 0
// unless it says exit, or an error terminates it; for an error of a cmdlet to do so, begin with $ErrorActionPreference = 'Stop'.
//
//   - exit status 0: the step succeeds
//   - exit status 3010: the machine reboots, then the step runs again from the start
//   - any other: the step fails
//
// The output stdout is what the script printed there, without line feeds at the end.
//
//	steps:
//	  - name: InstallIIS
//	    action: ExecutePowerShell
//	    inputs:
//	      commands:
//	        - $ErrorActionPreference = 'Stop'
//	        - Install-WindowsFeature -Name Web-Server
type ExecutePowerShell struct {
	// Commands are the lines of the script. Each may have several lines itself. Either commands or file must be given.
	Commands []string `input:"commands"`
	// File is the path of a script, whose name ends in .ps1.
	File string `input:"file"`
}

// CheckInputs implements [component.InputsChecker].
func (in *ExecutePowerShell) CheckInputs(report func(input, message, hint string)) {
	switch {
	case len(in.Commands) > 0 && in.File != "":
		report("file", "is given beside commands", "give one of them")
	case len(in.Commands) == 0 && in.File == "":
		report("commands", "is missing", "give commands, or the path of a script as file")
	case in.File != "" && !strings.EqualFold(filepath.Ext(in.File), ".ps1"):
		report("file", fmt.Sprintf("%q is no name of a PowerShell script", in.File), "it must end in .ps1")
	}
}

// Run implements [component.Action].
func (in ExecutePowerShell) Run(ctx context.Context, x *component.Execution) (component.Outcome, error) {
	if err := onlyOnWindows("ExecutePowerShell"); err != nil {
		return component.Outcome{}, err
	}
	if in.File == "" {
		return commandOutcome(x, runPowerShell(ctx, x, in.Commands...))
	}
	script := x.Path(in.File)
	if err := mustBeFile(script); err != nil {
		return component.Outcome{}, fmt.Errorf("run script %s: %w", in.File, err)
	}
	return commandOutcome(x, runPowerShellFile(ctx, x, script))
}

// onlyOnWindows is the error of an action that needs Windows, anywhere else.
func onlyOnWindows(action string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	return fmt.Errorf("%s runs on windows only, this is %s", action, runtime.GOOS)
}

// runPowerShell runs lines as one script.
func runPowerShell(ctx context.Context, x *component.Execution, lines ...string) (err error) {
	dir, err := os.MkdirTemp(x.Path(x.WorkingDirectory), "ingot-step-")
	if err != nil {
		return fmt.Errorf("make a folder for the script: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	script := filepath.Join(dir, "input.ps1")
	if err := os.WriteFile(script, powerShellScript(lines), 0o700); err != nil {
		return fmt.Errorf("write the script: %w", err)
	}
	return runPowerShellFile(ctx, x, script)
}

// powerShellScript is the content of a script's file. Windows PowerShell 5.1 reads a file as UTF-8 only if it begins with the byte order
// mark, and here-strings must end in a line of their own.
func powerShellScript(lines []string) []byte {
	text := strings.ReplaceAll(strings.Join(lines, "\n")+"\n", "\r\n", "\n")
	return []byte("\uFEFF" + strings.ReplaceAll(text, "\n", "\r\n"))
}

// runPowerShellFile runs a script in a fresh session, without profiles and questions, whatever policy for unsigned scripts is set.
func runPowerShellFile(ctx context.Context, x *component.Execution, script string) error {
	return x.Run(ctx, "powershell.exe", "-NoLogo", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-File", script)
}
