package component

import (
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode/utf8"
)

// Document is a component document that has been parsed and checked.
type Document struct {
	Name          string
	Description   string
	SchemaVersion string
	Parameters    []Parameter
	Constants     []Constant
	// Phases are in the order of the document, which is the order they run in.
	Phases []Phase

	file string
}

// Parameter is a value that the caller may give. Its type is always string.
type Parameter struct {
	Name        string
	Description string
	// Default is nil when the caller must give a value.
	Default      *string
	Line, Column int
}

// Constant is a value that the caller cannot change.
type Constant struct {
	Name, Value  string
	Line, Column int
}

// The phases the service knows. It runs build and validate while it builds an image, test and container-host-test while it tests one.
const (
	PhaseBuild             = "build"
	PhaseValidate          = "validate"
	PhaseTest              = "test"
	PhaseContainerHostTest = "container-host-test"
)

// Phase is a named list of steps.
type Phase struct {
	Name         string
	Steps        []Step
	Line, Column int
}

// OnFailure says what happens after the last attempt of a step has failed.
type OnFailure string

const (
	// Abort fails the step and ends the run.
	Abort OnFailure = "Abort"
	// Continue fails the step, its phase and its document, and goes on with the next step.
	Continue OnFailure = "Continue"
	// Ignore goes on with the next step; the failure is counted but fails nothing.
	Ignore OnFailure = "Ignore"
)

// Defaults of a step.
const (
	DefaultTimeout = 7200 * time.Second
	DefaultAttempt = 1
)

// Step is one call of an action.
type Step struct {
	Name   string
	Action string
	// Timeout is the limit of one attempt; 0 means none (timeoutSeconds: -1).
	Timeout     time.Duration
	OnFailure   OnFailure
	MaxAttempts int
	// If decides whether the step runs, Loop makes it run several times. Nil when the step has none.
	If   *If
	Loop *Loop
	// Inputs are as written, with their references. Nil when the step has none.
	Inputs       *Node
	Line, Column int
}

// Phase returns the phase of that name.
func (d *Document) Phase(name string) (Phase, bool) {
	for _, p := range d.Phases {
		if p.Name == name {
			return p, true
		}
	}
	return Phase{}, false
}

const (
	maxParameters     = 25   // quota of the service: parameters per component
	maxParameterValue = 1024 // quota of the service: characters per value
)

// CheckParameters checks the values that a caller wants to give for the document's parameters. The problems carry file, but no line:
// they are in the caller's file, and the caller knows where.
func (d *Document) CheckParameters(file string, given map[string]string) Problems {
	var problems Problems
	report := func(name, message, hint string) {
		problems = append(problems, Problem{File: file, Field: "parameters." + name, Message: message, Hint: hint})
	}
	names := make([]string, 0, len(d.Parameters))
	for _, p := range d.Parameters {
		names = append(names, p.Name)
		if _, ok := given[p.Name]; !ok && p.Default == nil {
			report(p.Name, fmt.Sprintf("the component needs a value for its parameter %s", quote(p.Name)), "it has no default")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		switch value := given[name]; {
		case slices.ContainsFunc(d.Constants, func(c Constant) bool { return c.Name == name }):
			report(name, fmt.Sprintf("%s is a constant of the component and cannot be set", quote(name)), "")
		case !slices.Contains(names, name):
			report(name, fmt.Sprintf("the component has no parameter %s", quote(name)), didYouMean(name, names, knownNames("it has", names)))
		case value == "":
			report(name, "the value is empty", "leave the parameter out to get its default")
		case utf8.RuneCountInString(value) > maxParameterValue:
			report(name, fmt.Sprintf("the value has more than %d characters", maxParameterValue), "")
		}
	}
	return problems
}

// values returns what `{{ name }}` stands for in a run with the given parameters.
func (d *Document) values(given map[string]string) map[string]string {
	values := make(map[string]string, len(d.Parameters)+len(d.Constants))
	for _, p := range d.Parameters {
		if value, ok := given[p.Name]; ok {
			values[p.Name] = value
		} else if p.Default != nil {
			values[p.Name] = *p.Default
		}
	}
	for _, c := range d.Constants {
		values[c.Name] = c.Value
	}
	return values
}
