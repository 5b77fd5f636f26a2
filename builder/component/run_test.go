package component_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/action"
)

// bench runs documents and records their events.
type bench struct {
	component.Runner
	t       *testing.T
	request component.Request
	events  []component.Event
}

func newBench(t *testing.T, documents ...string) *bench {
	t.Helper()
	b := &bench{t: t}
	b.Modules = action.Modules()
	b.System.Commands = component.ProcessGroup{Grace: 200 * time.Millisecond}
	b.Events = func(e component.Event) { b.events = append(b.events, e) }
	b.request.WorkingDirectory = t.TempDir()
	for i, d := range documents {
		b.request.Documents = append(b.request.Documents, component.RunDocument{Name: fmt.Sprintf("c%d", i+1), Path: fmt.Sprintf("c%d.yml", i+1), Content: []byte(d)})
	}
	return b
}

// run runs the request as the agent would: it and the result pass through JSON.
func (b *bench) run() *component.Result {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	result, err := b.Run(ctx, roundTrip(b.t, b.request))
	if err != nil {
		b.t.Fatal(err)
	}
	return roundTrip(b.t, result)
}

func roundTrip[T any](t *testing.T, value T) (copied T) {
	t.Helper()
	data, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(data, &copied)
	}
	if err != nil {
		t.Fatal(err)
	}
	return copied
}

// log writes the events in short, without outputs.
func (b *bench) log() []string {
	var lines []string
	for _, e := range b.events {
		if e.Type == component.Output {
			continue
		}
		line := strings.Join(slices.DeleteFunc([]string{string(e.Type), e.Component, e.Phase, e.Step, string(e.Status)}, func(s string) bool { return s == "" }), " ")
		if e.Attempt > 1 {
			line += fmt.Sprintf(" #%d", e.Attempt)
		}
		lines = append(lines, line)
	}
	return lines
}

func (b *bench) output(stream string) string {
	var text strings.Builder
	for _, e := range b.events {
		if e.Type == component.Output && e.Stream == stream {
			text.WriteString(e.Text)
		}
	}
	return text.String()
}

func (b *bench) file(name string) string {
	data, err := os.ReadFile(filepath.Join(b.request.WorkingDirectory, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		b.t.Fatal(err)
	}
	return string(data)
}

// script is a document with a phase of ExecuteBash steps; each is "name; fields; command".
func script(phase string, steps ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "schemaVersion: 1.0\nphases:\n  - name: %s\n    steps:\n", phase)
	for _, s := range steps {
		parts := strings.SplitN(s, "; ", 3)
		fmt.Fprintf(&b, "      - {name: %s, action: ExecuteBash%s, inputs: {commands: [%q]}}\n", parts[0], parts[1], parts[2])
	}
	return b.String()
}

func compareLines(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestRunOrder(t *testing.T) {
	phases := func(names ...string) string {
		text := "schemaVersion: 1.0\nphases:\n"
		for _, name := range names {
			text += fmt.Sprintf("  - {name: %s, steps: [{name: A, action: ExecuteBash, inputs: {commands: [echo %s >> log]}}]}\n", name, name)
		}
		return text
	}
	b := newBench(t, phases("validate", "build", "test"), phases("test"), phases("build", "validate"))
	b.request.Phases = []string{"build", "validate"}
	result := b.run()
	if result.Status != component.StatusSuccess || result.ExecutedSteps != 4 {
		t.Errorf("result %+v", result)
	}
	if got := b.file("log"); got != "validate\nbuild\nbuild\nvalidate\n" {
		t.Errorf("ran %q", got)
	}
	compareLines(t, b.log(),
		"documentStarted c1",
		"phaseStarted c1 validate", "stepStarted c1 validate A", "stepEnded c1 validate A success", "phaseEnded c1 validate success",
		"phaseStarted c1 build", "stepStarted c1 build A", "stepEnded c1 build A success", "phaseEnded c1 build success",
		"documentEnded c1 success",
		"documentStarted c3",
		"phaseStarted c3 build", "stepStarted c3 build A", "stepEnded c3 build A success", "phaseEnded c3 build success",
		"phaseStarted c3 validate", "stepStarted c3 validate A", "stepEnded c3 validate A success", "phaseEnded c3 validate success",
		"documentEnded c3 success",
	)
}

func TestRunOnFailure(t *testing.T) {
	tests := []struct {
		onFailure                  string
		status                     component.Status
		executed, failed, ignored  int
		log, step, phase, document string
	}{
		{"", component.StatusFailed, 1, 1, 0, "", "failed", "failed", "failed"},
		{", onFailure: Abort", component.StatusFailed, 1, 1, 0, "", "failed", "failed", "failed"},
		{", onFailure: Continue", component.StatusFailed, 3, 1, 0, "next\nsecond\n", "failed", "failed", "failed"},
		{", onFailure: Ignore", component.StatusSuccess, 3, 0, 1, "next\nsecond\n", "ignoredFailure", "successWithIgnoredFailure", "successWithIgnoredFailure"},
	}
	for _, test := range tests {
		t.Run(test.onFailure, func(t *testing.T) {
			b := newBench(t, script("build", "Bad; "+test.onFailure+"; echo why >&2; exit 3", "Next; ; echo next >> log"), script("build", "Other; ; echo second >> log"))
			result := b.run()
			if result.Status != test.status || result.ExecutedSteps != test.executed || result.FailedSteps != test.failed || result.IgnoredFailedSteps != test.ignored {
				t.Errorf("result %+v", result)
			}
			if got := b.file("log"); got != test.log {
				t.Errorf("ran %q, want %q", got, test.log)
			}
			log := strings.Join(b.log(), "\n")
			for _, want := range []string{"stepEnded c1 build Bad " + test.step, "phaseEnded c1 build " + test.phase, "documentEnded c1 " + test.document} {
				if !strings.Contains(log+"\n", want+"\n") {
					t.Errorf("no event %q in\n%s", want, log)
				}
			}
			var failure *component.Failure
			for _, e := range b.events {
				if e.Type == component.StepEnded && e.Step == "Bad" {
					failure = e.Failure
				}
			}
			if failure == nil || failure.ExitCode == nil {
				t.Fatalf("failure %+v", failure)
			}
			want := component.Failure{Component: "c1", Phase: "build", Step: "Bad", Action: "ExecuteBash", ExitCode: failure.ExitCode, Message: "exit status 3", Stderr: "why", Line: 5}
			if *failure != want || *failure.ExitCode != 3 {
				t.Errorf("failure %+v", failure)
			}
			if (result.Failure != nil) != (test.failed > 0) || result.Failure != nil && result.Failure.Step != "Bad" {
				t.Errorf("result's failure %+v", result.Failure)
			}
		})
	}
}

func TestRunAttempts(t *testing.T) {
	b := newBench(t, script("build", "A; , maxAttempts: 3; echo x >> log; [ $(wc -l < log) = 3 ]"))
	if result := b.run(); result.Status != component.StatusSuccess || result.ExecutedSteps != 1 {
		t.Errorf("result %+v", result)
	}
	compareLines(t, b.log(), "documentStarted c1", "phaseStarted c1 build", "stepStarted c1 build A", "stepStarted c1 build A #2", "stepStarted c1 build A #3",
		"stepEnded c1 build A success #3", "phaseEnded c1 build success", "documentEnded c1 success")
	if got := b.output(component.StreamNotice); !strings.Contains(got, "attempt 2 of 3 failed: exit status 1; trying again") {
		t.Errorf("notices %q", got)
	}
	b = newBench(t, script("build", "A; , maxAttempts: 2; echo x >> log; false"))
	if result := b.run(); result.Status != component.StatusFailed || b.file("log") != "x\nx\n" {
		t.Errorf("result %+v after %q", result, b.file("log"))
	}
}

func TestRunTimeout(t *testing.T) {
	b := newBench(t, script("build", "A; , timeoutSeconds: 1, maxAttempts: 2; echo x >> log; echo before; (trap '' TERM; sleep 60; echo late >> log) & echo $! > pid; wait"))
	start := time.Now()
	result := b.run()
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("took %s", took)
	}
	if result.Status != component.StatusFailed || result.Failure.Message != "timed out after 1s" || result.Failure.Stdout != "before" {
		t.Errorf("result %+v, failure %+v", result, result.Failure)
	}
	if b.file("log") != "x\nx\n" {
		t.Errorf("ran %q", b.file("log"))
	}
	mustBeGone(t, b.file("pid"))
}

// mustBeGone checks that a process has ended, though perhaps nobody has asked for its status yet.
func mustBeGone(t *testing.T, pid string) {
	t.Helper()
	pid = strings.TrimSpace(pid)
	if pid == "" {
		t.Fatal("no process was started")
	}
	for range 100 {
		status, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || strings.Contains(string(status), ") Z ") {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("process %s is still there", pid)
}

func TestRunCancel(t *testing.T) {
	b := newBench(t, script("build", "A; , maxAttempts: 5; sleep 60 & echo $! > pid; echo started; wait"))
	why := errors.New("the user has had enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	events := b.Events
	b.Events = func(e component.Event) {
		events(e)
		if e.Type == component.Output {
			cancel(why)
		}
	}
	result, err := b.Run(ctx, b.request)
	if result != nil || !errors.Is(err, why) {
		t.Errorf("result %+v, error %v", result, err)
	}
	mustBeGone(t, b.file("pid"))
	if entries, _ := os.ReadDir(b.request.WorkingDirectory); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestRunBackgroundProcessHoldsOutput(t *testing.T) {
	b := newBench(t, script("build", "A; ; sleep 60 & echo $! > pid; echo done"))
	start := time.Now()
	result := b.run()
	if took := time.Since(start); took > 20*time.Second || result.Status != component.StatusSuccess || b.output("stdout") != "done\n" {
		t.Errorf("took %s, result %+v, output %q", took, result, b.output("stdout"))
	}
	if got := b.output("notice"); !strings.Contains(got, "background") {
		t.Errorf("notices %q", got)
	}
	if pid := strings.TrimSpace(b.file("pid")); pid == "" {
		t.Error("no process was started")
	} else if status, err := os.ReadFile("/proc/" + pid + "/cmdline"); err != nil || !strings.HasPrefix(string(status), "sleep") {
		t.Error("the background process was ended, though the step was right")
	} else {
		kill(t, pid)
	}
}

func TestRunExitCode194(t *testing.T) {
	b := newBench(t, script("build", "First; ; echo one", "A; ; echo x >> log; [ $(wc -l < log) = 3 ] || exit 194; echo finished", "Last; ; echo last >> log"))
	for reboot := 1; reboot <= 2; reboot++ {
		result := b.run()
		if result.Status != component.StatusReboot || result.State == nil || result.ExecutedSteps != 1 {
			t.Fatalf("result %+v", result)
		}
		if result.State.Reboots != reboot || result.State.Step != 1 {
			t.Errorf("state %+v", result.State)
		}
		b.request.Resume = result.State
	}
	result := b.run()
	if result.Status != component.StatusSuccess || result.ExecutedSteps != 3 || b.file("log") != "x\nx\nx\nlast\n" {
		t.Errorf("result %+v after %q", result, b.file("log"))
	}
	compareLines(t, b.log(), "documentStarted c1", "phaseStarted c1 build",
		"stepStarted c1 build First", "stepEnded c1 build First success",
		"stepStarted c1 build A", "reboot c1 build A",
		"stepStarted c1 build A", "reboot c1 build A",
		"stepStarted c1 build A", "stepEnded c1 build A success",
		"stepStarted c1 build Last", "stepEnded c1 build Last success", "phaseEnded c1 build success", "documentEnded c1 success")
}

func TestRunExitCode194ForEver(t *testing.T) {
	b := newBench(t, script("build", "A; , maxAttempts: 3; exit 194"))
	for range component.MaxReboots {
		result := b.run()
		if result.Status != component.StatusReboot {
			t.Fatalf("result %+v", result)
		}
		b.request.Resume = result.State
	}
	if result := b.run(); result.Status != component.StatusFailed || result.Failure.Message != "the step has asked for a reboot 16 times" {
		t.Errorf("result %+v, failure %+v", result, result.Failure)
	}
}

func TestRunRebootKeepsAttemptsFailuresAndOutputs(t *testing.T) {
	b := newBench(t, script("build", "Bad; , onFailure: Continue; false", "Text; ; echo kept", "A; , maxAttempts: 3; echo x >> log; case $(wc -l < log) in 1) false ;; 2) exit 194 ;; 3) false ;; esac",
		"Uses; ; echo '{{ build.Text.outputs.stdout }} {{ build.Text.inputs.commands[0] }}' > used"))
	result := b.run()
	if result.Status != component.StatusReboot || result.State.FailedAttempts != 1 || result.FailedSteps != 1 {
		t.Fatalf("result %+v, state %+v", result, result.State)
	}
	b.request.Resume = result.State
	result = b.run()
	if result.Status != component.StatusFailed || result.FailedSteps != 1 || result.ExecutedSteps != 4 || result.Failure.Step != "Bad" {
		t.Errorf("result %+v", result)
	}
	if got := b.file("used"); got != "kept echo kept\n" {
		t.Errorf("used %q", got)
	}
	if log := b.log(); !slices.Contains(log, "stepEnded c1 build A success #3") || !slices.Contains(log, "documentEnded c1 failed") {
		t.Errorf("log %q", log)
	}
}

func TestRunRebootAction(t *testing.T) {
	document := "schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n      - {name: A, action: Reboot, inputs: {delaySeconds: 7}}\n"
	b := newBench(t, document, script("build", "B; ; echo b >> log"))
	result := b.run()
	if result.Status != component.StatusReboot || result.RebootDelaySeconds != 7 || result.ExecutedSteps != 1 || result.State.Step != 1 {
		t.Fatalf("result %+v", result)
	}
	b.request.Resume = result.State
	result = b.run()
	if result.Status != component.StatusSuccess || result.ExecutedSteps != 2 || b.file("log") != "b\n" {
		t.Errorf("result %+v", result)
	}
	compareLines(t, b.log(), "documentStarted c1", "phaseStarted c1 build", "stepStarted c1 build A", "stepEnded c1 build A success", "reboot c1 build A",
		"phaseEnded c1 build success", "documentEnded c1 success",
		"documentStarted c2", "phaseStarted c2 build", "stepStarted c2 build B", "stepEnded c2 build B success", "phaseEnded c2 build success", "documentEnded c2 success")
}

func TestRunRefusesWrongStates(t *testing.T) {
	b := newBench(t, script("build", "A; ; exit 194", "B; ; true"))
	state := b.run().State
	tests := map[string]func(*component.Request, *component.State){
		"version 9": func(_ *component.Request, s *component.State) { s.Version = 9 },
		"not those the run": func(r *component.Request, _ *component.State) {
			r.Documents[0].Content = []byte(script("build", "A; ; false", "B; ; true"))
		},
		"that does not exist":    func(_ *component.Request, s *component.State) { s.Step = 3 },
		"to a step that does":    func(_ *component.Request, s *component.State) { s.Phase = -1 },
		"negative counts":        func(_ *component.Request, s *component.State) { s.FailedAttempts = -1 },
		"values of a document t": func(_ *component.Request, s *component.State) { s.Chained = []component.ChainedStep{{Document: 4}} },
	}
	for want, spoil := range tests {
		request, spoiled := roundTrip(t, b.request), roundTrip(t, *state)
		spoil(&request, &spoiled)
		request.Resume = &spoiled
		if result, err := b.Run(context.Background(), request); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want error with %q, got %+v, %v", want, result, err)
		}
	}
}

func TestRunRefusesBadRequests(t *testing.T) {
	b := newBench(t, script("build", "A; ; echo >> log"), strings.Replace(script("biuld", "A; ; true"), "phases", "parameters: [Needed: {type: string}]\nphases", 1))
	_, err := b.Run(context.Background(), b.request)
	compareProblems(t, err, "c2.yml", []string{
		"parameters.Needed: the component needs a value for its parameter \"Needed\"; it has no default",
		"4:11: phases[0].name: unknown phase \"biuld\"; did you mean \"build\"?",
	})
	b.request.Documents = b.request.Documents[:1]
	b.request.Phases = []string{"tset"}
	_, err = b.Run(context.Background(), b.request)
	compareProblems(t, err, "", []string{"phases: unknown phase \"tset\"; did you mean \"test\"?"})
	b.request.Phases, b.request.WorkingDirectory = nil, "relative"
	_, err = b.Run(context.Background(), b.request)
	compareProblems(t, err, "", []string{"workingDirectory: \"relative\" is not an absolute path"})
	if _, err = b.Run(context.Background(), component.Request{}); err == nil {
		t.Error("a request without documents was accepted")
	}
	if b.file("log") != "" || len(b.events) > 0 {
		t.Error("something was run")
	}
}

func TestRunFlood(t *testing.T) {
	b := newBench(t, script("build", "A; ; echo first; head -c 300000000 /dev/zero | tr '\\0' 'x'; echo; echo last", "B; ; echo '{{ build.A.outputs.stdout }}' | wc -c"))
	b.OutputLimit = 1 << 20
	if testing.Short() {
		b.request.Documents[0].Content = []byte(strings.Replace(string(b.request.Documents[0].Content), "300000000", "30000000", 1))
	}
	result := b.run()
	if result.Status != component.StatusFailed && result.Status != component.StatusSuccess {
		t.Fatalf("result %+v", result)
	}
	total, notices := 0, 0
	for _, e := range b.events {
		if e.Step != "A" || e.Type != component.Output {
			continue
		}
		if len(e.Text) > component.MaxOutputText {
			t.Errorf("event of %d bytes", len(e.Text))
		}
		if e.Stream == component.StreamNotice {
			notices++
			continue
		}
		total += len(e.Text)
	}
	if total > 1<<20 || total < 1<<19 || notices != 2 { // one for the events, one for the captured output
		t.Errorf("%d bytes and %d notices were sent:\n%s", total, notices, b.output("notice"))
	}
	if got := strings.TrimSpace(b.output("stdout")); !strings.HasSuffix(got, "1048577") {
		t.Errorf("the captured output had another length: …%s", got[max(0, len(got)-20):])
	}
}

func TestRunOutputEvents(t *testing.T) {
	b := newBench(t, script("build", "A; ; printf 'one\\ntwo\\npart'; printf 'bad \\xff byte\\n' >&2; for i in $(seq 30); do echo line $i >&2; done; exit 1"))
	result := b.run()
	if got := b.output("stdout"); got != "one\ntwo\npart" {
		t.Errorf("stdout %q", got)
	}
	if got := b.output("stderr"); !strings.HasPrefix(got, "bad ? byte\nline 1\n") {
		t.Errorf("stderr %q", got)
	}
	lines := strings.Split(result.Failure.Stderr, "\n")
	if len(lines) != 20 || lines[0] != "line 11" || lines[19] != "line 30" {
		t.Errorf("failure's stderr %q", lines)
	}
}

func TestRunReferenceThatCannotBeResolved(t *testing.T) {
	document := `schemaVersion: 1.0
phases:
  - {name: build, steps: [{name: A, action: ExecuteBash, inputs: {commands: [echo soon]}}]}
  - name: test
    steps:
      - {name: B, action: ExecuteBash, maxAttempts: 3, onFailure: Continue, inputs: {commands: ["{{ build.A.outputs.stdout }}"]}}
      - {name: C, action: CreateFile, inputs: [{path: f, permissions: "{{ test.D.outputs.stdout }}"}]}
`
	document = strings.Replace(document, "      - {name: C", "      - {name: D, action: ExecuteBash, inputs: {commands: [echo no]}}\n      - {name: C", 1)
	b := newBench(t, document)
	b.request.Phases = []string{"test"}
	result := b.run()
	if result.Status != component.StatusFailed || !strings.Contains(result.Failure.Message, "was the phase build selected?") {
		t.Errorf("failure %+v", result.Failure)
	}
	last := b.events[len(b.events)-3]
	if want := `inputs[0].permissions: "no" are no permissions: they are octal digits such as 0644`; last.Failure == nil || last.Failure.Message != want {
		t.Errorf("failure %+v", last.Failure)
	}
	if slices.Contains(b.log(), "stepStarted c1 test B #2") {
		t.Error("a step whose references cannot be resolved was tried again")
	}
}

func TestRunParametersAndNames(t *testing.T) {
	document := strings.Replace(script("build", "A; ; echo '{{ Name }} {{ Const }} {{.Names}}' > out"), "phases", "name: own\nparameters: [Name: {type: string}]\nconstants: [Const: {type: string, value: c}]\nphases", 1)
	b := newBench(t, document)
	b.request.Documents[0].Parameters = map[string]string{"Name": "{{ Const }}"}
	b.request.Documents[0].Name = ""
	b.run()
	if got := b.file("out"); got != "{{ Const }} c {{.Names}}\n" {
		t.Errorf("wrote %q", got)
	}
	if b.events[0].Component != "own" {
		t.Errorf("event %+v", b.events[0])
	}
}
func kill(t *testing.T, pid string) {
	t.Helper()
	number, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	process, err := os.FindProcess(number)
	if err == nil {
		err = process.Kill()
	}
	if err != nil {
		t.Error(err)
	}
}

func TestRunBoundsChainedValues(t *testing.T) {
	var steps strings.Builder
	for i := range 20 {
		fmt.Fprintf(&steps, "      - {name: S%d, action: ExecuteBash, inputs: {commands: [\"head -c 1048576 /dev/zero | tr '\\\\0' x\"]}}\n", i)
	}
	steps.WriteString("      - name: Last\n        action: ExecuteBash\n        inputs:\n          commands:\n")
	for i := range 20 {
		fmt.Fprintf(&steps, "            - \"{{ build.S%d.outputs.stdout }}\"\n", i)
	}
	b := newBench(t, "schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n"+steps.String())
	b.Events = nil
	result := b.run()
	if result.Status != component.StatusFailed || !strings.Contains(result.Failure.Message, "larger than 16 MiB") {
		t.Errorf("failure %+v", result.Failure)
	}
}
