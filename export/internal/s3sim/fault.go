package s3sim

import (
	"io"
	"net/http"
	"time"
)

// Fault is a line of the script: what goes wrong with which request.
type Fault struct {
	Action string // "UploadPart"; "" for every one
	Nth    int    // of the action's requests from when the fault was set, from 1; 0: each
	// What goes wrong, the first that is given: an answer of that status and code (503, "SlowDown"); the connection is cut when that many bytes of the
	// body have arrived; the action is done and its answer is lost.
	Status     int
	Code       string
	CutAfter   int64
	LoseAnswer bool
	// Wait comes before all of these, or before a sound answer.
	Wait time.Duration

	seen   int
	mended chan struct{}
}

// Break adds a line to the script.
func (s *Server) Break(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// Mend empties the script. Requests that it lets wait are cut off.
func (s *Server) Mend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
	close(s.mended)
	s.mended = make(chan struct{})
}

func (s *Server) fault(c *call) (found Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found.mended = s.mended
	for _, f := range s.faults {
		if f.Action != "" && f.Action != c.action {
			continue
		}
		if f.seen++; f.Nth == 0 || f.Nth == f.seen {
			found = *f
			found.mended = s.mended
		}
	}
	return found
}

// breaks does what the fault says before the action, and tells whether that was all.
func (f Fault) breaks(c *call) bool {
	select {
	case <-time.After(f.Wait):
	case <-f.mended: // nobody waits for this one any more
		panic(http.ErrAbortHandler)
	case <-c.Context().Done():
	}
	switch {
	case f.Status != 0:
		// Like S3, the body is not waited for.
		fail(f.Status, f.Code, "the script says so").write(c)
		return true
	case f.CutAfter > 0:
		io.CopyN(io.Discard, &c.body, f.CutAfter)
		c.w.status = 0
		panic(http.ErrAbortHandler)
	}
	return false
}
