package component

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Runner runs component documents on the machine it is called on.
type Runner struct {
	// Modules are the actions that documents may use.
	Modules Modules
	// Events is told what happens. It is never called twice at once, and holds the running step up as long as it does not return.
	// May be nil.
	Events func(Event)
	// Output, if not nil, gets what steps print instead of Events: an output event without its Text, and the text, which is good only until
	// Output returns. That spares those who pass it on a copy. Notices still go to Events.
	Output func(e Event, text []byte)
	// System is the machine to work on. Default: the real one.
	System System
	// OutputLimit is how much of the output of an attempt is sent as events, in bytes; then a notice follows, and nothing more. The
	// default is [DefaultOutputLimit], a negative value means no limit.
	OutputLimit int64

	grace time.Duration // of actions that have to stop; 0 means stopGrace
}

// Run executes the documents of the request. All of them are parsed and checked before the first step runs.
//
// A failing step is no error: it is told by the result. The error is of type [Problems] when documents, parameters or phases are wrong, so
// that nothing was run, and wraps the cause of ctx when that has ended; the running step's processes are then gone.
// An action that does not stop when its time is up or ctx has ended is given up 10 seconds later, and the run ends with it.
func (r *Runner) Run(ctx context.Context, req Request) (*Result, error) {
	x := &run{
		Runner: r, request: req, system: r.System.withDefaults(), modules: r.Modules.For(runtime.GOOS),
		session: &session{secrets: new(secrets), nestedDetails: maxNestedDetails}, began: time.Now(),
	}
	for _, value := range req.Redact {
		x.secrets.add(value)
	}
	if err := x.open(); err != nil {
		return nil, err
	}
	result, err := x.execute(ctx)
	if err != nil {
		return nil, fmt.Errorf("run component documents: %w", err)
	}
	return result, nil
}

// How a step tells that the run does not simply go on.
var errAborted = errors.New("aborted by a failed step")

type rebootError struct{ delaySeconds int }

func (*rebootError) Error() string { return "the machine must be rebooted" }

// session is what the documents inside of documents share with them.
type session struct {
	secrets       *secrets
	stored        *storedParameters
	stuck         bool // an action was given up, and may still go on
	nestedDetails int  // how much of them the current step may still keep, in bytes
	emitting      sync.Mutex
}

// run is a run that is under way: that of the request, or of a document inside of a step.
type run struct {
	*Runner
	*session
	request          Request
	modules          Modules
	system           System
	workingDirectory string
	parsed           []*Document
	scopes           []scope // of the documents
	state            *State
	resumed          bool // document and phase were announced before the reboot or pause
	chained          int  // bytes kept for references
	began            time.Time

	depth     int                 // how many steps it is inside of
	ancestors [][sha256.Size]byte // digests of the documents it is inside of
	recorder  *Recorder           // of a nested run
}

// open gets everything ready for the first step, or the one to go on with.
func (x *run) open() error {
	if len(x.request.Documents) == 0 {
		return errors.New("run component documents: the request names no document")
	}
	var problems Problems
	for _, d := range x.request.Documents {
		document, err := Parse(d.file(), d.Content, x.modules)
		if found, ok := errors.AsType[Problems](err); ok {
			problems = append(problems, found...)
		}
		if document != nil {
			problems = append(problems, document.CheckParameters(d.file(), d.Parameters)...)
			values := document.values(d.Parameters)
			for _, name := range d.SecretParameters {
				x.secrets.add(values[name])
			}
			x.scopes = append(x.scopes, scope{values, make(map[stepName]*ChainedStep), document.referred(x.selected)})
		}
		x.parsed = append(x.parsed, document)
	}
	if len(problems) == 0 {
		problems = x.checkPhases()
	}
	if err := x.secrets.problems(problems).Err(); err != nil {
		return err
	}
	if err := x.makeWorkingDirectory(); err != nil {
		return err
	}
	return x.restore()
}

// execute runs the documents to the end, or the next reboot or pause.
func (x *run) execute(ctx context.Context) (*Result, error) {
	err := x.documents(ctx)
	reboot, stopped := errors.AsType[*rebootError](err)
	if err != nil && !stopped && !errors.Is(err, errAborted) && !errors.Is(err, errPaused) {
		return nil, err
	}
	s := x.state
	result := &Result{
		Status: StatusSuccess, ExecutionID: s.ExecutionID, Chaining: x.chaining(), Failure: s.Failure,
		ExecutedSteps: s.ExecutedSteps, FailedSteps: s.FailedSteps, IgnoredFailedSteps: s.IgnoredFailedSteps,
	}
	switch {
	case stopped:
		result.Status, result.State, result.RebootDelaySeconds = StatusReboot, s, reboot.delaySeconds
	case s.FailedSteps > 0:
		result.Status = StatusFailed
	case errors.Is(err, errPaused):
		result.Status, result.State = StatusPaused, x.paused()
	case x.pauses() && s.Ended:
		result.State = x.paused()
	}
	return result, nil
}

// checkPhases finds names of phases that are neither the service's nor any document's.
func (x *run) checkPhases() (problems Problems) {
	names := standardPhases()
	for _, d := range x.parsed {
		for _, phase := range d.Phases {
			names = append(names, phase.Name)
		}
	}
	for _, name := range x.request.Phases {
		if !slices.Contains(names, name) {
			problems = append(problems, Problem{Field: "phases", Message: "unknown phase " + quote(name), Hint: didYouMean(name, names, "")})
		}
	}
	return problems
}

func (x *run) makeWorkingDirectory() error {
	dir := x.request.WorkingDirectory
	switch {
	case dir == "" && runtime.GOOS == "windows":
		dir = os.TempDir()
	case dir == "":
		dir = "/tmp"
	case !filepath.IsAbs(dir):
		return Problems{{Field: "workingDirectory", Message: fmt.Sprintf("%s is not an absolute path", quote(dir))}}
	}
	x.workingDirectory = filepath.Clean(dir)
	path := (&Execution{System: x.system}).Path(dir)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return fmt.Errorf("make the working directory: %w", err)
	}
	return nil
}

// restore sets the state to where the run begins or goes on.
func (x *run) restore() error {
	digest, err := x.request.digest()
	if err != nil {
		return err
	}
	if x.request.Resume == nil {
		x.state = &State{Version: StateVersion, Digest: digest, ExecutionID: cmp.Or(x.request.ExecutionID, newExecutionID())}
		x.openStore()
		return nil
	}
	if err := x.request.Resume.fits(digest, x.parsed); err != nil {
		return err
	}
	state := *x.request.Resume
	state.Chained = slices.Clone(state.Chained)
	x.state, x.resumed = &state, true
	for i := range state.Chained {
		c := state.Chained[i]
		x.scopes[c.Document].steps[stepName{c.Phase, c.Step}] = &c
		x.chained += c.size()
	}
	x.openStore()
	return nil
}

// openStore prepares what the Parameter Store has answered and will answer. Nested runs share it with the outermost one.
func (x *run) openStore() {
	if x.depth == 0 {
		x.stored = newStoredParameters(x.system.Parameters, x.state.Parameters, x.secrets)
		x.state.Parameters = x.stored.known
	}
}

// newExecutionID returns a random UUID (RFC 9562, version 4).
func newExecutionID() string {
	var id [16]byte
	rand.Read(id[:]) // never fails
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

func (x *run) selected(phase Phase) bool {
	return len(x.request.Phases) == 0 || slices.Contains(x.request.Phases, phase.Name)
}

// next returns the index of the first document from i on that has phases to run, or how many documents there are.
func (x *run) next(i int) int {
	for i < len(x.parsed) && !slices.ContainsFunc(x.parsed[i].Phases, x.selected) {
		i++
	}
	return i
}

func (x *run) documents(ctx context.Context) error {
	s := x.state
	next := s.Document
	if s.Ended {
		next++
	}
	for next = x.next(next); next < len(x.parsed); {
		x.resumed = x.resumed && next == s.Document
		s.Document, s.Ended = next, false
		if err := x.document(ctx, x.parsed[s.Document]); err != nil {
			return err
		}
		s.Ended = true
		if next = x.next(s.Document + 1); next < len(x.parsed) && x.due(x.request.PauseAfterDocument) {
			return errPaused
		}
	}
	return nil
}

func (x *run) document(ctx context.Context, d *Document) error {
	s, start := x.state, time.Now()
	if !x.resumed {
		s.Phase, s.DocumentStatus = 0, StatusSuccess
		x.emit(Event{Type: DocumentStarted, Path: x.request.Documents[s.Document].file(), Name: d.Name, Description: d.Description, ExecutionID: s.ExecutionID})
	}
	for i := s.Phase; i < len(d.Phases); i++ {
		if !x.selected(d.Phases[i]) {
			continue
		}
		s.Phase = i
		err := x.phase(ctx, d.Phases[i], slices.ContainsFunc(d.Phases[i+1:], x.selected))
		if err != nil && !errors.Is(err, errAborted) {
			return err
		}
		s.DocumentStatus = worse(s.DocumentStatus, s.PhaseStatus)
		if err != nil {
			x.emit(Event{Type: DocumentEnded, Status: s.DocumentStatus, DurationMS: since(start)})
			return err
		}
	}
	x.emit(Event{Type: DocumentEnded, Status: s.DocumentStatus, DurationMS: since(start)})
	return nil
}

// phase runs a phase, which more phases of its document may follow.
func (x *run) phase(ctx context.Context, p Phase, more bool) error {
	s, start := x.state, time.Now()
	if !x.resumed {
		s.Step, s.PhaseStatus = 0, StatusSuccess
		x.emit(Event{Type: PhaseStarted, Phase: p.Name})
	}
	x.resumed = false
	for s.Step < len(p.Steps) {
		err := x.step(ctx, p, p.Steps[s.Step])
		if errors.Is(err, errAborted) {
			x.emit(Event{Type: PhaseEnded, Phase: p.Name, Status: s.PhaseStatus, DurationMS: since(start)})
		}
		if err != nil {
			return err
		}
		if (more || s.Step < len(p.Steps)) && x.due(false) {
			return errPaused
		}
	}
	x.emit(Event{Type: PhaseEnded, Phase: p.Name, Status: s.PhaseStatus, DurationMS: since(start)})
	return nil
}

// component is the name of the current document's component, without secrets.
func (x *run) component() string {
	d := x.request.Documents[x.state.Document]
	return x.secrets.clean(cmp.Or(d.Name, x.parsed[x.state.Document].Name, d.Path))
}

func (x *run) emit(e Event) {
	if x.silent() {
		return
	}
	x.emitting.Lock()
	defer x.emitting.Unlock()
	e.Time, e.Component, e.Depth = time.Now(), x.component(), x.depth
	x.secrets.event(&e)
	if x.recorder != nil {
		x.recorder.Event(e)
	}
	if x.Events != nil {
		x.Events(e)
	}
}

// print tells of output.
func (x *run) print(e Event, text []byte) {
	if x.Output == nil || e.Stream == StreamNotice || x.silent() {
		e.Text = string(text)
		x.emit(e)
		return
	}
	x.emitting.Lock()
	defer x.emitting.Unlock()
	e.Time, e.Component, e.Depth = time.Now(), x.component(), x.depth
	x.Output(e, text) // the recorder has no use for output
}

// silent tells whether nobody listens to the run.
func (x *run) silent() bool { return x.Events == nil && x.recorder == nil }

func since(start time.Time) int64 { return time.Since(start).Milliseconds() }
