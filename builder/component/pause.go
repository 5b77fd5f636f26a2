package component

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"time"
)

// errPaused says that the run stops at the boundary of two steps where it is.
var errPaused = errors.New("the run is paused")

// pauses tells whether the request asks for pauses.
func (x *run) pauses() bool {
	return x.depth == 0 && (x.request.PauseAfterMS > 0 || x.request.PauseAfterDocument)
}

// due tells whether the run pauses at this boundary of two steps; here says that the request wants it at this one, whatever the time. A
// run that has failed is not worth keeping.
func (x *run) due(here bool) bool {
	late := x.request.PauseAfterMS > 0 && time.Since(x.began).Milliseconds() >= x.request.PauseAfterMS
	return x.pauses() && x.state.FailedSteps == 0 && (here || late)
}

// paused returns the state for a pause. Of earlier steps it holds what steps of the same document can still refer to. When the document is
// over they only can if it is made longer (see State.For), for which no secrets are kept.
func (x *run) paused() *State {
	s := *x.state
	referred := x.scopes[s.Document].referred
	s.Chained = nil
	for _, c := range x.state.Chained {
		if c.Document != s.Document {
			continue
		}
		if c = c.only(referred[stepName{c.Phase, c.Step}]); !s.Ended || !x.secrets.within(c) {
			s.Chained = append(s.Chained, c)
		}
	}
	return &s
}

// only returns the step with nothing but the values that are wanted of it.
func (c ChainedStep) only(wanted map[string]bool) ChainedStep {
	item := func(n *Node) *Node {
		kept := *n
		kept.Entries = slices.DeleteFunc(slices.Clone(n.Entries), func(e Entry) bool { return !wanted["inputs."+e.Key] })
		return &kept
	}
	if c.Inputs != nil {
		c.Inputs = item(c.Inputs)
		c.Inputs.Items = slices.Clone(c.Inputs.Items)
		for i, n := range c.Inputs.Items {
			c.Inputs.Items[i] = item(n)
		}
	}
	c.Outputs = slices.Clone(c.Outputs)
	for i, outputs := range c.Outputs {
		c.Outputs[i] = maps.Clone(outputs)
		maps.DeleteFunc(c.Outputs[i], func(key, _ string) bool { return !wanted["outputs."+key] })
	}
	return c
}

// WithoutParameters returns the state without what the Parameter Store has answered, which is asked for again when a step needs it, and
// without the digest of the request, by which the values of secret parameters could be guessed: the state fits a request by [State.For]
// only. What is known of the secrets among those answers must be given in Request.Redact.
func (s *State) WithoutParameters() *State {
	without := *s
	without.Parameters, without.Digest = nil, ""
	return &without
}

// Contains tells whether the state holds one of these secret values, be it in one of the forms that are kept out of events: a line of it,
// how it looks in a URL, in quotes, and so on. What commands made of a secret (its digest, its base64) is not found.
func (s *State) Contains(values []string) bool {
	known := new(secrets)
	for _, value := range values {
		known.add(value)
	}
	return slices.ContainsFunc(s.Chained, known.within) || known.inside(reflect.ValueOf(s.Parameters)) ||
		known.inside(reflect.ValueOf(s.Failure)) || known.inside(reflect.ValueOf(s.StepProgress))
}

// within tells whether the values of a step hold a secret.
func (s *secrets) within(c ChainedStep) bool {
	return s.inside(reflect.ValueOf(c.Inputs)) || s.inside(reflect.ValueOf(c.Outputs))
}

// inside tells whether a text anywhere in a value holds a secret. Keys of maps and words of the engine, which have types of their own, are
// not looked at.
func (s *secrets) inside(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.String:
		return v.Type() == reflect.TypeFor[string]() && s.in(v.String())
	case reflect.Pointer:
		return !v.IsNil() && s.inside(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type() != reflect.TypeFor[time.Time]() && s.inside(v.Field(i)) {
				return true
			}
		}
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[[]byte]() {
			return s.in(string(v.Bytes()))
		}
		for i := range v.Len() {
			if s.inside(v.Index(i)) {
				return true
			}
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			if s.inside(v.MapIndex(key)) {
				return true
			}
		}
	}
	return false
}
