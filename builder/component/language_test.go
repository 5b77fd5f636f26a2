package component_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder/component"
)

// steps is a document with a phase build of steps in flow style. Step names must be given.
func steps(list ...string) string {
	return "schemaVersion: 1.0\nparameters: [Par: {type: string, default: p}]\nphases:\n  - name: build\n    steps:\n      - " + strings.Join(list, "\n      - ") + "\n"
}

// say is a step that writes a line to the file log.
func say(name, text, fields string) string {
	return fmt.Sprintf("{name: %s, action: ExecuteBash, inputs: {commands: ['echo \"%s\" | tee -a log']}%s}", name, text, fields)
}

// details returns the detail of every step, by its name.
func (b *bench) details() map[string]component.StepDetail {
	all := make(map[string]component.StepDetail)
	for _, e := range b.events {
		if e.Type == component.StepEnded && e.Depth == 0 {
			all[e.Step] = *e.Detail
		}
	}
	return all
}

// runToEnd runs the request over its reboots, at most 20, and returns how many there were.
func (b *bench) runToEnd() (*component.Result, int) {
	b.t.Helper()
	for reboots := range 20 {
		result := b.run()
		if result.Status != component.StatusReboot {
			return result, reboots
		}
		b.request.Resume = result.State
	}
	b.t.Fatal("too many reboots")
	return nil, 0
}

func TestIf(t *testing.T) {
	const yes, no = "stringEquals: a, value: a", "stringEquals: a, value: b"
	tests := []struct {
		name, condition string
		log             string // what ran
		status          component.Status
		failure         string
	}{
		{"true", "{" + yes + "}", "A\nB\n", "success", ""},
		{"false", "{" + no + "}", "B\n", "skipped", ""},
		{"list of one", "[{" + yes + ", then: Skip}]", "B\n", "skipped", ""},
		{"then skip", "{" + yes + ", then: Skip}", "B\n", "skipped", ""},
		{"else execute", "{" + no + ", else: Execute}", "A\nB\n", "success", ""},
		{"else without value", "{" + no + ", else: }", "B\n", "skipped", ""},
		{"then abort", "{" + yes + ", then: Abort}", "", "failed", `the if of the step says Abort: the condition is true: stringEquals "a" (value "a")`},
		{"else abort", "{" + no + ", else: Abort, then: Execute}", "", "failed", "the condition is false"},
		{"logical", "{or: [{" + no + "}, {not: {" + no + "}}]}", "A\nB\n", "success", ""},
		{"not with a list", "{not: [{" + yes + "}]}", "B\n", "skipped", ""},
		{"chaining", "{stringEquals: first, value: '{{ build.First.outputs.stdout }}'}", "A\nB\n", "success", ""},
		{"parameter", "{stringEquals: p, value: '{{ Par }}', then: Skip}", "B\n", "skipped", ""},
		{"loop values are left alone", "{stringEquals: '{{ loop.index }}', value: '{{ loop.index }}'}", "A\nB\n", "success", ""},
		{"not a number", "{numberEquals: x, value: 1}", "B\n", "skipped", ""},
		{"pattern from a reference", "{patternMatches: '{{ build.Bad.outputs.stdout }}', value: 1}", "", "failed", "if: if.patternMatches: error parsing regexp"},
		{"four levels", "{and: [{or: [{not: {and: [{" + no + "}]}}]}]}", "A\nB\n", "success", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, steps(
				"{name: First, action: ExecuteBash, inputs: {commands: [echo first]}}", "{name: Bad, action: ExecuteBash, inputs: {commands: ['echo \"(\"']}}",
				say("A", "A", ", maxAttempts: 3, if: "+test.condition), say("B", "B", "")))
			result := b.run()
			detail := b.details()["A"]
			if b.file("log") != test.log || detail.Status != test.status || !strings.Contains(detail.FailureMessage, test.failure) {
				t.Errorf("ran %q, detail %+v", b.file("log"), detail)
			}
			if failed := test.failure != ""; failed != (result.Status == component.StatusFailed) || !failed && result.ExecutedSteps != 4 {
				t.Errorf("result %+v", result)
			}
			if strings.Contains(strings.Join(b.log(), "\n"), "#2") {
				t.Error("the condition was asked twice")
			}
		})
	}
}

func TestIfAbortAndOnFailure(t *testing.T) {
	for onFailure, want := range map[string]component.Status{"Abort": component.StatusFailed, "Continue": component.StatusFailed, "Ignore": component.StatusSuccess} {
		b := newBench(t, steps(say("A", "A", ", onFailure: "+onFailure+", if: {stringIsEmpty: '', then: Abort}"), say("B", "B", "")))
		result := b.run()
		if ran := b.file("log") == "B\n"; result.Status != want || ran == (onFailure == "Abort") {
			t.Errorf("%s: result %+v, ran %q", onFailure, result, b.file("log"))
		}
	}
}

func TestIfIsNotAskedAgain(t *testing.T) {
	// After the first boot the file is there, so that asking again would skip the step.
	b := newBench(t, steps("{name: A, action: ExecuteBash, if: {not: {fileExists: mark}}, inputs: {commands: ['echo A >> log; [ -e mark ] && exit 0; touch mark; exit 194']}}"))
	result, reboots := b.runToEnd()
	if result.Status != component.StatusSuccess || reboots != 1 || b.file("log") != "A\nA\n" {
		t.Errorf("result %+v after %d reboots, ran %q", result, reboots, b.file("log"))
	}
	// The same for attempts.
	b = newBench(t, steps("{name: A, action: ExecuteBash, maxAttempts: 2, if: {not: {fileExists: mark}}, inputs: {commands: ['echo A >> log; [ -e mark ] && exit 0; touch mark; false']}}"))
	if result := b.run(); result.Status != component.StatusSuccess || b.file("log") != "A\nA\n" {
		t.Errorf("result %+v, ran %q", result, b.file("log"))
	}
}

func TestSkippedStepHasNoOutputs(t *testing.T) {
	b := newBench(t, steps(say("A", "A", ", if: {stringEquals: a, value: b}"), say("B", "{{ build.A.outputs.stdout }}", "")))
	if result := b.run(); result.Failure == nil || !strings.Contains(result.Failure.Message, "{{ build.A.outputs.stdout }}: the step was skipped by its if") {
		t.Errorf("failure %+v", result.Failure)
	}
}

func TestLoop(t *testing.T) {
	tests := []struct {
		name, loop, text string
		want             string // lines
	}{
		{"for", "{for: {start: 1, end: 5, updateBy: 2}}", "{{ loop.index }}={{ loop.value }}", "0=1\n1=3\n2=5\n"},
		{"for ends before", "{for: {start: 1, end: 4, updateBy: 2}}", "{{ loop.value }}", "1\n3\n"},
		{"for down", "{for: {start: 2, end: -2, updateBy: -2}}", "{{ loop.value }}", "2\n0\n-2\n"},
		{"for one", "{for: {start: 7, end: 7, updateBy: -3}}", "{{ loop.value }}", "7\n"},
		{"for as text", "{for: {start: '1', end: '2', updateBy: '1'}}", "{{ loop.value }}", "1\n2\n"},
		{"for at the edge", "{for: {start: 9223372036854775806, end: 9223372036854775807, updateBy: 1}}", "{{ loop.value }}", "9223372036854775806\n9223372036854775807\n"},
		{"forEach", "{forEach: [a, '{{ Par }}', '{{ build.First.outputs.stdout }}', 1.10]}", "{{ loop.index }}{{ loop.value }}", "0a\n1p\n2one,two\n31.10\n"},
		{"list", "{forEach: {list: 'a,b'}}", "{{ loop.value }}", "a\nb\n"},
		{"list with spaces", "{forEach: {list: 'a, b'}}", "<{{ loop.value }}>", "<a>\n< b>\n"},
		{"list of a reference", "{forEach: {list: '{{ build.First.outputs.stdout }}', delimiter: ','}}", "{{ loop.value }}", "one\ntwo\n"},
		{"empty list", "{forEach: {list: '{{ build.Nothing.outputs.stdout }}'}}", "{{ loop.value }}", ""},
		{"line feed", `{forEach: {list: "a\nb", delimiter: "\n"}}`, "{{ loop.value }}", "a\nb\n"},
		{"line feed in single quotes", `{forEach: {list: "a\nb", delimiter: '\n'}}`, "{{ loop.value }}", "a\nb\n"},
		{"tab", `{forEach: {list: "a\tb", delimiter: "\t"}}`, "{{ loop.value }}", "a\nb\n"},
		{"space", "{forEach: {list: 'a b', delimiter: ' '}}", "{{ loop.value }}", "a\nb\n"},
		{"dot", "{forEach: {list: a.b, delimiter: .}}", "{{ loop.value }}", "a\nb\n"},
		{"semicolon", "{forEach: {list: a;b, delimiter: ;}}", "{{ loop.value }}", "a\nb\n"},
		{"colon", "{forEach: {list: 'a:b', delimiter: ':'}}", "{{ loop.value }}", "a\nb\n"},
		{"dash", "{forEach: {list: a-b, delimiter: '-'}}", "{{ loop.value }}", "a\nb\n"},
		{"underscore", "{forEach: {list: a_b, delimiter: _}}", "{{ loop.value }}", "a\nb\n"},
		{"name", "{name: N, forEach: [a]}", "{{ N.index }}{{ N.value }}{{loop.index}} {{ M.index }}", "0a0 {{ M.index }}\n"},
		{"values are not scanned", "{forEach: ['{{ build.Braces.outputs.stdout }}']}", "{{ loop.value }}", "{{ Par }}\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, steps(
				"{name: First, action: ExecuteBash, inputs: {commands: ['echo one,two']}}", "{name: Nothing, action: ExecuteBash, inputs: {commands: ['true']}}",
				"{name: Braces, action: ExecuteBash, inputs: {commands: [\"printf '%s' '{' '{ Par }' '}'\"]}}",
				say("A", test.text, ", loop: "+test.loop), "{name: B, action: ExecuteBash, inputs: {commands: ['cat > out <<\"EOF\"', '{{ build.A.outputs.stdout }}', EOF]}}"))
			if test.want == "" {
				b.request.Documents[0].Content = []byte(steps("{name: Nothing, action: ExecuteBash, inputs: {commands: ['true']}}", say("A", test.text, ", loop: "+test.loop)))
			}
			result := b.run()
			if result.Status != component.StatusSuccess || b.file("log") != test.want || b.file("out") != test.want {
				t.Errorf("result %+v, failure %+v, ran %q, merged %q", result, result.Failure, b.file("log"), b.file("out"))
			}
			if d := b.details()["A"]; d.Loop == nil || d.Loop.Iterations != strings.Count(test.want, "\n") {
				t.Errorf("detail %+v", d)
			}
		})
	}
}

func TestLoopFailure(t *testing.T) {
	command := `'n=$(cat n 2>/dev/null || echo 0); echo $((n + 1)) > n; echo "{{ loop.value }}" | tee -a log; [ "{{ loop.value }}" != b -o "$n" -ge %d ] || { echo why >&2; exit 3; }'`
	b := newBench(t, steps(fmt.Sprintf("{name: A, action: ExecuteBash, onFailure: Continue, loop: {name: L, forEach: [a, b, c]}, inputs: {commands: ["+command+"]}}", 99),
		say("B", "{{ build.A.outputs.stdout }}", "")))
	result := b.run()
	if result.Failure == nil || result.Failure.Message != "iteration 1 of the loop failed: exit status 3" || result.Failure.Stderr != "why" || *result.Failure.ExitCode != 3 {
		t.Errorf("failure %+v", result.Failure)
	}
	if b.file("log") != "a\nb\na\n" {
		t.Errorf("ran %q: the outputs are those of the successful iterations", b.file("log"))
	}
	if d := b.details()["A"]; d.Loop.Iterations != 3 || len(d.Loop.Failed) != 1 || d.Loop.Failed[0] != 1 || d.Loop.Name != "L" || d.Outputs != `[{"stdout":"a"}]` {
		t.Errorf("detail %+v %+v", d, d.Loop)
	}
	// A retry starts over, and its outputs, too.
	b = newBench(t, steps(fmt.Sprintf("{name: A, action: ExecuteBash, maxAttempts: 2, loop: {forEach: [a, b, c]}, inputs: {commands: ["+command+"]}}", 3),
		say("B", "{{ build.A.outputs.stdout }}", "")))
	result = b.run()
	if result.Status != component.StatusSuccess || b.file("log") != "a\nb\na\nb\nc\na\nb\nc\n" {
		t.Errorf("result %+v, ran %q", result, b.file("log"))
	}
	if d := b.details()["A"]; d.Loop.Iterations != 3 || len(d.Loop.Failed) != 0 {
		t.Errorf("detail %+v", d.Loop)
	}
}

func TestLoopTimeout(t *testing.T) {
	b := newBench(t, steps("{name: A, action: ExecuteBash, timeoutSeconds: 2, loop: {forEach: [0, 0, 30]}, inputs: {commands: ['sleep {{ loop.value }}']}}"))
	if result := b.run(); result.Failure == nil || result.Failure.Message != "the loop timed out after 2s" {
		t.Errorf("failure %+v", result.Failure)
	}
}

func TestLoopReboots(t *testing.T) {
	// Every iteration reboots once by its exit status, more often together than one alone might.
	b := newBench(t, steps(
		"{name: A, action: ExecuteBash, loop: {for: {start: 1, end: 18, updateBy: 1}}, inputs: {commands: ['echo {{ loop.value }} | tee -a log; [ -e done{{ loop.value }} ] && exit 0; touch done{{ loop.value }}; exit 194']}}",
		"{name: B, action: ExecuteBash, inputs: {commands: ['echo \"{{ build.A.outputs.stdout }}\" > out']}}"))
	result, reboots := b.runToEnd()
	var log, out strings.Builder
	for i := range 18 {
		fmt.Fprintf(&log, "%d\n%d\n", i+1, i+1)
		fmt.Fprintf(&out, "%d\n", i+1)
	}
	if result.Status != component.StatusSuccess || reboots != 18 || b.file("log") != log.String() || b.file("out") != out.String() {
		t.Errorf("result %+v after %d reboots, ran %q, outputs %q", result, reboots, b.file("log"), b.file("out"))
	}
	if d := b.details()["A"]; d.Loop.Iterations != 18 {
		t.Errorf("detail %+v", d.Loop)
	}
}

func TestLoopOfReboots(t *testing.T) {
	b := newBench(t, steps("{name: A, action: Reboot, loop: {forEach: [a, b]}}", say("B", "B", "")))
	result, reboots := b.runToEnd()
	if result.Status != component.StatusSuccess || reboots != 2 || result.ExecutedSteps != 2 || b.file("log") != "B\n" {
		t.Errorf("result %+v after %d reboots", result, reboots)
	}
	compareLines(t, b.log(), "documentStarted c1", "phaseStarted c1 build", "stepStarted c1 build A", "reboot c1 build A",
		"stepStarted c1 build A", "stepEnded c1 build A success", "reboot c1 build A",
		"stepStarted c1 build B", "stepEnded c1 build B success", "phaseEnded c1 build success", "documentEnded c1 success")
}

func TestLoopBounds(t *testing.T) {
	b := newBench(t, steps("{name: Many, action: ExecuteBash, inputs: {commands: ['seq -s, 10001']}}",
		say("A", "{{ loop.value }}", ", maxAttempts: 3, loop: {forEach: {list: '{{ build.Many.outputs.stdout }}'}}")))
	if result := b.run(); result.Failure == nil || !strings.Contains(result.Failure.Message, "the loop has 10001 values, more than 10000") || b.file("log") != "" {
		t.Errorf("failure %+v", result.Failure)
	}
	b = newBench(t, steps("{name: A, action: ExecuteBash, loop: {forEach: [1, 2, 3]}, inputs: {commands: [\"head -c 700000 /dev/zero | tr '\\\\0' x\"]}}",
		"{name: B, action: ExecuteBash, inputs: {commands: [\"cat > out <<'EOF'\", '{{ build.A.outputs.stdout }}', EOF]}}"))
	if result := b.run(); result.Status != component.StatusSuccess || len(b.file("out")) > component.MaxCaptured+10 || len(b.file("out")) < component.MaxCaptured-10 {
		t.Errorf("result %+v, %d bytes", result, len(b.file("out")))
	}
	if !strings.Contains(b.output("notice"), "the outputs of the loop end after 1 MiB") {
		t.Errorf("notices %q", b.output("notice"))
	}
}
