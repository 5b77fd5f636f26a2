package component

import (
	"encoding/json"
	"errors"
	"time"
)

// errPaused says that the run stops at the boundary of two steps where it is.
var errPaused = errors.New("the run is paused")

// pauses tells whether the request asks for pauses.
func (x *run) pauses() bool {
	return x.depth == 0 && (x.request.PauseAfterMS > 0 || x.request.PauseAfterDocument)
}

// due tells whether the run pauses at this boundary of two steps; here says that the request wants it at this one. A run that has failed
// is not worth keeping.
func (x *run) due(here bool) bool {
	after := time.Duration(x.request.PauseAfterMS) * time.Millisecond
	return x.pauses() && x.state.FailedSteps == 0 && (here || after > 0 && time.Since(x.began) >= after)
}

// paused returns the state for a pause, with no more in it than what later steps can refer to.
func (x *run) paused() *State { return x.state }

// Contains tells whether a secret value, or one of the forms that take its place in texts, is in the state.
func (s *State) Contains(values []string) bool {
	var known secrets
	for _, value := range values {
		known.add(value)
	}
	text, err := json.Marshal(s)
	return err != nil || known.clean(string(text)) != string(text)
}
