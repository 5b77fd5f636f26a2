package builder

import (
	"bytes"
	"cmp"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder/component"
)

// recorded is the event log of a real build that was interrupted while its third test ran, without output and details.
func recorded(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/timings/interrupted.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestTimingsOfARecordedBuild(t *testing.T) {
	timings, err := ReadTimings(bytes.NewReader(recorded(t)))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	tell := func(indent, name string, s Span, more ...string) {
		lines = append(lines, strings.TrimRight(indent+name+" "+s.Duration().Round(time.Second).String()+strings.Join(more, ""), " "))
	}
	for _, s := range timings.Stages {
		tell("", s.Name, s.Span)
		for _, c := range s.Components {
			tell("  ", c.Name, c.Span)
			for _, step := range c.Steps {
				tell("    ", step.Phase+"/"+step.Name, step.Span, " ", string(step.Status))
			}
		}
		for _, test := range s.Tests {
			tell("  ", test.Name, test.Span, " ", test.Status)
			for _, c := range test.Components {
				tell("    ", c.Name, c.Span)
			}
		}
	}
	want := strings.Split(strings.TrimSpace(recordedTimings), "\n")
	if !slices.Equal(lines, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if timings.Image != "five/1.0.0/1" || !timings.Failed || timings.Layer != nil || len(timings.Saved) != 0 {
		t.Errorf("%+v", timings)
	}
	var stages float64
	for _, s := range timings.Stages {
		stages += s.DurationMS
	}
	if stages < timings.DurationMS*0.99 || stages > timings.DurationMS {
		t.Errorf("the stages take %.0f ms of %.0f", stages, timings.DurationMS)
	}
}

// A stream may end anywhere: what ran then has lasted until then.
func TestTimingsOfACutStream(t *testing.T) {
	lines := bytes.SplitAfter(recorded(t), []byte("\n"))
	for n := range lines {
		cut := slices.Concat(lines[:n]...)
		timings, err := ReadTimings(bytes.NewReader(append(cut, `{"time":"20`...)))
		if err != nil {
			t.Fatal(err)
		}
		checkNesting(t, timings)
		again, _ := json.Marshal(timings)
		var read Timings
		if err := json.Unmarshal(again, &read); err != nil || read.DurationMS != timings.DurationMS {
			t.Fatalf("%s: %v", again, err)
		}
	}
	if _, err := ReadTimings(strings.NewReader("{\n")); err == nil {
		t.Error("a line that is no event was taken")
	}
}

// checkNesting wants every event of a row to lie within the one before or after it: what viewers can draw.
func checkNesting(t *testing.T, timings *Timings) (threads map[int]string) {
	t.Helper()
	var out bytes.Buffer
	if err := timings.WriteTrace(&out); err != nil {
		t.Fatal(err)
	}
	var trace struct {
		TraceEvents []struct {
			Name, Ph string
			Ts, Dur  *int64
			Pid, Tid int
			Args     map[string]any
		}
	}
	if err := json.Unmarshal(out.Bytes(), &trace); err != nil {
		t.Fatal(err)
	}
	threads = map[int]string{}
	type span struct {
		name       string
		start, end int64
	}
	rows := map[int][]span{}
	for _, e := range trace.TraceEvents {
		switch e.Ph {
		case "M":
			if e.Name == "thread_name" {
				threads[e.Tid] = e.Args["name"].(string)
			}
		case "X":
			if e.Ts == nil || e.Dur == nil || *e.Ts < 0 || *e.Dur < 0 || e.Pid != 1 || threads[e.Tid] == "" {
				t.Fatalf("bad event %+v in %s", e, out.String())
			}
			rows[e.Tid] = append(rows[e.Tid], span{e.Name, *e.Ts, *e.Ts + *e.Dur})
		case "i":
		default:
			t.Errorf("event of phase %q", e.Ph)
		}
	}
	for tid, row := range rows {
		slices.SortStableFunc(row, func(a, b span) int { return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(b.end, a.end)) })
		var open []span
		for _, s := range row {
			for len(open) > 0 && open[len(open)-1].end <= s.start {
				open = open[:len(open)-1]
			}
			if len(open) > 0 && s.end > open[len(open)-1].end {
				t.Errorf("%s: %+v reaches out of %+v", threads[tid], s, open[len(open)-1])
			}
			open = append(open, s)
		}
	}
	return threads
}

// clock makes events a second apart.
type clock struct {
	now    time.Time
	events []Event
}

func (c *clock) event(e Event) {
	c.now = c.now.Add(time.Second)
	e.Time = c.now
	c.events = append(c.events, e)
}

func (c *clock) step(t component.EventType, name, step string, more ...func(*component.Event)) {
	e := component.Event{Type: t, Component: name, Phase: "build", Step: step, Attempt: 1}
	for _, f := range more {
		f(&e)
	}
	c.event(Event{Type: ComponentEvent, Stage: StageApply, Component: &e})
}

func TestTimingsOfAWarmBuild(t *testing.T) {
	c := &clock{now: time.Unix(0, 0)}
	c.event(Event{Type: StageStarted, Stage: StageBoot, Image: "x/1.0.0/2"})
	c.event(Event{Type: LayerUsed, Stage: StageBoot, Layer: &LayerEvent{ID: "old", Components: []string{"one", "two", "three"}, Memory: true}})
	// That one was damaged.
	c.event(Event{Type: LayerUsed, Stage: StageBoot, Layer: &LayerEvent{ID: "good", Components: []string{"one"}, Component: "two", Step: "B", Memory: true}})
	c.event(Event{Type: StageEnded, Stage: StageBoot, Cached: true})
	c.event(Event{Type: StageStarted, Stage: StageApply})
	attempt := func(n int) func(*component.Event) { return func(e *component.Event) { e.Attempt = n } }
	inner := func(e *component.Event) { e.Depth, e.Component = 1, "inner" }
	c.step(component.StepStarted, "two", "C")
	c.step(component.StepStarted, "two", "C", attempt(2))
	c.step(component.DocumentStarted, "two", "", inner)
	c.step(component.StepStarted, "two", "C", inner)
	c.step(component.StepEnded, "two", "C", inner)
	c.step(component.DocumentEnded, "two", "", inner)
	c.step(component.StepEnded, "two", "C", attempt(2))
	c.step(component.DocumentEnded, "two", "")
	c.event(Event{Type: LayerSaved, Stage: StageApply, DurationMS: 700, Layer: &LayerEvent{ID: "new", Components: []string{"one", "two"}, Component: "two", Step: "C", SizeBytes: 5}})
	c.step(component.DocumentStarted, "three", "")
	c.step(component.StepStarted, "three", "R")
	c.step(component.Reboot, "three", "")
	c.step(component.StepStarted, "three", "R") // goes on after the reboot
	c.step(component.StepEnded, "three", "R")
	// Between two steps the guest stands still for a layer; three does not start again.
	c.event(Event{Type: LayerSaved, Stage: StageApply, DurationMS: 500, Layer: &LayerEvent{ID: "within", Components: []string{"one", "two"}, Component: "three", Step: "R"}})
	c.step(component.StepStarted, "three", "S")
	c.step(component.StepEnded, "three", "S")
	c.step(component.DocumentEnded, "three", "")
	// The same component for a second time.
	c.step(component.DocumentStarted, "three", "")
	c.step(component.StepStarted, "three", "S")
	c.event(Event{Type: StageEnded, Stage: StageApply, Failure: &Failure{}})
	c.event(Event{Type: BuildEnded, Failure: &Failure{}})
	var timeline Timeline
	for _, e := range c.events {
		timeline.Add(e)
	}
	timings := timeline.Timings()
	checkNesting(t, timings)
	if timings.Layer == nil || timings.Layer.ID != "good" || len(timings.Stages) != 2 || !timings.Stages[0].Cached || !timings.Stages[1].Failed || !timings.Failed {
		t.Fatalf("%+v", timings)
	}
	var got []string
	for _, c := range timings.Stages[1].Components {
		line := c.Name
		if c.Cached {
			line += " cached"
		}
		if c.After != "" {
			line += " after " + c.After
		}
		for _, s := range c.Steps {
			line += " " + s.Component + "/" + s.Name + strings.Repeat("+", s.Attempts-1) + "=" + s.Duration().String()
		}
		got = append(got, line)
	}
	want := []string{"one cached", "two after B /C+=6s inner/C=1s", "three /R=3s /S=1s", "three /S=1s"}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(timings.Saved) != 2 || timings.Saved[0].ID != "new" || timings.Saved[0].Duration() != 700*time.Millisecond || timings.Saved[0].SizeBytes != 5 {
		t.Errorf("%+v", timings.Saved)
	}
}

// A guest that loops for ever must not take the host's memory.
func TestTimingsAreBounded(t *testing.T) {
	c := &clock{now: time.Unix(0, 0)}
	var timeline Timeline
	timeline.Add(Event{Type: StageStarted, Stage: StageApply, Time: c.now})
	for range MaxTimedSteps + 10 {
		c.events = c.events[:0]
		c.step(component.StepStarted, "a", "S")
		c.step(component.StepEnded, "a", "S")
		for _, e := range c.events {
			timeline.Add(e)
		}
	}
	timings := timeline.Timings()
	if n := len(timings.Stages[0].Components[0].Steps); n != MaxTimedSteps || timings.StepsLeftOut != 10 {
		t.Errorf("%d steps, %d left out", n, timings.StepsLeftOut)
	}
}

const recordedTimings = `
resolve 0s
base 0s
boot 44s
apply 1m46s
  package-index 38s
    build/Update 38s success
  nginx 52s
    build/Install 35s success
    build/Enable 16s success
    validate/Installed 0s success
  application 1s
    build/MakeFolders 0s success
    build/WriteProgram 0s success
    build/WriteTemplates 0s success
    build/WriteLanguages 0s success
    build/WriteProducts 0s success
    validate/Complete 0s success
  service 16s
    build/AddUser 1s success
    build/WriteUnit 0s success
    build/Start 12s success
    validate/Answers 3s success
  configuration 0s
    build/WriteSite 0s success
    validate/Valid 0s success
finalise 14s
flatten 1s
test 2m42s
  uefi-virtio 2m1s PASSED
    nginx 1s
    configuration 0s
  bios-virtio 2m5s PASSED
    nginx 0s
    configuration 0s
  bios-nvme 41s 
`
