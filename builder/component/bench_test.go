package component_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder/component"
)

// idle is an action that does nothing.
type idle struct {
	Text string `input:"text"`
}

func (idle) Run(context.Context, *component.Execution) (component.Outcome, error) {
	return component.Outcome{}, nil
}

// BenchmarkRunner measures what the engine adds to 1,000 steps, documents parsed and events taken.
func BenchmarkRunner(b *testing.B) {
	var document strings.Builder
	document.WriteString("schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n")
	for i := range 1000 {
		fmt.Fprintf(&document, "      - {name: S%d, action: Idle, inputs: {text: a}}\n", i)
	}
	var recorder component.Recorder
	runner := component.Runner{
		Modules: component.Modules{"Idle": component.MapModule[idle](component.Spec{})},
		Events:  func(e component.Event) { recorder.Event(e) },
	}
	request := component.Request{
		Documents:        []component.RunDocument{{Name: "d", Content: []byte(document.String())}},
		WorkingDirectory: b.TempDir(),
	}
	b.ReportAllocs()
	for b.Loop() {
		recorder = component.Recorder{}
		if result, err := runner.Run(context.Background(), request); err != nil || result.ExecutedSteps != 1000 {
			b.Fatal(result, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "µs/step")
}
