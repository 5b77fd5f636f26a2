package component

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
)

func FuzzLanguage(f *testing.F) {
	const start = "schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n      - "
	f.Add("f.yml", []byte(start+"{name: A, action: Idle, if: {and: [{not: {stringEquals: a, value: '{{ loop.index }}'}}], then: Abort}, loop: {for: {start: 1, end: -3, updateBy: -1}}}\n"))
	f.Add("f.yml", []byte(start+"{name: A, action: Idle, loop: {name: N, forEach: {list: '{{ aws:ssm:resolve({{ Par }}) }}', delimiter: '\\t'}}}\n"))
	f.Add("f.yml", []byte(start+"{name: A, action: Idle, loop: {forEach: ['{{ build.A.outputs.x }}', &a [*a]]}, timeoutSeconds: -1}\n"))
	f.Add("f.json", []byte(`{"schemaVersion": 1.0, "phases": [{"name": "test", "steps": [{"name": "A", "action": "Idle", "if": [{"numberEquals": 1e3, "value": 1000}]}]}]}`))
	f.Add("f.yml", []byte(start+"{name: A, action: Idle, loop: {forEach: [&a '{{abc}}{{abc}}{{ build.A.outputs.x }}', *a, *a, *a]}}\n"))
	f.Add("f.yml", []byte("a: &a {<<: *a}\n? [b]\n: c\n"))
	modules := Modules{"Idle": {Spec: Spec{InputsOptional: true, Outputs: []string{"x"}}, check: func(*Node, *Decoder, string) {}}}
	f.Fuzz(func(t *testing.T, file string, data []byte) {
		d, err := Parse(file, data, modules)
		if err != nil {
			if _, ok := err.(Problems); !ok || err.Error() == "" {
				t.Fatalf("error of type %T: %v", err, err)
			}
			return
		}
		before, after := d.Keys(nil, nil, sha256.New), d.Keys(map[string]string{"abc": "d"}, []string{"build"}, sha256.New)
		if len(after) > len(before) || !slices.Equal(before, d.Keys(nil, nil, sha256.New)) {
			t.Fatalf("keys %v and %v", before, after)
		}
		for _, phase := range d.Phases {
			for _, step := range phase.Steps {
				if step.Loop == nil {
					continue
				}
				values, err := step.Loop.values(&resolver{left: 1 << 20})
				if len(values) > MaxIterations {
					t.Fatalf("%d values, %v", len(values), err)
				}
			}
		}
	})
}

func FuzzExpand(f *testing.F) {
	f.Add("{{ Name }}{{ build.A.outputs.stdout }}", "{{ Name }}")
	f.Add("{{{ aws:ssm:resolve({{ Name }}) }}}{{ aws:ssm:resolve(aws:ssm:x) }}", "x")
	f.Add("{{ loop.index }}{{ N.value }}{{ M.value }}{{ build.A.inputs.commands[1] }}{{end}}", "}}")
	f.Fuzz(func(t *testing.T, text, value string) {
		r := &resolver{
			scope: scope{
				values: map[string]string{"Name": value},
				steps: map[stepName]*ChainedStep{{"build", "A"}: {
					Inputs:  &Node{Kind: Map, Entries: []Entry{{Key: "commands", Value: &Node{Kind: List, Items: []*Node{{Kind: Scalar, Text: value}, {Kind: Scalar, Text: "b"}}}}}},
					Outputs: []map[string]string{{"stdout": value}},
				}},
			},
			iteration: &iteration{"N", 3, value},
			stored:    func(string) (string, error) { return value, nil },
			left:      1 << 20,
		}
		got, err := r.text(text)
		if err != nil {
			return
		}
		if most := len(text) + len(text)/4*(len(value)+2); len(got) > most || len(got) > 1<<20 {
			t.Fatalf("%d bytes became %d", len(text), len(got))
		}
		if len(scanReferences(text)) == 0 && got != text {
			t.Fatalf("%q became %q", text, got)
		}
	})
}

// FuzzStateFor gives the host arbitrary states, as a hostile guest would, and then goes on from them.
func FuzzStateFor(f *testing.F) {
	const document = "schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n      - {name: A, action: Idle}\n      - {name: B, action: Idle, inputs: {a: '{{ build.A.outputs.x }}'}}\n"
	f.Add([]byte(`{"version":2,"executedSteps":1,"chained":[{"phase":"build","step":"A","inputs":{"items":[null,{"text":"b"}],"entries":[{"key":"a"}]},"outputs":[null,{"x":"y"}]}]}`), []byte(document))
	f.Add([]byte(`{"version":2,"executedSteps":2,"ended":true,"nested":{"request":{},"state":{"nested":null}}}`), []byte(document))
	f.Add([]byte(`{"version":2,"executedSteps":1,"chained":[{"document":7}],"parameters":{"a":{"value":"b"}},"failure":{"stderr":"b"}}`), []byte(`{"phases":[{"name":"a","steps":[{"name":"b"},{}]}]}`))
	modules := Modules{"Idle": {
		Spec: Spec{InputsOptional: true, Outputs: []string{"x"}}, check: func(*Node, *Decoder, string) {},
		run: func(context.Context, *Execution, *Node) (itemOutcomes, error) { return itemOutcomes{}, nil },
	}}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, state, document []byte) {
		var s State
		if json.Unmarshal(state, &s) != nil {
			return
		}
		s.Contains([]string{"b"})
		request := Request{Documents: []RunDocument{{Content: document}}, WorkingDirectory: dir, PauseAfterMS: 1, PauseAfterDocument: true}
		fitting, err := s.For(request)
		if err != nil {
			return
		}
		if fitting.Document != 0 || fitting.Step < 1 {
			t.Fatalf("state %+v", fitting)
		}
		request.Resume = fitting.WithoutParameters()
		request.Resume.Digest = fitting.Digest
		result, err := (&Runner{Modules: modules}).Run(t.Context(), request)
		_, wrong := errors.AsType[Problems](err)
		if err != nil && !wrong && !strings.HasPrefix(err.Error(), "resume: ") || err == nil && result.Status == "" {
			t.Fatalf("%+v, %v", result, err)
		}
	})
}
