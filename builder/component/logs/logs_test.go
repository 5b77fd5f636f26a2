package logs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/logs"
)

var start = time.Date(2026, 11, 22, 9, 50, 47, 0, time.FixedZone("", 3600))

func create(t *testing.T) *logs.Folder {
	t.Helper()
	folder, err := logs.Create(t.TempDir(), start, "run-1")
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

func read(t *testing.T, f *logs.Folder, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(f.Path(), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// feed sends the events of a step that prints.
func feed(f *logs.Folder, outputs ...component.Event) {
	step := component.Event{Phase: "build", Step: "Say", Action: "ExecuteBash", Attempt: 1}
	f.Event(component.Event{Type: component.DocumentStarted, Component: "hello", Path: "hello.yml"})
	f.Event(component.Event{Type: component.PhaseStarted, Phase: "build"})
	started := step
	started.Type = component.StepStarted
	f.Event(started)
	for _, e := range outputs {
		e.Type, e.Phase, e.Step, e.Action = component.Output, step.Phase, step.Step, step.Action
		f.Event(e)
	}
}

func stdout(text string) component.Event {
	return component.Event{Stream: component.StreamStdout, Text: text}
}

func stderr(text string) component.Event {
	return component.Event{Stream: component.StreamStderr, Text: text}
}

func TestName(t *testing.T) {
	f := create(t)
	if name := filepath.Base(f.Path()); name != "TOE_2026-11-22_08-50-47_UTC-0_run-1" {
		t.Errorf("the folder is %s", name)
	}
	again, err := logs.Create(filepath.Dir(f.Path()), start, "run-1")
	if err != nil {
		t.Fatal(err)
	}
	if name := filepath.Base(again.Path()); name != "TOE_2026-11-22_08-50-48_UTC-0_run-1" {
		t.Errorf("the second folder of the same second is %s", name)
	}
	for _, id := range []string{"", ".", "..", "a/b", "a\\b", "a b", "ä", strings.Repeat("x", 129), "../up", "a\n"} {
		if _, err := logs.Create(t.TempDir(), start, id); err == nil {
			t.Errorf("the execution ID %q was accepted", id)
		}
	}
}

func TestConsole(t *testing.T) {
	for name, test := range map[string]struct {
		outputs []component.Event
		want    string
	}{
		"lines":           {[]component.Event{stdout("a\nb\n")}, "Stdout: a\nStdout: b\n"},
		"pieces":          {[]component.Event{stdout("a"), stdout("b"), stdout("c\nd\n")}, "Stdout: abc\nStdout: d\n"},
		"streams":         {[]component.Event{stdout("a"), stderr("x\n"), stdout("b\n")}, "Stdout: a\nCmdExecution: Stderr: x\nStdout: b\n"},
		"no end":          {[]component.Event{stdout("a")}, "Stdout: a\n"},
		"empty lines":     {[]component.Event{stdout("\n\n")}, "Stdout: \nStdout: \n"},
		"notice":          {[]component.Event{{Stream: component.StreamNotice, Text: "cut\n"}}, "Info: cut\n"},
		"strange streams": {[]component.Event{{Stream: "x", Text: "y\n"}}, "Info: y\n"},
	} {
		t.Run(name, func(t *testing.T) {
			f := create(t)
			feed(f, test.outputs...)
			f.Event(component.Event{Type: component.StepEnded, Phase: "build", Step: "Say", Action: "ExecuteBash", Status: component.StatusSuccess})
			if err := f.Finish(&component.Result{Status: component.StatusSuccess}, nil); err != nil {
				t.Fatal(err)
			}
			want := "Document hello.yml\nPhase build\nStep Say\n" + test.want +
				"CmdExecution: ExitCode 0\nExecuteBash: FINISHED EXECUTION\nExecutor: FINISHED EXECUTION OF ALL DOCUMENTS\nTOE has completed execution successfully\n"
			if got := read(t, f, "console.log"); got != want {
				t.Errorf("console.log is\n%s\nnot\n%s", got, want)
			}
		})
	}
}

// TestFailure keeps all of the failed step's stderr, up to a bound, and nothing of a step before it.
func TestFailure(t *testing.T) {
	f := create(t)
	feed(f, stderr("of another step\n"))
	f.Event(component.Event{Type: component.StepEnded, Phase: "build", Step: "Say", Action: "ExecuteBash", Status: component.StatusIgnoredFailure,
		Failure: &component.Failure{Phase: "build", Step: "Say", Action: "ExecuteBash", Message: "ignored"}})
	code := 7
	failure := &component.Failure{Phase: "build", Step: "Break", Action: "ExecuteBash", Message: "exit status 7", ExitCode: &code, Stderr: "last\n"}
	f.Event(component.Event{Type: component.StepStarted, Phase: "build", Step: "Break", Action: "ExecuteBash"})
	line := strings.Repeat("x", 1023) + "\n"
	for range 1500 {
		f.Event(component.Event{Type: component.Output, Stream: component.StreamStderr, Text: line})
	}
	f.Event(component.Event{Type: component.StepEnded, Phase: "build", Step: "Break", Action: "ExecuteBash", Status: component.StatusFailed, Failure: failure})
	f.Event(component.Event{Type: component.DocumentEnded, Status: component.StatusFailed})
	result := &component.Result{Status: component.StatusFailed, FailedSteps: 1, IgnoredFailedSteps: 1, ExecutedSteps: 2, Failure: failure}
	if err := f.Finish(result, nil); err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(read(t, f, "console.log"), "FINISHED EXECUTION OF ALL DOCUMENTS\n")
	if head := "Document: hello.yml\nPhase: build\nStep: Break\nAction: ExecuteBash\nErrorMessage: exit status 7\nStderr: xxx"; !strings.HasPrefix(block, head) {
		t.Errorf("the failure block is\n%s", block[:min(len(block), 300)])
	}
	if !strings.HasSuffix(block, "\nTOE has completed execution with failure - Execution failed!\n") || strings.Contains(block, "another") {
		t.Errorf("the failure block ends with\n%s", block[max(0, len(block)-300):])
	}
	if len(block) < 1<<20 || len(block) > 1<<20+1000 {
		t.Errorf("the failure block has %d bytes", len(block))
	}
	got := f.Summary(result, nil)
	want := logs.Summary{ExecutionID: "run-1", Status: component.StatusFailed, FailedStepCount: 1, ExecutedStepCount: 2, IgnoredFailedStepCount: 1,
		FailureMessage: "Document hello.yml failed!", LogURL: f.Path()}
	if got != want {
		t.Errorf("the summary is %+v, not %+v", got, want)
	}
}

// TestReboot goes on in the folder of a run that was rebooted.
func TestReboot(t *testing.T) {
	first := create(t)
	first.Document("hello.yml", []byte("the document"))
	feed(first, stdout("before\n"))
	first.Event(component.Event{Type: component.StepEnded, Phase: "build", Step: "Say", Action: "ExecuteBash", Status: component.StatusSuccess,
		Detail: &component.StepDetail{Name: "Say", Status: component.StatusSuccess}})
	first.Event(component.Event{Type: component.Reboot, Phase: "build"})
	if err := first.Finish(&component.Result{Status: component.StatusReboot}, nil); err != nil {
		t.Fatal(err)
	}
	// A crash cut the last line off.
	events, err := os.OpenFile(filepath.Join(first.Path(), "events.jsonl"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(events, `{"type":"stepStar`)
	events.Close()

	second, err := logs.Open(first.Path())
	if err != nil {
		t.Fatal(err)
	}
	failure := &component.Failure{Phase: "build", Step: "After", Message: "no"}
	second.Event(component.Event{Type: component.StepStarted, Phase: "build", Step: "After"})
	second.Event(component.Event{Type: component.StepEnded, Phase: "build", Step: "After", Status: component.StatusFailed, Failure: failure,
		Detail: &component.StepDetail{Name: "After", Status: component.StatusFailed}})
	second.Event(component.Event{Type: component.PhaseEnded, Phase: "build", Status: component.StatusFailed})
	second.Event(component.Event{Type: component.DocumentEnded, Status: component.StatusFailed})
	if err := second.Finish(&component.Result{Status: component.StatusFailed, Failure: failure, Chaining: map[string]string{"build.Say.outputs.stdout": "<b>"}}, nil); err != nil {
		t.Fatal(err)
	}
	var detail component.ExecutionDetail
	if err := json.Unmarshal([]byte(read(t, second, "detailedoutput.json")), &detail); err != nil {
		t.Fatal(err)
	}
	if len(detail.Documents) != 1 || len(detail.Documents[0].Phases) != 1 || len(detail.Documents[0].Phases[0].Steps) != 2 {
		t.Fatalf("the details tell of %+v", detail)
	}
	if detail.ExecutionID != "run-1" || detail.Status != component.StatusFailed || detail.FailureMessage != "Document hello.yml failed!" {
		t.Errorf("the details say %s, %s, %s", detail.ExecutionID, detail.Status, detail.FailureMessage)
	}
	console := read(t, second, "console.log")
	if strings.Count(console, "Document hello.yml\n") != 1 || !strings.Contains(console, "Stdout: before\n") || !strings.Contains(console, "\nDocument: hello.yml\n") {
		t.Errorf("console.log is\n%s", console)
	}
	if got := read(t, second, "chaining.json"); got != "{\n  \"build.Say.outputs.stdout\": \"<b>\"\n}\n" {
		t.Errorf("chaining.json is %s", got)
	}
	// And once more: the cut line is gone.
	third, err := logs.Open(first.Path())
	if err != nil {
		t.Fatal(err)
	}
	third.Finish(&component.Result{Status: component.StatusFailed}, nil)
}

func TestOpenNothing(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Join(dir, "TOE_x_UTC-0_y"), filepath.Join(dir, logs.Name(start, "none"))} {
		if _, err := logs.Open(path); err == nil {
			t.Errorf("%s was opened", path)
		}
	}
}

// TestUnfinished tells of a run that was interrupted, and of one that never began.
// What is too long to be read is an error, not taken for what a crash cut off.
func TestOpenTooLong(t *testing.T) {
	folder, err := logs.Create(t.TempDir(), time.Now(), "long")
	if err != nil {
		t.Fatal(err)
	}
	if err := folder.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder.Path(), "events.jsonl")
	const size = 1<<30 + 1
	if err := os.Truncate(path, size); err != nil { // a hole, which takes no space
		t.Fatal(err)
	}
	if _, err := logs.Open(folder.Path()); err == nil || !strings.Contains(err.Error(), "events.jsonl has 1073741825 bytes; 1073741824 is the most") {
		t.Errorf("error %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != size {
		t.Errorf("events.jsonl is %v, %v", info.Size(), err)
	}
}

func TestUnfinished(t *testing.T) {
	f := create(t)
	feed(f, stdout("a"))
	cause := fmt.Errorf("run component documents: %w", context.Canceled)
	if err := f.Finish(nil, cause); err != nil {
		t.Fatal(err)
	}
	if s := f.Summary(nil, cause); s.Status != component.StatusFailed || s.FailureMessage != "interrupted" {
		t.Errorf("the summary is %+v", s)
	}
	var detail component.ExecutionDetail
	if err := json.Unmarshal([]byte(read(t, f, "detailedoutput.json")), &detail); err != nil {
		t.Fatal(err)
	}
	d := detail.Documents[0]
	if detail.Status != component.StatusFailed || d.Status != component.StatusFailed || d.Phases[0].Status != component.StatusFailed || d.EndTime.IsZero() {
		t.Errorf("the details are %+v", detail)
	}
	if console := read(t, f, "console.log"); !strings.Contains(console, "Stdout: a\nExecutor: INTERRUPTED\n") {
		t.Errorf("console.log is\n%s", console)
	}

	f = create(t)
	cause = errors.New("a mistake")
	if err := f.Finish(nil, cause); err != nil {
		t.Fatal(err)
	}
	if text := read(t, f, "detailedoutput.json"); !strings.Contains(text, `"documents": []`) || !strings.Contains(text, `"failureMessage": "a mistake"`) {
		t.Errorf("the details are %s", text)
	}
}

// TestModes keeps others out, and leaves no temporary file.
func TestModes(t *testing.T) {
	f := create(t)
	for i := range 3 {
		f.Document(fmt.Sprint(i), []byte{byte('0' + i)})
	}
	f.Finish(&component.Result{Status: component.StatusSuccess}, nil)
	info, err := os.Stat(f.Path())
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder's mode is %v, %v", info.Mode(), err)
	}
	entries, err := os.ReadDir(f.Path())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the mode of %s is %v, %v", e.Name(), info.Mode(), err)
		}
	}
	if got := strings.Join(names, " "); got != "application.log chaining.json console.log detailedoutput.json document-2.yaml document-3.yaml document.yaml events.jsonl" {
		t.Errorf("the folder holds %s", got)
	}
	if got := read(t, f, "document-3.yaml"); got != "2" {
		t.Errorf("document-3.yaml is %q", got)
	}
}

// TestFullDisk tells of what could not be written.
func TestFullDisk(t *testing.T) {
	f := create(t)
	if err := os.Chmod(f.Path(), 0o500); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		os.Chmod(f.Path(), 0o700)
		if err := os.RemoveAll(f.Path()); err != nil { // root may write anywhere, but not into what is gone
			t.Fatal(err)
		}
	}
	f.Document("a", []byte("a"))
	if err := f.Finish(&component.Result{Status: component.StatusSuccess}, nil); err == nil {
		t.Error("nothing is told of the files that are missing")
	}
}
