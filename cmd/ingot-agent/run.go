package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/action"
)

// runDocuments is `ingot-agent run`: it runs documents on this machine, prints every event as a line of JSON and, as the last line, the
// result or an error. It returns the exit status: 0, 1 for a failure, 194 (on Windows 3010) when the machine must be rebooted; the
// same command then goes on with the run, if it names a file for the state.
func runDocuments(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	lines := json.NewEncoder(stdout)
	lines.SetEscapeHTML(false)
	result, err := run(ctx, args, stderr, func(e component.Event) { lines.Encode(e) })
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		lines.Encode(map[string]string{"error": err.Error()})
		return 1
	}
	lines.Encode(map[string]*component.Result{"result": result})
	switch result.Status {
	case component.StatusReboot:
		return rebootExitCode
	case component.StatusSuccess:
		return 0
	}
	return 1
}

func run(ctx context.Context, args []string, stderr io.Writer, events func(component.Event)) (*component.Result, error) {
	flags := flag.NewFlagSet("ingot-agent run", flag.ContinueOnError)
	flags.SetOutput(stderr)
	documents := flags.String("d", "", "component documents to run, `FILE[,FILE]`")
	phases := flags.String("phases", "", "phases to run, `NAME[,NAME]`; default: all")
	parameters := flags.String("parameters", "", "values of parameters, `NAME=VALUE[,NAME=VALUE]`")
	workingDirectory := flags.String("working-directory", "", "`FOLDER` that commands run in")
	stateFile := flags.String("state", "", "`FILE` that keeps the state of a run that waits for a reboot")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if *documents == "" || flags.NArg() > 0 {
		return nil, errors.New("run: name the documents with -d FILE[,FILE], and nothing else")
	}
	request := component.Request{Phases: split(*phases), WorkingDirectory: *workingDirectory}
	values := make(map[string]string)
	for _, p := range split(*parameters) {
		name, value, ok := strings.Cut(p, "=")
		if !ok {
			return nil, fmt.Errorf("run: parameter %q is not NAME=VALUE", p)
		}
		values[name] = value
	}
	for _, file := range split(*documents) {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("run: %w", err)
		}
		request.Documents = append(request.Documents, component.RunDocument{Path: file, Content: content, Parameters: values})
	}
	if err := readState(*stateFile, &request); err != nil {
		return nil, err
	}
	runner := &component.Runner{Modules: action.Modules(), Events: events}
	result, err := runner.Run(ctx, request)
	if err != nil {
		return nil, err
	}
	return result, writeState(*stateFile, result)
}

func split(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

// readState makes a request go on with the run that the file tells of, if there is one.
func readState(file string, request *component.Request) error {
	if file == "" {
		return nil
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("run: read the state: %w", err)
	}
	request.Resume = new(component.State)
	if err := json.Unmarshal(data, request.Resume); err != nil {
		return fmt.Errorf("run: state %s: %w", file, err)
	}
	return nil
}

// writeState keeps the state of a run that waits for a reboot, and removes that of one which has ended.
func writeState(file string, result *component.Result) error {
	switch {
	case file == "":
		return nil
	case result.State == nil:
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("run: remove the state: %w", err)
		}
		return nil
	}
	data, err := json.Marshal(result.State)
	if err == nil {
		err = os.WriteFile(file+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(file+".new", file)
	}
	if err != nil {
		return fmt.Errorf("run: keep the state: %w", err)
	}
	return nil
}
