package component

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
)

// StateVersion is the version of the form of [State]. A state of another version is refused.
const StateVersion = 1

// MaxReboots is how often one step may ask for a reboot by its exit code.
const MaxReboots = 15

// maxChained bounds what a run remembers of its steps, in bytes.
const maxChained = 64 << 20

// State is where a run stands that waits for a reboot. It survives as JSON.
type State struct {
	Version int `json:"version"`
	// Digest is that of the request, which must not change.
	Digest string `json:"digest"`
	// Document, Phase and Step are the indices of the step to go on with. Step may be one past the end of the phase.
	Document int `json:"document"`
	Phase    int `json:"phase"`
	Step     int `json:"step"`
	// FailedAttempts and Reboots are those of that step so far.
	FailedAttempts int `json:"failedAttempts,omitempty"`
	Reboots        int `json:"reboots,omitempty"`
	// DocumentStatus and PhaseStatus are the statuses so far.
	DocumentStatus Status `json:"documentStatus"`
	PhaseStatus    Status `json:"phaseStatus"`
	// Chained holds what later steps refer to.
	Chained []ChainedStep `json:"chained,omitempty"`
	// The rest is as in Result.
	Failure            *Failure `json:"failure,omitempty"`
	ExecutedSteps      int      `json:"executedSteps"`
	FailedSteps        int      `json:"failedSteps"`
	IgnoredFailedSteps int      `json:"ignoredFailedSteps"`
}

// ChainedStep holds the inputs and outputs of a step to which later steps of its document refer.
type ChainedStep struct {
	Document int    `json:"document"`
	Phase    string `json:"phase"`
	Step     string `json:"step"`
	// Inputs are those of the last attempt, references resolved.
	Inputs *Node `json:"inputs,omitempty"`
	// Outputs has an element for every item of the inputs, one if they are no list.
	Outputs []map[string]string `json:"outputs,omitempty"`
}

// stepKey names a step of a document.
type stepKey struct{ phase, step string }

// digest identifies what a request runs.
func (req Request) digest() (string, error) {
	req.Resume = nil
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
	case s.FailedAttempts < 0 || s.Reboots < 0:
		return fmt.Errorf("resume: the state has negative counts")
	}
	for _, c := range s.Chained {
		if c.Document < 0 || c.Document >= len(documents) {
			return fmt.Errorf("resume: the state holds values of a document that does not exist")
		}
	}
	return nil
}

// result makes the Result of a run out of what it has done so far.
func (s *State) result(status Status) *Result {
	return &Result{
		Status: status, Failure: s.Failure,
		ExecutedSteps: s.ExecutedSteps, FailedSteps: s.FailedSteps, IgnoredFailedSteps: s.IgnoredFailedSteps,
	}
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
