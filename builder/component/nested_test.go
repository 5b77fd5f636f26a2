package component_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder/component"
)

// put writes a document into the working directory.
func (b *bench) put(name, document string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.request.WorkingDirectory, name), []byte(document), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// outside is S3, Parameter Store and components in one.
type outside struct {
	objects    map[string]string
	parameters map[string]component.StoredParameter
	asked      []string
}

func (o *outside) List(context.Context, component.S3Place, int) ([]component.S3Object, error) {
	return nil, component.ErrNotFound
}

func (o *outside) Get(_ context.Context, place component.S3Place, w io.Writer) error {
	content, ok := o.objects[place.Bucket+"/"+place.Key]
	if !ok {
		return component.ErrNotFound
	}
	if place.ExpectedBucketOwner != "" && place.ExpectedBucketOwner != "123456789012" {
		return fmt.Errorf("the bucket is another's")
	}
	_, err := io.WriteString(w, content)
	return err
}

func (o *outside) Put(context.Context, component.S3Place, io.Reader, int64) error { return nil }

func (o *outside) Component(_ context.Context, name string) ([]byte, error) {
	content, ok := o.objects[name]
	if !ok {
		return nil, component.ErrNotFound
	}
	return []byte(content), nil
}

func (o *outside) Parameter(_ context.Context, name string) (component.StoredParameter, error) {
	o.asked = append(o.asked, name)
	p, ok := o.parameters[name]
	if !ok {
		return p, component.ErrNotFound
	}
	return p, nil
}

func call(name, document, fields string) string {
	return fmt.Sprintf("{name: %s, action: ExecuteDocument, inputs: {document: %s%s}}", name, document, fields)
}

func TestExecuteDocument(t *testing.T) {
	inner := "name: inner\ndescription: the inner one\n" + steps(say("In", "{{ Par }}", "")) + "  - {name: test, steps: [" + say("T", "tested", "") + "]}\n"
	tests := []struct{ name, call, log, failure string }{
		{"file", call("A", "inner.yml", ""), "p\ntested\n", ""},
		{"phases", call("A", "inner.yml", ", phases: ' test , validate'"), "tested\n", ""},
		{"parameters", call("A", "inner.yml", ", phases: build, parameters: [{name: Par, value: '{{ Par }}q'}]"), "pq\n", ""},
		{"S3", call("A", "s3://bucket/inner.yml", ", phases: build, document-s3-bucket-owner: '123456789012'"), "p\n", ""},
		{"S3 of another", call("A", "s3://bucket/inner.yml", ", document-s3-bucket-owner: '999999999999'"), "", "get the document s3://bucket/inner.yml: the bucket is another's"},
		{"name", call("A", "managed-linux", ", phases: build"), "p\n", ""},
		{"ARN", call("A", "'arn:aws:imagebuilder:eu-west-1:aws:component/managed-linux/1.0.0/1'", ", phases: build"), "p\n", ""},
		{"none", call("A", "nope.yml", ""), "", "get the document nope.yml: stat "},
		{"no component", call("A", "nope", ""), "", "get the document nope: not found"},
		{"folder", call("A", "/tmp", ""), "", "get the document /tmp: it is no regular file"},
		{"too large", call("A", "large.yml", ""), "", "it is larger than 64 KiB"},
		{"wrong", call("A", "wrong.yml", ""), "", "the document wrong.yml cannot be run: wrong.yml:7:27: phases[0].steps[1].action: unknown action \"ExecuteBsh\""},
		{"unknown parameter", call("A", "inner.yml", ", parameters: [{name: Pra, value: x}]"), "", "the component has no parameter \"Pra\"; did you mean \"Par\"?"},
		{"unknown phase", call("A", "inner.yml", ", phases: biuld"), "", "phases: unknown phase \"biuld\"; did you mean \"build\"?"},
		{"failing", call("A", "failing.yml", ""), "", "the document failing.yml failed: phase build, step Bad: exit status 7"},
		{"ignored failure", call("A", "ignored.yml", ""), "after\n", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, steps(test.call))
			b.put("inner.yml", inner)
			b.put("large.yml", inner+strings.Repeat("#", 64<<10))
			b.put("wrong.yml", steps(say("In", "never", ""), "{name: X, action: ExecuteBsh}"))
			b.put("failing.yml", steps("{name: Bad, action: ExecuteBash, inputs: {commands: ['echo inner why >&2; exit 7']}}", say("B", "never", "")))
			b.put("ignored.yml", steps("{name: Bad, action: ExecuteBash, onFailure: Ignore, inputs: {commands: ['exit 7']}}", say("B", "after", "")))
			o := &outside{objects: map[string]string{"bucket/inner.yml": inner, "managed-linux": inner, "arn:aws:imagebuilder:eu-west-1:aws:component/managed-linux/1.0.0/1": inner}}
			b.System.S3, b.System.Components = o, o
			result := b.run()
			if b.file("log") != test.log {
				t.Errorf("ran %q, want %q", b.file("log"), test.log)
			}
			if test.failure == "" && result.Status != component.StatusSuccess || test.failure != "" && (result.Failure == nil || !strings.Contains(result.Failure.Message, test.failure)) {
				t.Errorf("result %+v, failure %+v", result, result.Failure)
			}
			if test.name == "failing" && (*result.Failure.ExitCode != 7 || result.Failure.Stderr != "inner why" || result.Failure.Step != "A") {
				t.Errorf("failure %+v", result.Failure)
			}
			d := b.details()["A"]
			if test.name == "file" {
				inner := d.DetailedOutput[0].Documents[0]
				if len(d.DetailedOutput) != 1 || inner.Name != "inner" || inner.Description != "the inner one" || inner.FilePath != "inner.yml" || len(inner.Phases) != 2 ||
					inner.Phases[0].Steps[0].Outputs != `[{"stdout":"p"}]` || d.TimeoutSeconds != -1 || d.DetailedOutput[0].Status != component.StatusSuccess {
					t.Errorf("detail %+v", d)
				}
			}
		})
	}
}

func TestExecuteDocumentOutputsAndEvents(t *testing.T) {
	b := newBench(t, steps(call("A", "inner.yml", ""), "{name: B, action: ExecuteBash, inputs: {commands: [\"cat > out <<'EOF'\", '{{ build.A.outputs.outputs }}', EOF]}}"))
	b.put("inner.yml", steps(say("In", "x", ""), "{name: Bad, action: ExecuteBash, onFailure: Ignore, inputs: {commands: ['false']}}"))
	b.run()
	var summary map[string]any
	if err := json.Unmarshal([]byte(b.file("out")), &summary); err != nil {
		t.Fatalf("%v in %q", err, b.file("out"))
	}
	if summary["executedStepCount"] != 2.0 || summary["ignoredFailedStepCount"] != 1.0 || summary["failedStepCount"] != 0.0 || summary["status"] != "success" || len(fmt.Sprint(summary["executionId"])) != 36 || summary["failureMessage"] != "" {
		t.Errorf("summary %v", summary)
	}
	for _, e := range b.events {
		if inside := e.Step == "In" || e.Step == "Bad"; inside != (e.Depth == 1) && e.Step != "" {
			t.Errorf("event %+v", e)
		}
	}
}

func TestExecuteDocumentBounds(t *testing.T) {
	b := newBench(t, steps(call("A", "1.yml", "")))
	for i := range 5 {
		b.put(fmt.Sprintf("%d.yml", i+1), steps(say("S", fmt.Sprint(i+1), ""), call("A", fmt.Sprintf("%d.yml", i+2), "")))
	}
	result := b.run()
	if want := "the document 1.yml failed: phase build, step A: the document 2.yml failed: phase build, step A: the document 3.yml failed: phase build, step A: documents are nested more than 3 levels deep"; result.Failure == nil || result.Failure.Message != want || b.file("log") != "1\n2\n3\n" {
		t.Errorf("failure %+v, ran %q", result.Failure, b.file("log"))
	}
	b = newBench(t, steps(call("A", "one.yml", "")))
	b.put("one.yml", steps(call("A", "two.yml", "")))
	b.put("two.yml", steps(call("A", "./one.yml", ", phases: build")))
	if result := b.run(); result.Failure == nil || !strings.Contains(result.Failure.Message, "the document ./one.yml is running already: documents must not run each other in a circle") {
		t.Errorf("failure %+v", result.Failure)
	}
	// A document may run itself in a loop, as deep as any other.
	b = newBench(t, steps(call("A", "self.yml", "")))
	b.put("self.yml", steps(say("S", "again", ""), "{name: A, action: ExecuteDocument, loop: {forEach: [x]}, inputs: {document: self.yml}}"))
	if result := b.run(); result.Failure == nil || !strings.Contains(result.Failure.Message, "nested more than 3 levels deep") || b.file("log") != "again\nagain\nagain\n" {
		t.Errorf("failure %+v, ran %q", result.Failure, b.file("log"))
	}
}

func TestExecuteDocumentReboots(t *testing.T) {
	b := newBench(t, steps(say("First", "first", ""), call("A", "one.yml", ""), say("Last", "{{ build.A.inputs.document }}", "")))
	b.put("one.yml", steps(say("S1", "one", ""), call("A", "two.yml", ""), say("S2", "end of one", "")))
	b.put("two.yml", steps(say("T1", "two", ""), "{name: R, action: Reboot}",
		"{name: E, action: ExecuteBash, inputs: {commands: ['rm -f two.yml one.yml; echo E >> log; [ -e mark ] && exit 0; touch mark; exit 194']}}", say("T2", "{{ build.T1.outputs.stdout }} again", "")))
	result, reboots := b.runToEnd()
	if want := "first\none\ntwo\nE\nE\ntwo again\nend of one\none.yml\n"; result.Status != component.StatusSuccess || reboots != 2 || b.file("log") != want {
		t.Errorf("result %+v, failure %+v, after %d reboots ran %q", result, result.Failure, reboots, b.file("log"))
	}
	d := b.details()["A"]
	one := d.DetailedOutput[0].Documents[0].Phases[0].Steps
	two := one[1].DetailedOutput[0].Documents[0].Phases[0].Steps
	if len(one) != 3 || len(two) != 4 || two[3].Outputs != `[{"stdout":"two again"}]` || len(d.DetailedOutput) != 1 {
		t.Errorf("detail %+v", d)
	}
	if got := strings.Count(strings.Join(b.log(), "\n"), "reboot "); got != 2 {
		t.Errorf("%d events tell of reboots", got)
	}
}

func TestExecuteDocumentLoop(t *testing.T) {
	b := newBench(t, steps("{name: A, action: ExecuteDocument, loop: {forEach: [a, b, c]}, inputs: {document: inner.yml, parameters: [{name: Par, value: '{{ loop.value }}'}]}}"))
	b.put("inner.yml", steps("{name: E, action: ExecuteBash, inputs: {commands: ['echo {{ Par }} >> log; [ {{ Par }} != b -o -e mark ] && exit 0; touch mark; exit 194']}}"))
	result, reboots := b.runToEnd()
	d := b.details()["A"]
	if result.Status != component.StatusSuccess || reboots != 1 || b.file("log") != "a\nb\nb\nc\n" || len(d.DetailedOutput) != 3 || d.Loop.Iterations != 3 {
		t.Errorf("result %+v after %d reboots, ran %q, detail %+v", result, reboots, b.file("log"), d)
	}
}

// TestExecuteDocumentSecretPath has a secret in the name of the document that a step runs.
func TestExecuteDocumentSecretPath(t *testing.T) {
	b := newBench(t, steps(call("A", "'{{ aws:ssm:secret }}.yml'", ""), call("B", "'{{ aws:ssm:secret }}-failing.yml'", ""), say("C", "never", "")))
	b.System.Parameters = &outside{parameters: map[string]component.StoredParameter{"secret": {Type: component.ParameterSecureString, Value: "topsecretname"}}}
	b.put("topsecretname.yml", steps(say("In", "ran", "")))
	b.put("topsecretname-failing.yml", steps("{name: Bad, action: ExecuteBash, inputs: {commands: ['exit 7']}}"))
	result := b.run()
	if b.file("log") != "ran\n" || result.Failure == nil || !strings.Contains(result.Failure.Message, "the document ***-failing.yml failed") {
		t.Errorf("ran %q, result %+v", b.file("log"), result)
	}
	told, err := json.Marshal([]any{b.events, result, b.details()})
	if err != nil {
		t.Fatal(err)
	}
	if i := strings.Index(string(told), "topsecretname"); i >= 0 {
		t.Errorf("the secret is told: …%s", told[max(i-200, 0):min(i+50, len(told))])
	}
	if !strings.Contains(string(told), `"Document ***-failing.yml failed!"`) {
		t.Errorf("the failure of the document is not told in %s", told)
	}
}
