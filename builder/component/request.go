package component

import "cmp"

// RunDocument is a document to run.
type RunDocument struct {
	// Name is the component's name in events and failures. Default: the document's own name, then Path.
	Name string `json:"name"`
	// Path is the name of the document's file, for messages only.
	Path string `json:"path"`
	// Content is the document itself, YAML or JSON.
	Content []byte `json:"content"`
	// Parameters are values for the document's parameters.
	Parameters map[string]string `json:"parameters,omitempty"`
	// SecretParameters are the names of parameters whose values are kept out of events, failures and details.
	SecretParameters []string `json:"secretParameters,omitempty"`
}

// file is the document's name in messages.
func (d RunDocument) file() string { return cmp.Or(d.Path, d.Name) }

// Request says what to run.
type Request struct {
	// Documents run one after the other, each with all of its selected phases.
	Documents []RunDocument `json:"documents"`
	// ExecutionID names the run in its details. Default: a new random UUID.
	ExecutionID string `json:"executionId,omitempty"`
	// Phases are the names of the phases to run, in any order: the document's order counts. Default: every phase.
	Phases []string `json:"phases,omitempty"`
	// WorkingDirectory is where commands run and relative paths start. It is made when missing. Default: /tmp, or the system's temporary
	// folder where there is none.
	WorkingDirectory string `json:"workingDirectory,omitempty"`
	// PauseAfterMS ends the run with [StatusPaused] at the first boundary of two steps at which so many milliseconds have passed since Run
	// was called; 0 means never. PauseAfterDocument ends it like that after every document but the last one that runs. A run does not pause
	// inside of a step, so neither in its loop nor in a document that it runs, and not once a step has failed whose failure counts.
	PauseAfterMS       int64 `json:"pauseAfterMs,omitempty"`
	PauseAfterDocument bool  `json:"pauseAfterDocument,omitempty"`
	// Redact are further values that are kept out of everything told, as those of secret parameters are.
	Redact []string `json:"redact,omitempty"`
	// Resume goes on with a run that ended in [StatusReboot] or [StatusPaused]. The documents with their parameters, the phases and the
	// working directory must be as they were; see [State.For] for others.
	Resume *State `json:"resume,omitempty"`
}

// Result is how a run ended.
type Result struct {
	// Status is success, failed, reboot or paused. A run with nothing but ignored failures is a success.
	Status Status `json:"status"`
	// ExecutionID is that of the request, or the one that was made up for it.
	ExecutionID string `json:"executionId,omitempty"`
	// Chaining holds the inputs and outputs that later steps referred to, as in the references: "build.Make.outputs.stdout". With
	// several documents the index of the document goes before: "0.build.Make.outputs.stdout". Secrets are replaced, long texts cut. What
	// a run has forgotten in a pause is missing.
	Chaining map[string]string `json:"chaining,omitempty"`
	// Failure is that of the first failed step whose failure was not ignored.
	Failure *Failure `json:"failure,omitempty"`
	// State is set when Status is reboot or paused, and also when it is success and the request asked for pauses: then it is that of the
	// end, for a request that has more steps (see [State.For]).
	State *State `json:"state,omitempty"`
	// RebootDelaySeconds is set when Status is reboot.
	RebootDelaySeconds int `json:"rebootDelaySeconds,omitempty"`
	// The counts include the steps before a reboot or pause. ExecutedSteps counts every step that ended, whatever its status: so many of
	// the selected steps, which [Document.Keys] lists, are done.
	ExecutedSteps      int `json:"executedSteps"`
	FailedSteps        int `json:"failedSteps"`
	IgnoredFailedSteps int `json:"ignoredFailedSteps"`
}
