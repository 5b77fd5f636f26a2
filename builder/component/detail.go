package component

import "time"

// ExecutionDetail is what a run did, in the shape of AWSTOE's detailedoutput.json. Texts in it never hold secrets.
type ExecutionDetail struct {
	ExecutionID    string           `json:"executionId"`
	Status         Status           `json:"status"`
	StartTime      time.Time        `json:"startTime"`
	EndTime        time.Time        `json:"endTime"`
	FailureMessage string           `json:"failureMessage"`
	Documents      []DocumentDetail `json:"documents"`
}

// DocumentDetail is what one document did.
type DocumentDetail struct {
	Name           string        `json:"name"`
	FilePath       string        `json:"filePath"`
	Status         Status        `json:"status"`
	Description    string        `json:"description"`
	StartTime      time.Time     `json:"startTime"`
	EndTime        time.Time     `json:"endTime"`
	FailureMessage string        `json:"failureMessage"`
	Phases         []PhaseDetail `json:"phases"`
}

// PhaseDetail is what one phase did.
type PhaseDetail struct {
	Name           string       `json:"name"`
	Status         Status       `json:"status"`
	StartTime      time.Time    `json:"startTime"`
	EndTime        time.Time    `json:"endTime"`
	FailureMessage string       `json:"failureMessage"`
	Steps          []StepDetail `json:"steps"`
}

// StepDetail is what one step did. It is part of stepEnded events.
type StepDetail struct {
	Name           string    `json:"name"`
	Status         Status    `json:"status"`
	FailureMessage string    `json:"failureMessage"`
	TimeoutSeconds int64     `json:"timeoutSeconds"` // -1 for none
	OnFailure      OnFailure `json:"onFailure"`
	MaxAttempts    int       `json:"maxAttempts"`
	Action         string    `json:"action"`
	StartTime      time.Time `json:"startTime"`
	EndTime        time.Time `json:"endTime"`
	// Inputs and Outputs are JSON texts of arrays, one element an item of the inputs: [{"commands":["true"]}].
	Inputs  string      `json:"inputs"`
	Outputs string      `json:"outputs"`
	Loop    *LoopDetail `json:"loop"`
	// DetailedOutput holds the runs of ExecuteDocument, one an iteration.
	DetailedOutput []ExecutionDetail `json:"detailedOutput"`
}

// LoopDetail is the loop of a step.
type LoopDetail struct {
	Name string `json:"name,omitempty"`
	// Iterations is how many there are; Failed are the indices of those that failed.
	Iterations int   `json:"iterations"`
	Failed     []int `json:"failed,omitempty"`
}
