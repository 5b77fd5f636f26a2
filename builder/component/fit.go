package component

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// For returns the state made to fit a request whose first steps are those that are done, told by [Document.Keys], though its documents may
// differ otherwise: text around those steps, the steps that follow, even which documents the steps are in. The state must be one of a
// pause, or of the end of a run that could have paused; how many steps are done is ExecutedSteps. When none is left, the run that is
// resumed ends at once.
//
// It fails when the request has fewer steps, or when its next steps refer to values of earlier ones that the state does not have. Keys
// that are equal rule that out except for secret values, which a state does not keep beyond the end of their document.
func (s *State) For(req Request) (*State, error) {
	digest, err := req.digest()
	if err != nil {
		return nil, err
	}
	switch {
	case s.Version != StateVersion:
		return nil, fmt.Errorf("fit the state to the request: state of version %d, this program knows version %d", s.Version, StateVersion)
	case !s.Started.IsZero() || s.Nested != nil:
		return nil, errors.New("fit the state to the request: it is that of a step that is not done yet")
	}
	at, err := req.after(s.ExecutedSteps)
	if err != nil {
		return nil, fmt.Errorf("fit the state to the request: %w", err)
	}
	fitting := *s
	fitting.Digest, fitting.ExecutionID = digest, cmp.Or(req.ExecutionID, s.ExecutionID)
	fitting.Document, fitting.Phase, fitting.Step, fitting.Ended = at.document, at.phase, at.step, len(at.left) == 0
	fitting.Chained = nil
	for _, c := range s.Chained {
		if c.Document == s.Document && at.done[stepName{c.Phase, c.Step}] {
			c.Document = at.document
			fitting.Chained = append(fitting.Chained, c)
		}
	}
	for _, step := range at.left {
		step.refers(nil, func(r reference) {
			name := stepName{r.phase, r.step}
			has := slices.ContainsFunc(fitting.Chained, func(c ChainedStep) bool { return name == stepName{c.Phase, c.Step} })
			if at.done[name] && !has {
				err = fmt.Errorf("fit the state to the request: it does not have the values of %s.%s, to which the step %s refers", r.phase, r.step, step.Name)
			}
		})
	}
	if err != nil {
		return nil, err
	}
	return &fitting, nil
}

// place is where a run stands in its documents.
type place struct {
	document, phase, step int               // of the next step; step may be one past the end of the phase
	done                  map[stepName]bool // the steps of the document that are done
	left                  []Step            // those that are not
}

// after returns the place in the request's documents after so many steps.
func (req Request) after(steps int) (*place, error) {
	if steps < 1 {
		return nil, errors.New("no step is done")
	}
	var problems Problems
	left := steps
	for i, d := range req.Documents {
		document, err := parseOutline(d.file(), d.Content)
		if found, ok := errors.AsType[Problems](err); ok {
			problems = append(problems, found...)
			continue
		}
		at := &place{document: i, done: make(map[stepName]bool)}
		for j, phase := range document.Phases {
			if len(req.Phases) > 0 && !slices.Contains(req.Phases, phase.Name) {
				continue
			}
			for k, step := range phase.Steps {
				if left == 0 {
					at.left = append(at.left, step)
					continue
				}
				left--
				at.done[stepName{phase.Name, step.Name}] = true
				at.phase, at.step = j, k+1
			}
		}
		if left == 0 && len(problems) == 0 {
			return at, nil
		}
	}
	if err := problems.Err(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%d steps are done, and it has %d only", steps, steps-left)
}
