package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ingot-image/ingot/builder/component"
)

// Places are what differs from one run of a case to the next.
type Places struct {
	// Work is the working directory.
	Work string
	// Dir is the case's own folder. It is the parameter Dir, and <dir> in the expectation.
	Dir string
	// Server is the URL of a web server for the folder of all cases. It is the parameter Server, and <server> in the expectation.
	Server string
	// Pauses makes the run pause between all of its steps, which must make no difference.
	Pauses bool
}

// Prepare makes the folder that a case runs in, with the case's files.
func (c Case) Prepare(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("prepare the case: %w", err)
	}
	if _, err := os.Stat(c.Files()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := os.CopyFS(dir, os.DirFS(c.Files())); err != nil {
		return fmt.Errorf("prepare the case: %w", err)
	}
	return nil
}

// Run runs a case on the given machine, and returns the detail decoded from JSON, as
// [Compare] takes it. Reboots the case asks for are not done: the run goes on at once, from a state that went through JSON.
//
// The error is of type [component.Problems] when the documents are wrong.
func (c Case) Run(ctx context.Context, modules component.Modules, system component.System, at Places) (any, error) {
	request := component.Request{Phases: c.Phases, WorkingDirectory: at.Work, PauseAfterDocument: at.Pauses}
	if at.Pauses {
		request.PauseAfterMS = 1
	}
	for i, name := range c.Documents {
		path := filepath.Join(c.Folder, name)
		document, err := component.Parse(path, c.Contents[i], modules)
		if err != nil {
			return nil, err
		}
		request.Documents = append(request.Documents, component.RunDocument{
			Path: path, Content: c.Contents[i], Parameters: c.Values(document, at), SecretParameters: c.SecretParameters,
		})
	}
	var recorder component.Recorder
	runner := &component.Runner{Modules: modules, System: system, Events: func(e component.Event) {
		recorder.Event(e)
		if at.Pauses && e.Type == component.StepEnded {
			time.Sleep(time.Millisecond) // so that it is time for a pause
		}
	}}
	for {
		result, err := runner.Run(ctx, request)
		if err != nil {
			return nil, err
		}
		if result.Status != component.StatusReboot && result.Status != component.StatusPaused {
			break
		}
		if request.Resume, err = reload(result.State); err != nil {
			return nil, err
		}
		if result.Status == component.StatusPaused {
			if request.Resume, err = request.Resume.For(request); err != nil {
				return nil, err
			}
		}
	}
	return Decoded(recorder.Detail())
}

func reload(state *component.State) (*component.State, error) {
	data, err := json.Marshal(state)
	if err != nil {
		return nil, fmt.Errorf("save the state: %w", err)
	}
	loaded := new(component.State)
	if err := json.Unmarshal(data, loaded); err != nil {
		return nil, fmt.Errorf("load the state: %w", err)
	}
	return loaded, nil
}

// Decoded turns a value into what its JSON says.
func Decoded(value any) (decoded any, err error) {
	data, err := json.Marshal(value)
	return decoded, errors.Join(err, json.Unmarshal(data, &decoded))
}
