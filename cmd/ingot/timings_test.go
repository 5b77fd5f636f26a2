package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder"
	"github.com/ingot-image/ingot/builder/component"
)

// warmEvents are those of a build that goes on from a layer, fails in its tests, and has its logs in a folder.
func warmEvents(output, logs string) []builder.Event {
	layer := &builder.LayerEvent{ID: "l1", Components: []string{"index", "evil\x1b[2J"}, Component: "site", Step: "Copy", Memory: true}
	step := func(t component.EventType) *component.Event {
		return &component.Event{Type: t, Component: "site", Phase: "build", Step: "Write", Attempt: 1}
	}
	failure := &builder.Failure{Stage: builder.StageTest, Log: logs}
	events := []builder.Event{
		{Type: builder.StageStarted, Stage: builder.StageResolve},
		{Type: builder.BuildStarted, Stage: builder.StageResolve, Image: "x/1.0.0/2", Folder: output},
		{Type: builder.StageEnded, Stage: builder.StageResolve},
		{Type: builder.StageStarted, Stage: builder.StageBoot},
		{Type: builder.LayerUsed, Stage: builder.StageBoot, Layer: layer},
		{Type: builder.StageEnded, Stage: builder.StageBoot},
		{Type: builder.StageStarted, Stage: builder.StageApply},
		{Type: builder.ComponentEvent, Stage: builder.StageApply, Component: step(component.StepStarted)},
		{Type: builder.ComponentEvent, Stage: builder.StageApply, Component: step(component.StepEnded)},
		{Type: builder.LayerSaved, Stage: builder.StageApply, DurationMS: 700, Layer: layer},
		{Type: builder.StageEnded, Stage: builder.StageApply},
		{Type: builder.StageStarted, Stage: builder.StageTest},
		{Type: builder.TestStarted, Stage: builder.StageTest, Test: "bios-virtio"},
		{Type: builder.TestEnded, Stage: builder.StageTest, Test: "bios-virtio", Status: builder.TestFailed},
		{Type: builder.StageEnded, Stage: builder.StageTest, Failure: failure},
		{Type: builder.BuildEnded, Stage: builder.StageTest, Failure: failure},
	}
	for i := range events {
		events[i].Time = time.Unix(int64(i), 0)
	}
	return events
}

func TestTimingsTable(t *testing.T) {
	var timing timing
	for _, e := range warmEvents("", "") {
		timing.event(e)
	}
	var out bytes.Buffer
	if err := timing.print(&out); err != nil {
		t.Fatal(err)
	}
	const want = `
stage          time
resolve        2.0s
boot           2.0s  cached
apply          4.0s
  index            -  cached
  evil[2J          -  cached
  site           4.0s  cached up to step Copy
  layers         0.7s  1 saved
test           3.0s  failed
  bios-virtio    1.0s  failed
total            15s
`
	squeeze := func(text string) string {
		var lines []string
		for line := range strings.Lines(text) {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
		return strings.Join(lines, "\n")
	}
	if squeeze(out.String()) != squeeze(want) {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	// A build with mistakes took no time worth a table.
	timing.timeline = builder.Timeline{}
	timing.event(builder.Event{Type: builder.StageStarted, Stage: builder.StageResolve})
	timing.event(builder.Event{Type: builder.BuildEnded, Problems: component.Problems{{Message: "x"}}})
	out.Reset()
	if timing.print(&out); out.Len() > 0 {
		t.Errorf("printed %q", out.String())
	}
}

func TestTimingsFiles(t *testing.T) {
	output, logs := t.TempDir(), t.TempDir()
	for _, failed := range []bool{true, false} {
		var timing timing
		for _, e := range warmEvents(output, logs) {
			if e.Type == builder.BuildEnded && !failed {
				e.Failure = nil
			}
			timing.event(e)
		}
		for range 2 { // the second ones take the place of the first
			if err := timing.write(); err != nil {
				t.Fatal(err)
			}
		}
		folder := map[bool]string{true: logs, false: output}[failed]
		for _, name := range []string{"x-1.0.0-2.timings.json", "x-1.0.0-2.trace.json"} {
			data, err := os.ReadFile(filepath.Join(folder, name))
			var v any
			if err != nil || json.Unmarshal(data, &v) != nil {
				t.Errorf("%s: %v: %s", name, err, data)
			}
		}
		if entries, _ := os.ReadDir(output); failed == (len(entries) > 0) {
			t.Errorf("failed %v: %v in the output folder", failed, entries)
		}
	}
}
