package component

import (
	"strings"
	"testing"
)

func TestScanReferences(t *testing.T) {
	tests := []struct {
		text string
		want []string // what stands between the braces of every reference
	}{
		{"", nil},
		{"{{ Name }}", []string{"Name"}},
		{"{{Name}}{{\tOther-1_x }}", []string{"Name", "Other-1_x"}},
		{"a {{ build.Step.outputs.stdout }} b", []string{"build.Step.outputs.stdout"}},
		{"{{ build.A b.c.inputs[0].list[12] }}", []string{"build.A b.c.inputs[0].list[12]"}},
		{"{{ loop.index }} {{ mine.value }}", []string{"loop.index", "mine.value"}},
		{"{{ aws:ssm:/a/b }}", []string{"aws:ssm:/a/b"}},
		{"{{ aws:ssm:resolve(x) }}", []string{"aws:ssm:resolve(x)"}},
		{"{{{ Name }}}", []string{"Name"}},
		{"{\"a\":{{ Name }}}", []string{"Name"}},
		{"{{ foo {{ Name }}", []string{"Name"}},
		{"{{.Names}} {{ . }} {{ range .X }} {{ $x := 1 }} {{ a | b }} {{ ab }} {{ }} {{}} {{ a b }}", nil},
		{"{{ a.b.c }} {{ a.b.c.d }} {{ .a.outputs.b }} {{ a.outputs.b }} {{ a.b.outputs.c.d }}", nil},
		{"{{ Name\n}}", nil},
		{"{{ Name", nil},
		{"{ { Name } }", nil},
		{"{{ " + strings.Repeat("x", 129) + " }}", nil},
	}
	for _, test := range tests {
		var got []string
		for _, r := range scanReferences(test.text) {
			got = append(got, r.text)
		}
		if strings.Join(got, "|") != strings.Join(test.want, "|") {
			t.Errorf("%q: got %q, want %q", test.text, got, test.want)
		}
	}
}

func TestResolve(t *testing.T) {
	text := func(s string) *Node { return &Node{Kind: Scalar, Text: s} }
	s := scope{
		values: map[string]string{"Name": "n", "Open": "{{", "Twice": "{{ Name }}"},
		steps: map[stepName]*ChainedStep{
			{"build", "A"}: {
				Inputs: &Node{Kind: Map, Entries: []Entry{
					{Key: "commands", Value: &Node{Kind: List, Items: []*Node{text("one"), text("two")}}},
					{Key: "map", Value: &Node{Kind: Map}},
				}},
				Outputs: []map[string]string{{"stdout": "out"}},
			},
			{"build", "B"}: {
				Inputs:  &Node{Kind: List, Items: []*Node{{Kind: Map, Entries: []Entry{{Key: "path", Value: text("/p")}}}}},
				Outputs: []map[string]string{{"destination": "a"}, {"destination": "b"}},
			},
		},
	}
	tests := []struct{ text, want, err string }{
		{"plain {{ x }} {{.Y}}", "plain {{ x }} {{.Y}}", ""},
		{"a{{Name}}b{{ Name }}", "anbn", ""},
		{"{{ Twice }}", "{{ Name }}", ""},
		{"{{ Open }} Name }}", "{{ Name }}", ""},
		{"{{end}} {{ loop.index }}", "{{end}} {{ loop.index }}", ""},
		{"{{ build.A.outputs.stdout }}!", "out!", ""},
		{"{{ build.A.inputs.commands }}", "one\ntwo", ""},
		{"{{ build.A.inputs.commands[1] }}", "two", ""},
		{"{{ build.B.inputs.path }}{{ build.B.inputs[0].path }}", "/p/p", ""},
		{"{{ build.B.outputs.destination }} {{ build.B.outputs[1].destination }}", "a\nb b", ""},
		{"{{ Nope }}", "", "resolve {{ Nope }}: the parameter has no value"},
		{"{{ build.C.outputs.x }}", "", "resolve {{ build.C.outputs.x }}: the step was not executed in this run; was the phase build selected?"},
		{"{{ build.A.outputs.x }}", "", "the step gave no such output"},
		{"{{ build.B.outputs[2].destination }}", "", "the step gave no such output"},
		{"{{ build.A.inputs.map }}", "", "the step sets no such input to a text"},
		{"{{ build.A.inputs.commands[2] }}", "", "the input has no such item"},
		{"{{ build.B.inputs[1].path }}", "", "the inputs of the step have no such item"},
		{strings.Repeat("x", maxResolved+1), "", "larger than 16 MiB"},
	}
	for _, test := range tests {
		got, err := (&resolver{scope: s, left: maxResolved}).node(text(test.text))
		switch {
		case test.err == "" && (err != nil || got.Text != test.want):
			t.Errorf("%.60q: got %+v, %v, want %q", test.text, got, err, test.want)
		case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
			t.Errorf("%.60q: got error %v, want %s", test.text, err, test.err)
		}
	}
}

func FuzzReference(f *testing.F) {
	// More seeds are in testdata/fuzz/FuzzReference.
	f.Add("{{ Name }}{{.X}}{{ build.A.outputs.stdout }}{{{ Name }}}{{ aws:ssm:/x }}")
	s := scope{
		values: map[string]string{"Name": "{{ Name }}"},
		steps:  map[stepName]*ChainedStep{{"build", "A"}: {Outputs: []map[string]string{{"stdout": "{{ Name }}"}}}},
	}
	f.Fuzz(func(t *testing.T, text string) {
		end := 0
		for _, r := range scanReferences(text) {
			if r.start < end || r.end > len(text) || !strings.HasPrefix(text[r.start:], "{{") || !strings.HasSuffix(text[:r.end], "}}") {
				t.Fatalf("reference at %d to %d of %q, after one that ends at %d", r.start, r.end, text, end)
			}
			end = r.end
		}
		resolved, err := (&resolver{scope: s, left: maxResolved}).node(&Node{Kind: Scalar, Text: text})
		if err == nil && end == 0 && resolved.Text != text {
			t.Fatalf("text without references changed: %q became %q", text, resolved.Text)
		}
	})
}
