package component_test

import (
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/action"
)

// TestRunnerOutput wants the same text by Output as by Events, whole lines or pieces of long ones, without what is not UTF-8.
func TestRunnerOutput(t *testing.T) {
	document := `schemaVersion: 1.0
phases:
- name: build
  steps:
  - name: Print
    action: ExecuteBash
    inputs:
      commands:
        - for i in $(seq 20000); do echo "line $i of many, some of which are a good deal longer than others"; done
        - head -c 300000 /dev/zero | tr '\0' x; echo; printf 'a\377b\nno end'
`
	run := func(direct bool) string {
		var text strings.Builder
		take := func(e component.Event, data string) {
			if e.Type != component.Output || e.Step != "Print" || e.Time.IsZero() || len(data) > component.MaxOutputText || len(data) == 0 {
				t.Errorf("%d bytes of %+v", len(data), e)
			}
			text.WriteString(data)
		}
		runner := component.Runner{Modules: action.Modules(), OutputLimit: -1}
		runner.Events = func(e component.Event) {
			if e.Type == component.Output && e.Stream != component.StreamNotice {
				if direct {
					t.Errorf("an output event: %q", e.Text)
				}
				take(e, e.Text)
			}
		}
		if direct {
			runner.Output = func(e component.Event, data []byte) { take(e, string(data)) }
		}
		result, err := runner.Run(t.Context(), component.Request{
			Documents: []component.RunDocument{{Name: "d", Content: []byte(document)}}, WorkingDirectory: t.TempDir(),
		})
		if err != nil || result.Status != component.StatusSuccess {
			t.Fatalf("%+v, %v", result, err)
		}
		return text.String()
	}
	want := run(false)
	if !strings.HasSuffix(want, "\na?b\nno end") || strings.Count(want, "\n") != 20_002 {
		t.Errorf("the text is %d bytes long and ends in %q", len(want), want[len(want)-20:])
	}
	if got := run(true); got != want {
		t.Errorf("by Output came %d bytes, by Events %d", len(got), len(want))
	}
}
