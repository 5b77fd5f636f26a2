package component

import "time"

// EventType tells what an [Event] is about.
type EventType string

const (
	DocumentStarted EventType = "documentStarted"
	PhaseStarted    EventType = "phaseStarted"
	// StepStarted is sent for every attempt.
	StepStarted EventType = "stepStarted"
	// Output carries what a step prints, or a notice of the engine.
	Output EventType = "output"
	// StepEnded is sent once a step, after its last attempt.
	StepEnded     EventType = "stepEnded"
	PhaseEnded    EventType = "phaseEnded"
	DocumentEnded EventType = "documentEnded"
	// Reboot is the last event of a run that has to be resumed after a reboot. No ended events go before it, unless the step was the
	// Reboot action; the resumed run does not repeat documentStarted and phaseStarted. A pause has no event: those of all parts of a run
	// together are those of one without pauses.
	Reboot EventType = "reboot"
)

// Streams of an output event.
const (
	StreamStdout = "stdout"
	StreamStderr = "stderr"
	// StreamNotice is the engine speaking: about attempts, cut output and the like.
	StreamNotice = "notice"
)

// Event is something that happened during a run.
type Event struct {
	Type      EventType `json:"type"`
	Time      time.Time `json:"time"`
	Component string    `json:"component,omitempty"`
	Phase     string    `json:"phase,omitempty"`
	Step      string    `json:"step,omitempty"`
	Action    string    `json:"action,omitempty"`
	// Attempt is counted from 1.
	Attempt int `json:"attempt,omitempty"`
	// Stream and Text belong to output events. Text is one or more complete lines, or a piece of a longer line; it is valid UTF-8 and at
	// most [MaxOutputText] bytes long.
	Stream string `json:"stream,omitempty"`
	Text   string `json:"text,omitempty"`
	// Status and DurationMS belong to ended events.
	Status     Status `json:"status,omitempty"`
	DurationMS int64  `json:"durationMs,omitempty"`
	// Failure belongs to stepEnded events of failed steps, ignored failures too.
	Failure *Failure `json:"failure,omitempty"`
	// Detail belongs to stepEnded events.
	Detail *StepDetail `json:"detail,omitempty"`
	// Path, Name, Description and ExecutionID belong to documentStarted events: the document's file, what it says of itself, and the
	// name of the run.
	Path        string `json:"path,omitempty"`
	Name        string `json:"name,omitempty"`
	Description string `json:"description,omitempty"`
	ExecutionID string `json:"executionId,omitempty"`
	// Depth is how many ExecuteDocument steps the event is inside of. Documents of a recipe have depth 0.
	Depth int `json:"depth,omitempty"`
}

// Status is the result of a step, phase, document or run.
type Status string

const (
	StatusSuccess Status = "success"
	StatusFailed  Status = "failed"
	// StatusReboot is the status of a run that wants a reboot.
	StatusReboot Status = "reboot"
	// StatusPaused is the status of a run that has stopped between two steps because the request says so.
	StatusPaused Status = "paused"
	// StatusIgnoredFailure is that of a failed step with onFailure Ignore.
	StatusIgnoredFailure Status = "ignoredFailure"
	// StatusSkipped is that of a step whose condition said so. It counts as success.
	StatusSkipped Status = "skipped"
	// StatusSuccessWithIgnoredFailure is that of the phase and document of such a step. It counts as success.
	StatusSuccessWithIgnoredFailure Status = "successWithIgnoredFailure"
)

// Failure tells why a step failed.
type Failure struct {
	Component string `json:"component"`
	Phase     string `json:"phase"`
	Step      string `json:"step"`
	Action    string `json:"action"`
	// ExitCode is nil when the failure is not that of a process.
	ExitCode *int   `json:"exitCode,omitempty"`
	Message  string `json:"message"`
	// Stderr holds the last lines that the last attempt printed there, at most 20 lines and 4 KiB; Stdout likewise, if Stderr is empty.
	Stderr string `json:"stderr,omitempty"`
	Stdout string `json:"stdout,omitempty"`
	// Line is that of the step in its document.
	Line int `json:"line,omitempty"`
}
