package builder

import (
	"bufio"
	"cmp"
	"encoding/json"
	"io"
	"math"
	"slices"
	"time"

	"github.com/ingot-image/ingot/builder/component"
)

// Timings tells where the time of a build went. See [Timeline].
type Timings struct {
	// Image is NAME/VERSION/BUILD, empty if the build ended before it had a number.
	Image   string    `json:"image,omitempty"`
	Started time.Time `json:"started"`
	// DurationMS is that of the whole build in milliseconds.
	DurationMS float64 `json:"durationMs"`
	// Failed is true if the build failed or was interrupted.
	Failed bool          `json:"failed"`
	Stages []StageTiming `json:"stages"`
	// Layer is the layer that the build went on from, nil if it began with a boot.
	Layer *LayerEvent `json:"layer,omitempty"`
	// Saved are the layers that were saved.
	Saved []LayerTiming `json:"saved"`
	// StepsLeftOut is how many steps there were beyond the first [MaxTimedSteps]. Their time is in that of their components.
	StepsLeftOut int `json:"stepsLeftOut,omitempty"`
}

// MaxTimedSteps is how many steps of a build are told one by one: a document's loop may run many more.
const MaxTimedSteps = 50_000

// Span is a piece of time of a build, in milliseconds from its start. It is measured by the host's clock.
type Span struct {
	StartMS    float64 `json:"startMs"`
	DurationMS float64 `json:"durationMs"`
}

// Duration is how long it took.
func (s Span) Duration() time.Duration {
	return time.Duration(s.DurationMS * float64(time.Millisecond))
}

// StageTiming is one stage. A stage may be there more than once, if something in it was done again.
type StageTiming struct {
	Name string `json:"name"`
	Span
	// Cached tells that the stage's result was there already.
	Cached     bool              `json:"cached"`
	Failed     bool              `json:"failed,omitempty"`
	Components []ComponentTiming `json:"components,omitempty"`
	Tests      []TestTiming      `json:"tests,omitempty"`
}

// ComponentTiming is one component in one guest, all phases that ran in it together.
type ComponentTiming struct {
	Name string `json:"name"`
	// The span is empty for a component that is cached. Otherwise it leaves nothing out: what layers took within it is in it.
	Span
	// Cached tells that a layer holds the whole component.
	Cached bool `json:"cached"`
	// After is the step that a layer ended with in this component: those up to it are cached.
	After string       `json:"after,omitempty"`
	Steps []StepTiming `json:"steps,omitempty"`
}

// StepTiming is one step, with all its attempts. A step in a loop is there once a round.
type StepTiming struct {
	Component string `json:"component,omitempty"` // if it is another's than that it is listed with: a nested document's
	Phase     string `json:"phase"`
	Name      string `json:"name"`
	Action    string `json:"action"`
	Span
	Attempts int `json:"attempts"`
	// Status is empty for a step that did not end.
	Status component.Status `json:"status,omitempty"`
	// Depth is how many ExecuteDocument steps it is inside of.
	Depth int `json:"depth,omitempty"`
}

// TestTiming is one test VM, its boot included.
type TestTiming struct {
	Name string `json:"name"`
	Span
	// Status is PASSED or FAILED, empty for a test that was stopped.
	Status     string            `json:"status,omitempty"`
	Components []ComponentTiming `json:"components,omitempty"`
}

// LayerTiming is one layer that was saved. The guest stood still in that span.
type LayerTiming struct {
	ID    string `json:"id"`
	Stage string `json:"stage"`
	// Component and Step are what the layer ends with, empty for the booted base.
	Component string `json:"component,omitempty"`
	Step      string `json:"step,omitempty"`
	Span
	SizeBytes int64 `json:"sizeBytes"`
}

// Timeline makes [Timings] of the events of one build, and needs nothing else: the events of a finished build can be read back from
// its events.jsonl. The zero value is ready. It is not safe for use by several goroutines; a [Builder] sends one event at a time.
//
//	var timeline builder.Timeline
//	b.Events = timeline.Add
//	_, err := b.Build(ctx, o)
//	timeline.Timings().WriteTrace(file)
type Timeline struct {
	timings Timings
	now     float64 // the last event's time
	running bool    // the last stage
	lanes   map[string]*lane
	steps   int
}

// lane is what a guest does: that of the build ("") or of a test.
type lane struct {
	components []ComponentTiming
	over       bool         // the last component has ended
	open       []StepTiming // steps that run, the outermost first
	held       []string     // components that a layer holds and that are not in components yet
}

// ReadTimings makes the timings of a stream of events, such as a build's events.jsonl. A last line that was not wholly written is left out.
func ReadTimings(r io.Reader) (*Timings, error) {
	var t Timeline
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return t.Timings(), nil
		}
		if err != nil {
			return nil, err
		}
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, err
		}
		t.Add(e)
	}
}

// Add takes the next event.
func (t *Timeline) Add(e Event) {
	if t.timings.Started.IsZero() {
		// A log begins after the first stage, whose end tells when it began.
		t.timings.Started = e.Time
		if e.Type == StageEnded {
			t.timings.Started = e.Time.Add(-time.Duration(e.DurationMS) * time.Millisecond)
		}
		t.lanes = map[string]*lane{}
	}
	t.now = max(t.now, milliseconds(e.Time.Sub(t.timings.Started)))
	if e.Image != "" {
		t.timings.Image = e.Image
	}
	switch e.Type {
	case StageStarted:
		t.timings.Stages, t.running = append(t.timings.Stages, StageTiming{Name: e.Stage, Span: Span{StartMS: t.now}}), true
		if l := t.lanes[""]; e.Stage == StageApply && l != nil && !l.over {
			l.components[len(l.components)-1].StartMS = t.now // what a layer has begun goes on now
		}
	case StageEnded:
		t.stageEnded(e)
	case TestStarted:
		if s := t.stage(e.Stage); s != nil {
			s.Tests = append(s.Tests, TestTiming{Name: e.Test, Span: Span{StartMS: t.now}})
		}
	case TestEnded:
		if test := t.test(e.Stage, e.Test); test != nil {
			test.Status, test.DurationMS = e.Status, t.now-test.StartMS
			test.Components = t.lane(e.Test).end(t)
			delete(t.lanes, e.Test)
		}
	case LayerUsed:
		t.layerUsed(e)
	case LayerSaved:
		if e.Layer != nil {
			l := LayerTiming{ID: e.Layer.ID, Stage: e.Stage, Component: e.Layer.Component, Step: e.Layer.Step, SizeBytes: e.Layer.SizeBytes}
			l.DurationMS = min(float64(e.DurationMS), t.now)
			l.StartMS = t.now - l.DurationMS
			t.timings.Saved = append(t.timings.Saved, l)
		}
	case ComponentEvent:
		if e.Component != nil {
			t.component(t.lane(e.Test), e.Component)
		}
	case BuildEnded:
		t.timings.Failed = e.Failure != nil || len(e.Problems) > 0
	}
}

// stage is the last stage of that name.
func (t *Timeline) stage(name string) *StageTiming {
	for i, s := range slices.Backward(t.timings.Stages) {
		if s.Name == name {
			return &t.timings.Stages[i]
		}
	}
	return nil
}

// test is a test that has not ended.
func (t *Timeline) test(stage, name string) *TestTiming {
	s := t.stage(stage)
	if s == nil {
		return nil
	}
	i := slices.IndexFunc(s.Tests, func(x TestTiming) bool { return x.Name == name && x.DurationMS == 0 })
	if i < 0 {
		return nil
	}
	return &s.Tests[i]
}

func (t *Timeline) lane(test string) *lane {
	if t.lanes[test] == nil {
		t.lanes[test] = &lane{}
	}
	return t.lanes[test]
}

func (t *Timeline) stageEnded(e Event) {
	s := t.stage(e.Stage)
	if s == nil {
		start := max(0, t.now-float64(e.DurationMS))
		t.timings.Stages = append(t.timings.Stages, StageTiming{Name: e.Stage, Span: Span{StartMS: start}})
		s = t.stage(e.Stage)
	}
	s.DurationMS, s.Cached, s.Failed, t.running = t.now-s.StartMS, e.Cached, e.Failure != nil, false
	for i, test := range s.Tests {
		if test.DurationMS == 0 { // stopped
			s.Tests[i].DurationMS, s.Tests[i].Components = t.now-test.StartMS, t.lane(test.Name).end(t)
			delete(t.lanes, test.Name)
		}
	}
	if l := t.lanes[""]; e.Stage == StageApply && l != nil {
		s.Components = l.end(t)
		delete(t.lanes, "")
	}
}

// layerUsed notes what a layer holds. If that layer could not be used after all, the event comes again with another one, or the
// components that it held run like others.
func (t *Timeline) layerUsed(e Event) {
	if e.Layer == nil {
		return
	}
	used := *e.Layer
	t.timings.Layer = &used
	l := &lane{}
	for _, name := range used.Components {
		l.components = append(l.components, ComponentTiming{Name: name, Cached: true})
	}
	l.over = true
	if used.Component != "" && !slices.Contains(used.Components, used.Component) {
		l.components = append(l.components, ComponentTiming{Name: used.Component, After: used.Step, Span: Span{StartMS: t.now}})
		l.over = false
	}
	t.lanes[""] = l
}

// component takes an event of the component engine. After a reboot or a pause the engine does not say again what has started.
func (t *Timeline) component(l *lane, e *component.Event) {
	if e.Type == component.Output {
		return
	}
	n := len(l.components)
	if e.Depth == 0 && (n == 0 || l.over || e.Type == component.DocumentStarted && !l.fresh()) {
		l.components = append(l.components, ComponentTiming{Name: e.Component, Span: Span{StartMS: t.now}})
		l.over = false
		n++
	}
	if n == 0 {
		return // from inside of a document that nobody told of
	}
	current := &l.components[n-1]
	switch e.Type {
	case component.StepStarted:
		// Further attempts belong to the step that runs, and so does its going on after a reboot.
		if last := len(l.open) - 1; last >= 0 && l.open[last].is(e) {
			l.open[last].Attempts = max(l.open[last].Attempts, e.Attempt)
			break
		}
		s := StepTiming{Phase: e.Phase, Name: e.Step, Action: e.Action, Span: Span{StartMS: t.now}, Attempts: max(1, e.Attempt), Depth: e.Depth}
		if e.Component != current.Name {
			s.Component = e.Component
		}
		l.open = append(l.open, s)
	case component.StepEnded:
		for i, s := range slices.Backward(l.open) {
			if s.is(e) {
				s.Status, s.Attempts = e.Status, max(s.Attempts, e.Attempt)
				t.closeSteps(l, i, s)
				break
			}
		}
	case component.DocumentEnded:
		if e.Depth == 0 {
			t.closeSteps(l, 0, StepTiming{})
			l.over = true
		}
	}
	current.DurationMS = t.now - current.StartMS
}

// fresh tells whether the last component has only just been named.
func (l *lane) fresh() bool {
	c := l.components[len(l.components)-1]
	return c.After != "" && len(c.Steps) == 0
}

func (s StepTiming) is(e *component.Event) bool {
	return s.Name == e.Step && s.Phase == e.Phase && s.Depth == e.Depth
}

// closeSteps ends the open steps from i on, the outermost of which is known to have ended as in first.
func (t *Timeline) closeSteps(l *lane, i int, first StepTiming) {
	current := &l.components[len(l.components)-1]
	for k, s := range l.open[min(i, len(l.open)):] {
		if k == 0 && first.Name != "" {
			s = first
		}
		s.DurationMS = t.now - s.StartMS
		if t.steps++; t.steps > MaxTimedSteps {
			t.timings.StepsLeftOut++
			continue
		}
		current.Steps = append(current.Steps, s)
	}
	l.open = l.open[:min(i, len(l.open))]
}

// end gives the lane's components; what still ran in it has ended now.
func (l *lane) end(t *Timeline) []ComponentTiming {
	if n := len(l.components); n > 0 && !l.over {
		t.closeSteps(l, 0, StepTiming{})
		l.components[n-1].DurationMS = t.now - l.components[n-1].StartMS
		l.over = true
	}
	for _, c := range l.components {
		slices.SortStableFunc(c.Steps, func(a, b StepTiming) int {
			return cmp.Or(cmp.Compare(a.StartMS, b.StartMS), cmp.Compare(a.Depth, b.Depth))
		})
	}
	return l.components
}

// Timings gives the timings when the last event has come, or those so far of a stream that was cut off: what has not ended yet ends
// with the last event there was.
func (t *Timeline) Timings() *Timings {
	if n := len(t.timings.Stages); t.running && n > 0 {
		t.stageEnded(Event{Stage: t.timings.Stages[n-1].Name})
	}
	r := t.timings
	r.DurationMS = t.now
	r.Stages = append([]StageTiming{}, r.Stages...)
	r.Saved = append([]LayerTiming{}, r.Saved...)
	return &r
}

// milliseconds is a time to the microsecond.
func milliseconds(d time.Duration) float64 { return math.Round(float64(d)/1e3) / 1e3 }
