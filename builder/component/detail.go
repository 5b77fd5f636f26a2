package component

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"time"
)

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

// Bounds of the inputs and of the outputs of a [StepDetail], in bytes of their texts.
const (
	maxDetailText  = 16 << 10 // of one text
	maxDetailTexts = 64 << 10 // of all
)

// detailWriter writes inputs and outputs as JSON, without secrets.
type detailWriter struct {
	bytes.Buffer
	secrets *secrets
	left    int
}

// inputs returns the inputs of a step as the JSON text of an array.
func (s *secrets) inputs(n *Node) string {
	w := &detailWriter{secrets: s, left: maxDetailTexts}
	switch {
	case n == nil:
		return "[]"
	case n.Kind == List:
		w.node(n)
	default:
		w.node(&Node{Kind: List, Items: []*Node{n}})
	}
	return w.String()
}

// outputs returns the outputs of a step as the JSON text of an array.
func (s *secrets) outputs(items []map[string]string) string {
	list := &Node{Kind: List}
	for _, item := range items {
		n := &Node{Kind: Map}
		for _, key := range slices.Sorted(maps.Keys(item)) {
			n.Entries = append(n.Entries, Entry{Key: key, Value: &Node{Kind: Scalar, Text: item[key], Quoted: true}})
		}
		if len(item) > 0 {
			list.Items = append(list.Items, n)
		}
	}
	return s.inputs(list)
}

func (w *detailWriter) node(n *Node) {
	switch n.Kind {
	case Null:
		w.WriteString("null")
	case List:
		w.WriteByte('[')
		for i, item := range n.Items {
			if i > 0 {
				w.WriteByte(',')
			}
			w.node(item)
		}
		w.WriteByte(']')
	case Map:
		w.WriteByte('{')
		for i, e := range n.Entries {
			if i > 0 {
				w.WriteByte(',')
			}
			w.text(e.Key)
			w.WriteByte(':')
			w.node(e.Value)
		}
		w.WriteByte('}')
	default:
		w.scalar(n)
	}
}

// scalar writes what is a number or a truth value in JSON as such, unless it was written as a text.
func (w *detailWriter) scalar(n *Node) {
	text := w.secrets.clean(n.Text)
	plain := !n.Quoted && text == n.Text && len(text) < 32 && text != "" && text[0] != '"' && text[0] != '{' && text[0] != '['
	if plain && json.Valid([]byte(text)) {
		w.WriteString(text)
		return
	}
	text = cutText(text, min(maxDetailText, w.left))
	w.left -= len(text)
	w.text(text)
}

func (w *detailWriter) text(text string) {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(text); err == nil { // never another: texts can be encoded
		w.Truncate(w.Len() - 1) // the line feed
	}
}
