package component_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder/component"
)

// pausing makes the run pause wherever it can.
func (b *bench) pausing() {
	b.request.PauseAfterMS, b.request.PauseAfterDocument = 1, true
	events := b.Events
	b.Events = func(e component.Event) {
		events(e)
		if e.Type == component.StepEnded {
			time.Sleep(time.Millisecond)
		}
	}
}

// runOn runs the request over its reboots and pauses and returns the last result, and how every part ended and where.
func (b *bench) runOn() (result *component.Result, parts []string) {
	b.t.Helper()
	for range 50 {
		result = b.run()
		part := string(result.Status)
		if s := result.State; s != nil {
			part += fmt.Sprintf(" %d.%d.%d", s.Document, s.Phase, s.Step)
			if s.Ended {
				part += " ended"
			}
		}
		parts = append(parts, part)
		if result.Status != component.StatusReboot && result.Status != component.StatusPaused {
			return result, parts
		}
		b.request.Resume = result.State
	}
	b.t.Fatal("too many parts")
	return nil, nil
}

// recorded runs the request to its end and returns what it told and did, without times.
func (b *bench) recorded() string {
	b.t.Helper()
	var recorder component.Recorder
	events := b.Events
	b.Events = func(e component.Event) { events(e); recorder.Event(e) }
	result, _ := b.runOn()
	detail := recorder.Detail()
	text := strings.Join(b.log(), "\n") + "\n" + b.output("stdout") + b.file("log")
	text += fmt.Sprintf("%s %d %d %d %+v\n", result.Status, result.ExecutedSteps, result.FailedSteps, result.IgnoredFailedSteps, result.Failure != nil)
	text += fmt.Sprintf("%s %s\n", detail.Status, detail.FailureMessage)
	for _, d := range detail.Documents {
		text += fmt.Sprintf("%s %s %s\n", d.FilePath, d.Status, d.FailureMessage)
		for _, p := range d.Phases {
			text += fmt.Sprintf("  %s %s %s\n", p.Name, p.Status, p.FailureMessage)
			for _, s := range p.Steps {
				text += fmt.Sprintf("    %s %s %s %s %s %v\n", s.Name, s.Status, s.FailureMessage, s.Inputs, s.Outputs, s.Loop)
			}
		}
	}
	return uuid.ReplaceAllString(text, "ID")
}

var uuid = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

const (
	onceReboot = "case $(grep -c %[1]s log) in 0) echo %[1]s >> log; exit 194;; esac; echo %[1]s done >> log"
	unselected = "  - {name: test, steps: [{name: T, action: ExecuteBash, inputs: {commands: ['echo never >> log']}}]}\n"
)

func shell(name, fields, command string) string {
	return fmt.Sprintf("{name: %s, action: ExecuteBash%s, inputs: {commands: [%q]}}", name, fields, command)
}

// TestPausesMakeNoDifference runs documents as they are and with all pauses there can be.
func TestPausesMakeNoDifference(t *testing.T) {
	more := func(phase string, list ...string) string {
		return "  - name: " + phase + "\n    steps:\n      - " + strings.Join(list, "\n      - ") + "\n"
	}
	tests := []struct {
		name      string
		documents []string
		parts     []string // with pauses
	}{
		{"one step", []string{steps(say("A", "a", ""))}, []string{"success 0.0.1 ended"}},
		{"steps", []string{steps(say("A", "a", ""), say("B", "b", ""), say("C", "c", ""))}, []string{"paused 0.0.1", "paused 0.0.2", "success 0.0.3 ended"}},
		{"documents", []string{steps(say("A", "a", "")), steps(say("B", "b", ""))}, []string{"paused 0.0.1 ended", "success 1.0.1 ended"}},
		{"phases", []string{steps(say("A", "a", "")) + more("validate", say("B", "b", ""))}, []string{"paused 0.0.1", "success 0.1.1 ended"}},
		{
			"phases that are not selected",
			[]string{
				strings.Replace(steps(say("A", "never", "")), "build", "test", 1),
				steps(say("B", "b", "")) + unselected,
				strings.Replace(steps(say("C", "never", "")), "build", "test", 1) + more("build", say("D", "d", "")) + more("container-host-test", say("E", "never", "")) + more("validate", say("F", "f", "")),
				strings.Replace(steps(say("G", "never", "")), "build", "test", 1),
			},
			[]string{"paused 1.0.1 ended", "paused 2.1.1", "success 2.3.1 ended"},
		},
		{
			"chained values",
			[]string{
				steps(say("A", "a", ""), say("B", "b", ""), say("C", "{{ build.A.outputs.stdout }} {{ build.B.inputs.commands[0] }}", "")) + more("validate", say("D", "{{ build.C.outputs.stdout }}", "")),
				steps(say("A", "aa", ""), say("B", "{{ build.A.outputs.stdout }}", "")),
			},
			[]string{"paused 0.0.1", "paused 0.0.2", "paused 0.0.3", "paused 0.1.1 ended", "paused 1.0.1", "success 1.0.2 ended"},
		},
		{
			"skipped and ignored",
			[]string{
				steps(say("A", "never", ", if: {stringEquals: a, value: b}"), shell("B", ", onFailure: Ignore", "exit 3"), shell("C", ", maxAttempts: 3", "echo x >> log; test $(grep -c x log) = 2")),
				steps(shell("D", ", onFailure: Ignore", "exit 3"), say("E", "never", ", if: {stringEquals: a, value: b}")),
			},
			[]string{"paused 0.0.1", "paused 0.0.2", "paused 0.0.3 ended", "paused 1.0.1", "success 1.0.2 ended"},
		},
		{
			"loops and documents in steps",
			[]string{steps(say("A", "{{ loop.value }}", ", loop: {forEach: [a, b, c]}"), call("B", "inner.yml", ""), say("C", "{{ build.A.outputs.stdout }}", ""))},
			[]string{"paused 0.0.1", "paused 0.0.2", "success 0.0.3 ended"},
		},
		{
			"reboots",
			[]string{
				steps(shell("A", "", fmt.Sprintf(onceReboot, "one")), "{name: B, action: Reboot}", say("C", "c", "")),
				steps(say("D", "{{ loop.index }}", ", loop: {for: {start: 1, end: 2, updateBy: 1}}"), shell("E", "", fmt.Sprintf(onceReboot, "two")), "{name: F, action: Reboot}"),
				steps("{name: G, action: Reboot}"),
			},
			[]string{
				"reboot 0.0.0", "paused 0.0.1", "reboot 0.0.2", "paused 0.0.3 ended", "paused 1.0.1", "reboot 1.0.1", "paused 1.0.2", "reboot 1.0.3",
				"paused 1.0.3 ended", "reboot 2.0.1", "success 2.0.1 ended",
			},
		},
		{
			"reboots in loops and documents",
			[]string{steps(
				shell("A", ", loop: {forEach: [u, v]}", strings.ReplaceAll(onceReboot, "%[1]s", "{{ loop.value }}")), call("B", "reboots.yml", ""), say("C", "c", ""),
			)},
			[]string{"reboot 0.0.0", "reboot 0.0.0", "paused 0.0.1", "reboot 0.0.1", "paused 0.0.2", "success 0.0.3 ended"},
		},
		{"failure", []string{steps(say("A", "a", ""), shell("B", "", "exit 3"), say("C", "never", "")), steps(say("D", "never", ""))}, []string{"paused 0.0.1", "failed"}},
		{
			"failure that goes on",
			[]string{steps(say("A", "a", ""), shell("B", ", onFailure: Continue", "exit 3"), say("C", "c", "")), steps(say("D", "d", ""), say("E", "e", ""))},
			[]string{"paused 0.0.1", "failed"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			prepared := func() *bench {
				b := newBench(t, test.documents...)
				b.put("log", "")
				b.put("inner.yml", steps(say("I", "i", ""), say("J", "j", "")))
				b.put("reboots.yml", steps(say("I", "i", ""), "{name: R, action: Reboot}", say("J", "j", "")))
				b.request.Phases = []string{"build", "validate"}
				return b
			}
			want := prepared().recorded()
			b := prepared()
			b.pausing()
			_, parts := b.runOn()
			compareLines(t, parts, test.parts...)
			b = prepared()
			b.pausing()
			if got := b.recorded(); got != want {
				t.Errorf("with pauses:\n%s\nwithout:\n%s", got, want)
			}
		})
	}
}

// TestPauseEvents looks at which events go before a pause and which come after it.
func TestPauseEvents(t *testing.T) {
	b := newBench(t, steps(say("A", "a", ""), say("B", "b", "")), steps(say("C", "c", "")))
	b.pausing()
	parts := [][]string{
		{"documentStarted c1", "phaseStarted c1 build", "stepStarted c1 build A", "stepEnded c1 build A success"},
		{"stepStarted c1 build B", "stepEnded c1 build B success", "phaseEnded c1 build success", "documentEnded c1 success"},
		{"documentStarted c2", "phaseStarted c2 build", "stepStarted c2 build C", "stepEnded c2 build C success", "phaseEnded c2 build success", "documentEnded c2 success"},
	}
	for i, want := range parts {
		b.events = nil
		result := b.run()
		compareLines(t, b.log(), want...)
		if result.ExecutedSteps != i+1 {
			t.Errorf("%d steps are done", result.ExecutedSteps)
		}
		b.request.Resume = result.State
	}
	b.events = nil
	if result := b.run(); result.Status != component.StatusSuccess || result.ExecutedSteps != 3 || len(b.events) > 0 {
		t.Errorf("a run that was at its end: %+v, %q", result, b.log())
	}
}

// TestPauseAfter asks for pauses of one kind only.
func TestPauseAfter(t *testing.T) {
	documents := []string{
		steps(say("A", "a", ""), shell("B", "", "sleep 0.4"), say("C", "c", ""), say("D", "d", "")), steps(say("E", "e", "")), steps(say("F", "f", "")),
	}
	tests := []struct {
		name  string
		set   func(*component.Request)
		parts []string
	}{
		{"none", func(*component.Request) {}, []string{"success"}},
		{"document", func(r *component.Request) { r.PauseAfterDocument = true }, []string{"paused 0.0.4 ended", "paused 1.0.1 ended", "success 2.0.1 ended"}},
		{"time", func(r *component.Request) { r.PauseAfterMS = 400 }, []string{"paused 0.0.2", "success 2.0.1 ended"}},
		{"long time", func(r *component.Request) { r.PauseAfterMS = 60_000 }, []string{"success 2.0.1 ended"}},
		{"negative time", func(r *component.Request) { r.PauseAfterMS = -1 }, []string{"success"}},
		{"both", func(r *component.Request) { r.PauseAfterMS, r.PauseAfterDocument = 400, true }, []string{"paused 0.0.2", "paused 0.0.4 ended", "paused 1.0.1 ended", "success 2.0.1 ended"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, documents...)
			test.set(&b.request)
			_, parts := b.runOn()
			compareLines(t, parts, test.parts...)
		})
	}
}

// TestPauseMayChange resumes with other pauses and other values to keep out of sight: they are no part of what runs.
func TestPauseMayChange(t *testing.T) {
	b := newBench(t, steps(say("A", "a", ""), say("B", "b", "")), steps(say("C", "c", "")))
	b.pausing()
	b.request.Resume = b.run().State
	b.request.PauseAfterMS, b.request.PauseAfterDocument, b.request.Redact = 0, false, []string{"c1"}
	if result := b.run(); result.Status != component.StatusSuccess || result.State != nil || b.file("log") != "a\nb\nc\n" {
		t.Errorf("result %+v, log %q", result, b.file("log"))
	}
	if log := b.log(); log[len(log)-1] != "documentEnded c2 success" || !slices.Contains(log, "stepEnded *** build B success") {
		t.Errorf("log %q", log)
	}
}

// TestPausedState looks at what a state keeps.
func TestPausedState(t *testing.T) {
	const secret = "tokentoken"
	b := newBench(t, strings.Replace(steps(
		say("A", "{{ Par }}", ""), say("B", "b", ""),
		say("C", "{{ build.A.outputs.stdout }} {{ build.B.inputs.commands[0] }} {{ build.B.outputs.stdout }}", ""), say("D", "{{ build.C.outputs.stdout }}", ""),
	), "build", "build", 1)+unselected, steps(say("A", "{{ Par }}", ""), say("B", "{{ build.A.outputs.stdout }}", "")), steps(say("A", "last", "")))
	b.request.Documents[0].Parameters = map[string]string{"Par": secret}
	b.request.Documents[0].SecretParameters = []string{"Par"}
	b.request.Phases = []string{"build"}
	b.pausing()
	want := []string{
		"A outputs: map[stdout:tokentoken]", // not the input that has the secret
		"A outputs: map[stdout:tokentoken], B inputs: commands outputs: map[stdout:b]",
		"A outputs: map[stdout:tokentoken], B inputs: commands outputs: map[stdout:b], C outputs: map[stdout:tokentoken echo b | tee -a log b]",
		"B inputs: commands outputs: map[stdout:b]", // the document is over, secrets are not needed
		"A outputs: map[stdout:p]",
		"A outputs: map[stdout:p]",
		"",
	}
	for i, want := range want {
		result := b.run()
		var kept []string
		for _, c := range result.State.Chained {
			text := c.Step
			if c.Document != result.State.Document {
				t.Errorf("%d: a value of document %d", i, c.Document)
			}
			if c.Inputs != nil && len(c.Inputs.Entries) > 0 {
				text += " inputs:"
				for _, e := range c.Inputs.Entries {
					text += " " + e.Key
				}
			}
			kept = append(kept, fmt.Sprintf("%s outputs: %v", text, c.Outputs[0]))
		}
		if got := strings.Join(kept, ", "); got != want {
			t.Errorf("%d: kept %q, want %q", i, got, want)
		}
		if got := result.State.Contains([]string{"other", secret}); got != strings.Contains(want, secret) {
			t.Errorf("%d: contains the secret: %t", i, got)
		}
		b.request.Resume = result.State
	}
}

func TestStateContains(t *testing.T) {
	scalar := func(text string) *component.Node { return &component.Node{Kind: component.Scalar, Text: text} }
	states := map[string]*component.State{
		"nothing": {},
		"input":   {Chained: []component.ChainedStep{{Inputs: &component.Node{Kind: component.Map, Entries: []component.Entry{{Key: "a", Value: scalar("x pa\"ss w\nord x")}}}}}},
		"list":    {Chained: []component.ChainedStep{{Inputs: &component.Node{Kind: component.List, Items: []*component.Node{{}, scalar("pa\"ss w\nord")}}}}},
		"output":  {Chained: []component.ChainedStep{{Outputs: []map[string]string{nil, {"stdout": "pa\"ss w\nord"}}}}},
		"line":    {Chained: []component.ChainedStep{{Outputs: []map[string]string{{"stdout": "it is pa\"ss w"}}}}},
		"JSON":    {Chained: []component.ChainedStep{{Outputs: []map[string]string{{"stdout": `{"a":"pa\"ss w\nord"}`}}}}},
		"URL":     {Chained: []component.ChainedStep{{Outputs: []map[string]string{{"stdout": `http://u:pa%22ss%20w%0Aord@h`}}}}},
		"stored":  {Parameters: map[string]component.StoredParameter{"/a": {Value: "pa\"ss w\nord"}}},
		"failure": {Failure: &component.Failure{Stderr: "pa\"ss w\nord"}},
		"loop":    {StepProgress: component.StepProgress{LoopOutputs: []map[string][]string{{"stdout": {"", "pa\"ss w\nord"}}}}},
		"document": {StepProgress: component.StepProgress{Nested: &component.NestedRun{
			Request: component.Request{Documents: []component.RunDocument{{Content: []byte("# pa\"ss w\nord")}}},
		}}},
		"document in a document": {StepProgress: component.StepProgress{Nested: &component.NestedRun{State: &component.State{
			StepProgress: component.StepProgress{Nested: &component.NestedRun{Request: component.Request{Documents: []component.RunDocument{{Parameters: map[string]string{"Par": "pa\"ss w\nord"}}}}}},
		}}}},
		"detail": {StepProgress: component.StepProgress{NestedDetails: []component.ExecutionDetail{{Documents: []component.DocumentDetail{{Description: "pa\"ss w\nord"}}}}}},
	}
	for name, s := range states {
		if got := roundTrip(t, s).Contains([]string{"", "other", "pa\"ss w\nord"}); got != (name != "nothing") {
			t.Errorf("%s: %t", name, got)
		}
		if s.Contains([]string{"", "other"}) || s.Contains(nil) {
			t.Errorf("%s: contains what it does not", name)
		}
	}
	if got := states["stored"].WithoutParameters(); got.Contains([]string{"pa\"ss w\nord"}) || states["stored"].Parameters == nil {
		t.Error("the answers of the Parameter Store are there, or the state itself has changed")
	}
}

// TestRedact keeps values out of sight that are no parameters, and secrets that were asked for before a pause whose state holds them not.
func TestRedact(t *testing.T) {
	b := newBench(t, steps(
		shell("Store", "", "printf %s '{{ aws:ssm:/app/password }}' > secret; echo inline-value"), shell("Show", ", onFailure: Ignore", "cat secret; echo inline-value >&2; exit 1"),
		say("Use", "{{ build.Store.outputs.stdout }}", ""), shell("Ask", "", "echo '{{ aws:ssm:/app/password }}'; cat secret")))
	store := newStore()
	b.System.Parameters = store
	b.request.Redact = []string{"inline-value"}
	b.pausing()
	for {
		result := b.run()
		if result.Status == component.StatusSuccess {
			break
		}
		if result.Failure != nil || result.Status != component.StatusPaused {
			t.Fatalf("result %+v, failure %+v", result, result.Failure)
		}
		var err error
		if b.request.Resume, err = result.State.WithoutParameters().For(b.request); err != nil {
			t.Fatal(err)
		}
		b.request.Redact = []string{"inline-value", "hunter\"2"} // whoever has answered knows it
	}
	if !slices.Equal(store.asked, []string{"/app/password", "/app/password"}) {
		t.Errorf("asked for %q", store.asked)
	}
	if text := fmt.Sprint(b.events, b.details()); strings.Contains(text, "inline-value") || strings.Contains(text, "hunter") {
		t.Errorf("told %s", text)
	}
	if b.file("log") != "inline-value\n" || b.output("stdout") != "***\n******\n***\n***" {
		t.Errorf("log %q, output %q", b.file("log"), b.output("stdout"))
	}

	// A secret is known again as soon as it was asked for.
	b = newBench(t, steps(shell("A", "", "echo '{{ aws:ssm:/app/password }}'"), shell("B", "", "echo '{{ aws:ssm:/app/password }}'")))
	b.System.Parameters = newStore()
	b.pausing()
	resume, err := b.run().State.WithoutParameters().For(b.request)
	if err != nil {
		t.Fatal(err)
	}
	b.request.Resume = resume
	b.run()
	if b.output("stdout") != "***\n***\n" {
		t.Errorf("output %q", b.output("stdout"))
	}

	// What is wrong with a document is told without them, too.
	b = newBench(t, steps("{name: A, action: inline-value}"))
	b.request.Redact = []string{"inline-value"}
	if _, err := b.Run(t.Context(), b.request); err == nil || strings.Contains(err.Error(), "inline-value") || !strings.Contains(err.Error(), `unknown action "***"`) {
		t.Errorf("error %v", err)
	}
}
