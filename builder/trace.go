package builder

import (
	"encoding/json"
	"io"
	"math"
)

// traceEvent is an event of the Trace Event Format, which chrome://tracing and Perfetto read ("Trace Event Format", Google, sections
// "Complete Events", "Instant Events" and "Metadata Events").
type traceEvent struct {
	Name       string         `json:"name"`
	Phase      string         `json:"ph"` // X: complete, i: instant, M: metadata
	Process    int            `json:"pid"`
	Thread     int            `json:"tid"`
	TimeUS     int64          `json:"ts"`
	DurationUS *int64         `json:"dur,omitempty"`
	Scope      string         `json:"s,omitempty"`
	Category   string         `json:"cat,omitempty"`
	Args       map[string]any `json:"args,omitempty"`
}

// trace gathers events, one thread for each lane.
type trace struct {
	events  []traceEvent
	threads int
}

// WriteTrace writes the timings as a trace for chrome://tracing and Perfetto (ui.perfetto.dev): one row each for the stages, the
// components with their steps, the layers, and every test VM. What came out of a layer takes no time and is not in it.
func (t *Timings) WriteTrace(w io.Writer) error {
	var r trace
	title := "ingot build"
	if t.Image != "" {
		title += " " + t.Image
	}
	r.metadata("process_name", 0, title)
	stages := r.thread("stages")
	for _, s := range t.Stages {
		r.complete(stages, s.Name, "stage", s.Span, map[string]any{"cached": s.Cached, "failed": s.Failed})
	}
	components := r.thread("components")
	for _, s := range t.Stages {
		r.components(components, s.Components)
	}
	layers := r.thread("layers")
	if l := t.Layer; l != nil {
		for _, s := range t.Stages {
			if s.Name == StageBoot {
				r.events = append(r.events, traceEvent{Name: "go on from " + l.ID, Phase: "i", Process: 1, Thread: layers, TimeUS: microseconds(s.StartMS),
					Scope: "t", Category: "layer", Args: map[string]any{"components": l.Components, "memory": l.Memory, "savesMs": l.SavesMS}})
				break
			}
		}
	}
	for _, l := range t.Saved {
		r.complete(layers, "save "+l.ID, "layer", l.Span, map[string]any{"component": l.Component, "step": l.Step, "bytes": l.SizeBytes})
	}
	for _, s := range t.Stages {
		for _, test := range s.Tests {
			thread := r.thread("test " + test.Name)
			r.complete(thread, test.Name, "test", test.Span, map[string]any{"status": test.Status})
			r.components(thread, test.Components)
		}
	}
	return json.NewEncoder(w).Encode(map[string]any{"displayTimeUnit": "ms", "traceEvents": r.events})
}

// components draws components and their steps, which lie within them.
func (r *trace) components(thread int, components []ComponentTiming) {
	for _, c := range components {
		if c.Cached {
			continue
		}
		args := map[string]any{}
		if c.After != "" {
			args["after"] = c.After
		}
		r.complete(thread, c.Name, "component", c.Span, args)
		for _, s := range c.Steps {
			args := map[string]any{"phase": s.Phase, "action": s.Action, "attempts": s.Attempts, "status": s.Status}
			if s.Component != "" {
				args["component"] = s.Component
			}
			r.complete(thread, s.Name, "step", s.Span, args)
		}
	}
}

// thread begins a row and gives its number; rows are shown in their order.
func (r *trace) thread(name string) int {
	r.threads++
	r.metadata("thread_name", r.threads, name)
	r.events = append(r.events, traceEvent{Name: "thread_sort_index", Phase: "M", Process: 1, Thread: r.threads, Args: map[string]any{"sort_index": r.threads}})
	return r.threads
}

func (r *trace) metadata(what string, thread int, name string) {
	r.events = append(r.events, traceEvent{Name: what, Phase: "M", Process: 1, Thread: thread, Args: map[string]any{"name": name}})
}

// complete draws a span. Its end is rounded like the beginning of what follows, so that neighbours do not overlap.
func (r *trace) complete(thread int, name, category string, s Span, args map[string]any) {
	start := microseconds(s.StartMS)
	duration := microseconds(s.StartMS+s.DurationMS) - start
	r.events = append(r.events, traceEvent{Name: name, Phase: "X", Process: 1, Thread: thread, TimeUS: start, DurationUS: &duration, Category: category, Args: args})
}

func microseconds(ms float64) int64 { return int64(math.Round(ms * 1000)) }
