package component

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// MaxNested is how deep documents may run documents, as the service has it: a document of the request, and three inside of each other.
const MaxNested = 3

// NestedDocument is a document that a step runs.
type NestedDocument struct {
	// Path says where the document came from.
	Path       string
	Content    []byte
	Parameters map[string]string
	// Phases are those to run. Default: every phase.
	Phases []string
}

// NestedRun is a document inside of a step, which waits for a reboot. It holds the document itself, so that the same one goes on.
type NestedRun struct {
	Request Request         `json:"request"`
	State   *State          `json:"state"`
	Detail  ExecutionDetail `json:"detail"`
}

// NestedError says that a step inside of a document failed that a step has run.
type NestedError struct {
	Path    string // of the document
	Failure *Failure
}

func (e *NestedError) Error() string {
	return fmt.Sprintf("the document %s failed: phase %s, step %s: %s", e.Path, e.Failure.Phase, e.Failure.Step, e.Failure.Message)
}

// RunDocument runs a document inside of the step. After a reboot in there it goes on where it was; load, which gets the document, is not
// called then.
//
// The error is *[NestedError] when a step of it failed; then there is a result, too. A result whose status is
// [StatusReboot] must be passed on as a [RebootRequest] that runs the step again.
func (x *Execution) RunDocument(ctx context.Context, load func(context.Context) (NestedDocument, error)) (*Result, error) {
	if x.nested == nil {
		return nil, errors.New("documents cannot be run here")
	}
	return x.nested(ctx, load)
}

// nested runs a document inside of the current step.
func (a *attempt) nested(ctx context.Context, load func(context.Context) (NestedDocument, error)) (*Result, error) {
	if !a.watch.enter() {
		return nil, context.Cause(ctx)
	}
	defer a.watch.leave()
	n := a.state.Nested
	if n == nil {
		var err error
		if n, err = a.begin(ctx, load); err != nil {
			return nil, err
		}
	}
	a.state.Nested = nil
	request := n.Request
	request.Resume = n.State
	inner := &run{
		Runner: a.Runner, request: request, system: a.system, modules: a.modules, session: a.session, depth: a.depth + 1,
		ancestors: a.lineage(), recorder: &Recorder{detail: n.Detail, depth: a.depth + 1, left: &a.session.nestedDetails},
	}
	path := request.Documents[0].Path
	if err := inner.open(); err != nil {
		return nil, &finalError{fmt.Errorf("the document %s cannot be run: %s", path, strings.ReplaceAll(err.Error(), "\n", "; "))}
	}
	result, err := inner.execute(ctx)
	if err != nil {
		return nil, err
	}
	detail := inner.recorder.Detail()
	if result.Status == StatusReboot {
		a.state.Nested = &NestedRun{Request: n.Request, State: result.State, Detail: detail}
		return result, nil
	}
	if a.session.nestedDetails > 0 {
		a.state.NestedDetails = append(a.state.NestedDetails, detail)
	}
	if result.Status == StatusFailed {
		return result, &NestedError{path, result.Failure}
	}
	return result, nil
}

// begin gets a document to run and checks that running it cannot go on for ever.
func (a *attempt) begin(ctx context.Context, load func(context.Context) (NestedDocument, error)) (*NestedRun, error) {
	if a.depth >= MaxNested {
		return nil, &finalError{fmt.Errorf("documents are nested more than %d levels deep", MaxNested)}
	}
	d, err := load(ctx)
	if err != nil {
		return nil, err
	}
	running, digest := a.lineage(), sha256.Sum256(d.Content)
	itself := running[len(running)-1] == digest
	if slices.Contains(running, digest) && !(itself && a.step.Loop != nil) {
		return nil, &finalError{fmt.Errorf("the document %s is running already: documents must not run each other in a circle", d.Path)}
	}
	return &NestedRun{Request: Request{
		Documents:   []RunDocument{{Path: d.Path, Content: d.Content, Parameters: d.Parameters}},
		ExecutionID: newExecutionID(), Phases: d.Phases, WorkingDirectory: a.workingDirectory,
	}}, nil
}

// lineage are the digests of the documents that are running, this one last. By their content, because one file has many names.
func (x *run) lineage() [][sha256.Size]byte {
	return append(slices.Clone(x.ancestors), sha256.Sum256(x.request.Documents[x.state.Document].Content))
}
