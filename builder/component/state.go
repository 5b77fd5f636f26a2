package component

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// StateVersion is the version of the form of [State]. A state of another version is refused.
const StateVersion = 2

// MaxReboots is how often one step may ask for a reboot by its exit code.
const MaxReboots = 15

// maxChained bounds what a run remembers of its steps, in bytes.
const maxChained = 16 << 20

// State is where a run stands that waits for a reboot, or is paused. It survives as JSON.
type State struct {
	Version int `json:"version"`
	// Digest is that of the request, which must not change.
	Digest string `json:"digest"`
	// ExecutionID is as in Result.
	ExecutionID string `json:"executionId"`
	// Document, Phase and Step are the indices of the step to go on with. Step may be one past the end of the phase.
	Document int `json:"document"`
	Phase    int `json:"phase"`
	Step     int `json:"step"`
	// Ended means that the document is over, its end told: the run goes on with the next one.
	Ended bool `json:"ended,omitempty"`
	// StepProgress is that of this step.
	StepProgress
	// DocumentStatus and PhaseStatus are the statuses so far.
	DocumentStatus Status `json:"documentStatus"`
	PhaseStatus    Status `json:"phaseStatus"`
	// Chained holds what later steps refer to.
	Chained []ChainedStep `json:"chained,omitempty"`
	// Parameters holds what the Parameter Store has answered so far, secrets in the clear.
	Parameters map[string]StoredParameter `json:"parameters,omitempty"`
	// The rest is as in Result.
	Failure            *Failure `json:"failure,omitempty"`
	ExecutedSteps      int      `json:"executedSteps"`
	FailedSteps        int      `json:"failedSteps"`
	IgnoredFailedSteps int      `json:"ignoredFailedSteps"`
}

// StepProgress is how far a step has got.
type StepProgress struct {
	// Started is when its first attempt began, zero before.
	Started time.Time `json:"started,omitzero"`
	// Decided is what its if has said, empty before.
	Decided Branch `json:"decided,omitempty"`
	// FailedAttempts and Reboots are counted; with a loop, Reboots are those of the iteration.
	FailedAttempts int `json:"failedAttempts,omitempty"`
	Reboots        int `json:"reboots,omitempty"`
	// Iteration is the index of the loop's iteration to go on with, Iterations how many there are. FailedIteration is that of the last
	// attempt.
	Iteration       int  `json:"iteration,omitempty"`
	Iterations      int  `json:"iterations,omitempty"`
	FailedIteration *int `json:"failedIteration,omitempty"`
	// LoopOutputs are the outputs of the iterations before, for every item of the inputs, LoopOutputSize is their size in bytes.
	LoopOutputs    []map[string][]string `json:"loopOutputs,omitempty"`
	LoopOutputSize int                   `json:"loopOutputSize,omitempty"`
	// Nested is the document inside of the step that waits for the reboot, NestedDetails tells of those that have ended.
	Nested        *NestedRun        `json:"nested,omitempty"`
	NestedDetails []ExecutionDetail `json:"nestedDetails,omitempty"`
}

// again forgets what belongs to an attempt that has failed.
func (s *StepProgress) again() {
	s.Iteration, s.Iterations, s.LoopOutputs, s.LoopOutputSize = 0, 0, nil, 0
	s.Nested, s.NestedDetails = nil, nil
	s.FailedIteration = nil
}

// ChainedStep holds the inputs and outputs of a step to which later steps of its document refer.
type ChainedStep struct {
	Document int    `json:"document"`
	Phase    string `json:"phase"`
	Step     string `json:"step"`
	// Skipped means that there is nothing more to tell of the step.
	Skipped bool `json:"skipped,omitempty"`
	// Inputs are those of the last attempt and its last iteration, references resolved.
	Inputs *Node `json:"inputs,omitempty"`
	// Outputs has an element for every item of the inputs, one if they are no list.
	Outputs []map[string]string `json:"outputs,omitempty"`
}

// stepName names a step of a document.
type stepName struct{ phase, step string }

// digest identifies what a request runs.
func (req Request) digest() (string, error) {
	req.Resume, req.PauseAfterMS, req.PauseAfterDocument, req.Redact = nil, 0, false, nil
	req.Phases = slices.Sorted(slices.Values(req.Phases))
	data, err := json.Marshal(req)
	if err != nil {
		return "", fmt.Errorf("digest of the request: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

// fits checks a state that came from outside.
func (s *State) fits(digest string, documents []*Document) error {
	switch {
	case s.Version != StateVersion:
		return fmt.Errorf("resume: state of version %d, this program knows version %d", s.Version, StateVersion)
	case s.Digest != digest:
		return fmt.Errorf("resume: documents, parameters, phases or working directory are not those the run was started with")
	case s.Document < 0 || s.Document >= len(documents),
		s.Phase < 0 || s.Phase >= len(documents[s.Document].Phases),
		s.Step < 0 || s.Step > len(documents[s.Document].Phases[s.Phase].Steps):
		return fmt.Errorf("resume: the state points to a step that does not exist")
	case s.FailedAttempts < 0 || s.Reboots < 0 || s.Iteration < 0 || s.LoopOutputSize < 0:
		return fmt.Errorf("resume: the state has negative counts")
	case s.Nested != nil && (s.Nested.State == nil || len(s.Nested.Request.Documents) != 1):
		return fmt.Errorf("resume: the state has a document in a step that is none")
	}
	for _, c := range s.Chained {
		if c.Document < 0 || c.Document >= len(documents) {
			return fmt.Errorf("resume: the state holds values of a document that does not exist")
		}
		if c.Inputs != nil && !c.Inputs.whole() {
			return fmt.Errorf("resume: the state holds inputs that are none")
		}
	}
	return nil
}

// worse returns the status of a whole after one of its parts ended with status part.
func worse(whole, part Status) Status {
	switch {
	case whole == StatusFailed || part == StatusFailed:
		return StatusFailed
	case part == StatusIgnoredFailure || part == StatusSuccessWithIgnoredFailure:
		return StatusSuccessWithIgnoredFailure
	}
	return whole
}
