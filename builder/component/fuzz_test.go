package component

import (
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
