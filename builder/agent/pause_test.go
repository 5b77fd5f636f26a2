package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder/component"
)

// tell is an action that prints a text and gives it on.
type tell struct {
	Text string `input:"text"`
}

func (a tell) Run(_ context.Context, x *component.Execution) (component.Outcome, error) {
	fmt.Fprintln(x.Stdout, a.Text)
	time.Sleep(time.Millisecond) // so that it is time for a pause
	return component.Outcome{Outputs: map[string]string{"text": a.Text}}, nil
}

func tellDocument(texts ...string) component.RunDocument {
	document := "schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n"
	for i, text := range texts {
		document += fmt.Sprintf("      - {name: S%d, action: Tell, inputs: {text: '%s'}}\n", i, text)
	}
	return component.RunDocument{Name: "tell", Content: []byte(document)}
}

// TestPause runs documents over their pauses, each part in a session of its own, as after the resume of a layer, and wants the events of a
// run without pauses.
func TestPause(t *testing.T) {
	p, _ := serve(t, component.Modules{"Tell": component.MapModule[tell](component.Spec{Outputs: []string{"text"}})})
	stored := &cloud{}
	request := component.Request{
		Documents: []component.RunDocument{
			tellDocument("one", "two {{ build.S0.outputs.text }}", "{{ aws:ssm:/known }}"), tellDocument("three", "{{ aws:ssm:/known }} secret-value"),
		},
		WorkingDirectory: t.TempDir(),
		Redact:           []string{"secret-value"},
	}
	run := func(request component.Request) (lines []string, results []*component.Result) {
		for range 10 {
			c := connected(t, p)
			result, err := c.Run(t.Context(), request, stored.services(), func(e component.Event) {
				lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", e.Type, e.Step, e.Status, e.Text)))
			})
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			results = append(results, result)
			if result.Status != component.StatusPaused {
				return lines, results
			}
			request.Resume = result.State.WithoutParameters()
			if request.Resume, err = request.Resume.For(request); err != nil {
				t.Fatal(err)
			}
		}
		t.Fatal("too many parts")
		return nil, nil
	}
	want, _ := run(request)
	request.PauseAfterMS, request.PauseAfterDocument = 1, true
	got, results := run(request)
	if !slices.Equal(got, want) {
		t.Errorf("with pauses:\n%s\nwithout:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if text := strings.Join(got, "\n"); strings.Contains(text, "hunter2") || strings.Contains(text, "secret-value") || !strings.Contains(text, "output S1  *** ***") {
		t.Errorf("told %s", text)
	}
	if len(results) != 5 {
		t.Errorf("%d parts", len(results))
	}
	for i, r := range results {
		if r.ExecutedSteps != i+1 || r.State == nil || (i == len(results)-1) != (r.Status == component.StatusSuccess) {
			t.Errorf("part %d: %+v", i, r)
		}
		if state, err := json.Marshal(r.State.WithoutParameters()); err != nil || strings.Contains(string(state), "hunter2") {
			t.Errorf("part %d: the state has the secret: %s, %v", i, state, err)
		}
	}
}
