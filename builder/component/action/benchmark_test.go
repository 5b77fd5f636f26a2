package action_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/action"
)

// BenchmarkCreateFile runs a document of 1,000 steps, as long as documents may be, and tells the time of one step. In a guest without
// hardware acceleration a step is to take less than 2 ms.
func BenchmarkCreateFile(b *testing.B) {
	const steps = 1000
	var document strings.Builder
	document.WriteString("schemaVersion: 1.0\nphases: [{name: build, steps: [\n")
	for i := range steps {
		fmt.Fprintf(&document, "{name: s%d, action: CreateFile, inputs: [{path: f%d}]},\n", i, i)
	}
	document.WriteString("]}]\n")
	events := 0
	for b.Loop() {
		runner := component.Runner{
			Modules: action.Modules(), System: component.System{Root: b.TempDir()}, Events: func(component.Event) { events++ },
		}
		result, err := runner.Run(context.Background(), component.Request{
			Documents:        []component.RunDocument{{Name: "d", Content: []byte(document.String())}},
			WorkingDirectory: "/work",
		})
		if err != nil || result.ExecutedSteps != steps || result.FailedSteps != 0 {
			b.Fatalf("%+v, %v", result, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*steps), "µs/step")
}
