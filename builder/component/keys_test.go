package component_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/action"
)

func mac() hash.Hash { return hmac.New(sha256.New, []byte("key")) }

// keysOf returns the keys of a document, by "phase.step", and their order.
func keysOf(t *testing.T, file, document string, parameters map[string]string, phases ...string) (digests map[string]string, order []string) {
	t.Helper()
	d, err := component.Parse(file, []byte(document), action.Modules())
	if err != nil {
		t.Fatalf("%v\n%s", err, document)
	}
	digests = make(map[string]string)
	for _, k := range d.Keys(parameters, phases, mac) {
		name := k.PhaseName + "." + k.StepName
		if len(k.Digest) != 2*sha256.Size || d.Phases[k.Phase].Steps[k.Step].Name != k.StepName || d.Phases[k.Phase].Name != k.PhaseName {
			t.Errorf("key %+v", k)
		}
		digests[name] = k.Digest
		order = append(order, name)
	}
	return digests, order
}

const keyed = `name: keyed
description: what it is for
schemaVersion: 1.0
parameters:
  - Version: {type: string, default: "1.2", description: the version}
  - Stored: {type: string, default: /app/version}
  - Unused: {type: string, default: x}
  - Secret: {type: string}
constants:
  - Greeting: {type: string, value: Hello}
  - Idle: {type: string, value: y}
phases:
  - name: build
    steps:
      - name: Make
        action: ExecuteBash
        inputs:
          commands:
            - echo one
            - echo {{ Version }}
      - name: Greet
        action: CreateFile
        onFailure: Continue
        inputs:
          - path: /etc/motd
            content: '{{ Greeting }}, {{ end }} {{ loop.value }}'
            permissions: 0644
      - name: Ask
        action: ExecuteBash
        timeoutSeconds: 60
        inputs:
          commands: ['echo {{ aws:ssm:resolve(Stored) }} {{ aws:ssm:/other }}']
      - name: Each
        action: ExecuteBash
        if:
          stringEquals: "{{ Version }}"
          value: "1.2"
          else: Abort
        loop:
          name: each
          forEach: [a, 'b {{ Version }}']
        inputs:
          commands: ['echo {{ each.index }} {{ loop.value }} {{ build.Make.outputs.stdout }}']
      - name: Login
        action: ExecuteBash
        maxAttempts: 3
        inputs: {commands: ['login {{Secret}}']}
  - name: validate
    steps:
      - name: Check
        action: ExecuteBash
        loop: {for: {start: 0, end: 10, updateBy: 5}}
        inputs: {commands: ['test {{ loop.index }} = {{ validate.Check.x }}']}
      - name: Split
        action: ExecuteBash
        loop: {forEach: {list: 'a,b'}}
        inputs: {commands: ['echo {{ loop.value }}', '']}
  - name: test
    steps:
      - name: Use
        action: ExecuteBash
        inputs: {commands: ['echo {{ build.Make.outputs.stdout }} {{ build.Greet.inputs[0].path }}']}
`

func TestKeys(t *testing.T) {
	given := map[string]string{"Secret": "hunter2"}
	phases := []string{"build", "validate"}
	before, order := keysOf(t, "keyed.yml", keyed, given, phases...)
	if want := []string{"build.Make", "build.Greet", "build.Ask", "build.Each", "build.Login", "validate.Check", "validate.Split"}; !slices.Equal(order, want) {
		t.Fatalf("order %q", order)
	}
	for name, digest := range before {
		for other, same := range before {
			if name != other && digest == same {
				t.Errorf("%s has the key of %s", name, other)
			}
		}
	}
	all := order
	tests := []struct {
		name     string
		old, new string // in the document
		given    map[string]string
		changed  []string // keys that must be others; all others must be the same
	}{
		// What decides nothing.
		{name: "nothing"},
		{name: "comment", old: "      - name: Greet\n", new: "      # a comment\n\n      - name: Greet # and more\n"},
		{name: "descriptions", old: "what it is for", new: "something else"},
		{name: "description of a parameter", old: ", description: the version", new: ""},
		{name: "name of the document", old: "name: keyed", new: "name: other"},
		{name: "layout", old: "          commands:\n            - echo one\n            - echo {{ Version }}\n", new: "          commands: [echo one,\n             'echo {{ Version }}']\n"},
		{name: "block", old: "            - echo one\n", new: "            - |-\n              echo one\n"},
		{name: "folded block", old: "            - echo one\n", new: "            - >-\n              echo\n              one\n"},
		{name: "quotes", old: "echo one", new: `"echo \x6fne"`},
		{name: "quotes of a number", old: "permissions: 0644", new: "permissions: '0644'"},
		{name: "space in a reference", old: "login {{Secret}}", new: "login {{   Secret\t}}"},
		{name: "order of keys", old: "        action: CreateFile\n        onFailure: Continue\n", new: "        onFailure: Continue\n        action: CreateFile\n"},
		{name: "order of inputs", old: "- path: /etc/motd\n            content: '{{ Greeting }}, {{ end }} {{ loop.value }}'\n            permissions: 0644", new: "- permissions: 0644\n            content: '{{ Greeting }}, {{ end }} {{ loop.value }}'\n            path: /etc/motd"},
		{name: "anchor", old: "- echo one\n", new: "- &one echo one\n"},
		{name: "unused default", old: "Unused: {type: string, default: x}", new: "Unused: {type: string, default: z}"},
		{name: "unused parameter", old: "  - Unused: {type: string, default: x}\n", new: ""},
		{name: "unused parameter given", given: map[string]string{"Unused": "given"}},
		{name: "unused constant", old: "Idle: {type: string, value: y}", new: "Busy: {type: string, value: z}"},
		{name: "the default given", given: map[string]string{"Version": "1.2"}},
		{name: "default timeout said", old: "        action: CreateFile\n", new: "        action: CreateFile\n        timeoutSeconds: 7200\n"},
		{name: "defaults said", old: "        maxAttempts: 3\n", new: "        maxAttempts: 3\n        onFailure: Abort\n"},
		{name: "default branch said", old: "          else: Abort\n", new: "          else: Abort\n          then: Execute\n"},
		{name: "condition as a list", old: "        if:\n          stringEquals: \"{{ Version }}\"\n          value: \"1.2\"\n          else: Abort\n", new: "        if:\n        - stringEquals: \"{{ Version }}\"\n          value: \"1.2\"\n          else: Abort\n"},
		{name: "default delimiter said", old: "{list: 'a,b'}", new: "{delimiter: ',', list: 'a,b'}"},
		{name: "default maximum said", old: "        action: CreateFile\n", new: "        action: CreateFile\n        maxAttempts: 1\n"},
		{name: "phase that is not selected", old: "  - name: test\n", new: "  - name: container-host-test\n"},
		{name: "step of a phase that is not selected", old: "echo {{ build.Make.outputs.stdout }} {{ build.Greet.inputs[0].path }}", new: "echo {{ build.Login.outputs.stdout }}"},
		{name: "name that nobody refers to", old: "name: Login\n", new: "name: SignIn\n"},
		{name: "name of a phase that nobody refers to", old: "name: validate\n", new: "name: container-host-test\n"},
		{name: "parameter renamed", old: "Unused", new: "Another"},
		// What does.
		{"action", "name: Ask\n        action: ExecuteBash\n", "name: Ask\n        action: ExecutePowerShell\n", nil, []string{"build.Ask"}},
		{"input", "path: /etc/motd", "path: /etc/issue", nil, []string{"build.Greet"}},
		{"input's spelling", "permissions: 0644", "permissions: 644", nil, []string{"build.Greet"}},
		{"input added", "            permissions: 0644\n", "            permissions: 0644\n            overwrite: true\n", nil, []string{"build.Greet"}},
		{"input gone", "            permissions: 0644\n", "", nil, []string{"build.Greet"}},
		{"item added", "            permissions: 0644\n", "            permissions: 0644\n          - {path: /a, content: b}\n", nil, []string{"build.Greet"}},
		{"line feed at an end", "            - echo one\n", "            - |\n              echo one\n", nil, []string{"build.Make"}},
		{"command added", "            - echo one\n", "            - echo one\n            - ''\n", nil, []string{"build.Make"}},
		{"commands in one", "            - echo one\n            - echo {{ Version }}\n", "            - |-\n              echo one\n              echo {{ Version }}\n", nil, []string{"build.Make"}},
		{"order of commands", "            - echo one\n            - echo {{ Version }}\n", "            - echo {{ Version }}\n            - echo one\n", nil, []string{"build.Make"}},
		{"null in place of an empty text", "'echo {{ loop.value }}', ''", "'echo {{ loop.value }}', null", nil, []string{"validate.Split"}},
		{"onFailure", "onFailure: Continue", "onFailure: Ignore", nil, []string{"build.Greet"}},
		{"timeout", "timeoutSeconds: 60", "timeoutSeconds: 61", nil, []string{"build.Ask"}},
		{"no timeout", "timeoutSeconds: 60", "timeoutSeconds: -1", nil, []string{"build.Ask"}},
		{"attempts", "maxAttempts: 3", "maxAttempts: 2", nil, []string{"build.Login"}},
		{"default", `default: "1.2"`, `default: "1.3"`, nil, []string{"build.Make", "build.Each"}},
		{"parameter", "", "", map[string]string{"Version": "1.3"}, []string{"build.Make", "build.Each"}},
		{"secret parameter", "", "", map[string]string{"Secret": "hunter3"}, []string{"build.Login"}},
		{"name to ask for", "", "", map[string]string{"Stored": "/app/newer"}, []string{"build.Ask"}},
		{"name to ask for by itself", "aws:ssm:/other", "aws:ssm:/another", nil, []string{"build.Ask"}},
		{"constant", "value: Hello", "value: Hi", nil, []string{"build.Greet"}},
		{"word that becomes a parameter", "  - Unused: {type: string, default: x}\n", "  - end: {type: string, default: x}\n", nil, []string{"build.Greet"}},
		{"name to ask for that becomes a constant's", "  - Stored: {type: string, default: /app/version}\n", "  - Other: {type: string, default: /app/version}\n", nil, []string{"build.Ask"}},
		{"condition's operator", "          stringEquals: \"{{", "          stringLessThan: \"{{", nil, []string{"build.Each"}},
		{"condition's value", `value: "1.2"`, `value: "1.20"`, nil, []string{"build.Each"}},
		{"else", "else: Abort", "else: Skip", nil, []string{"build.Each"}},
		{"then", "else: Abort", "else: Abort\n          then: Skip", nil, []string{"build.Each"}},
		{"condition gone", "        if:\n          stringEquals: \"{{ Version }}\"\n          value: \"1.2\"\n          else: Abort\n", "", nil, []string{"build.Each"}},
		{"condition added", "        maxAttempts: 3\n", "        maxAttempts: 3\n        if: {fileExists: /a}\n", nil, []string{"build.Login"}},
		{"items of a loop", "forEach: [a, ", "forEach: [a, a, ", nil, []string{"build.Each"}},
		{"order of a loop", "[a, 'b {{ Version }}']", "['b {{ Version }}', a]", nil, []string{"build.Each"}},
		{"name of a loop", "          name: each\n", "          name: other\n", nil, []string{"build.Each"}},
		{"start of a loop", "start: 0", "start: 5", nil, []string{"validate.Check"}},
		{"end of a loop", "end: 10", "end: 15", nil, []string{"validate.Check"}},
		{"stride of a loop", "updateBy: 5", "updateBy: 1", nil, []string{"validate.Check"}},
		{"list of a loop", "list: 'a,b'", "list: 'a,c'", nil, []string{"validate.Split"}},
		{"list in place of a text", "{forEach: {list: 'a,b'}}", "{forEach: [a, b]}", nil, []string{"validate.Split"}},
		{"delimiter", "list: 'a,b'", "list: 'a,b', delimiter: ';'", nil, []string{"validate.Split"}},
		{"loop gone", "        loop: {forEach: {list: 'a,b'}}\n", "", nil, []string{"validate.Split"}},
		{"loop added", "        maxAttempts: 3\n", "        maxAttempts: 3\n        loop: {forEach: [a]}\n", nil, []string{"build.Login"}},
		{"loop that gives a text a meaning", "        onFailure: Continue\n", "        onFailure: Continue\n        loop: {forEach: [a]}\n", nil, []string{"build.Greet"}},
		{"index in place of the value", "{{ each.index }} {{ loop.value }}", "{{ each.value }} {{ loop.value }}", nil, []string{"build.Each"}},
		{"name of a step that another refers to", "Make", "Build", nil, []string{"build.Make", "build.Each"}},
		{"name of a phase that a step refers to", "build", "release", nil, []string{"build.Make", "build.Each"}},
		{"another step referred to", "{{ build.Make.outputs", "{{ build.Ask.outputs", nil, []string{"build.Make", "build.Ask", "build.Each"}},
		{"another value referred to", "{{ loop.value }} {{ build.Make.outputs.stdout }}", "{{ loop.value }} {{ build.Make.inputs.commands }}", nil, []string{"build.Make", "build.Each"}},
		{"index of a value referred to", "login {{Secret}}", "login {{Secret}} {{ build.Greet.inputs[0].path }}", nil, []string{"build.Greet", "build.Login"}},
		{"value that is kept already", "login {{Secret}}", "login {{Secret}} {{ build.Make.outputs.stdout }}", nil, []string{"build.Login"}},
		{"text in place of a reference", "login {{Secret}}", "login {Secret}", nil, []string{"build.Login"}},
		{"all values", "", "", map[string]string{"Version": "2", "Secret": "3", "Stored": "/4"}, []string{"build.Make", "build.Each", "build.Login", "build.Ask"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if !strings.Contains(keyed, test.old) {
				t.Fatalf("no %q in the document", test.old)
			}
			count := 1
			if test.old == "Make" || test.old == "build" || test.old == "Unused" {
				count = -1
			}
			document := strings.Replace(keyed, test.old, test.new, count)
			parameters := map[string]string{"Secret": "hunter2"}
			for name, value := range test.given {
				parameters[name] = value
			}
			selected := phases
			if strings.HasPrefix(test.new, "name: container-host-test") {
				selected = []string{"build", "container-host-test"}
			}
			if test.new == "release" {
				selected = []string{"release", "validate"}
			}
			after, order := keysOf(t, "keyed.yml", document, parameters, selected...)
			for i, name := range all {
				if changed := after[order[i]] != before[name]; changed != slices.Contains(test.changed, name) {
					t.Errorf("the key of %s changed: %t", name, changed)
				}
			}
		})
	}
}

// TestKeysOfOtherSteps adds, removes and moves steps: the keys of the rest stay.
func TestKeysOfOtherSteps(t *testing.T) {
	a, b, c := say("A", "a {{ Par }}", ""), say("B", "b", ""), say("C", "c", "")
	keys, _ := keysOf(t, "", steps(a, b, c), nil)
	for name, list := range map[string][]string{
		"without the last": {a, b}, "without the first": {b, c}, "another first": {say("Z", "z", ""), a, b, c}, "moved": {c, b, a},
		"last twice": {a, b, c, say("D", "c", "")},
	} {
		other, order := keysOf(t, "", steps(list...), nil)
		for _, step := range order {
			if keys[step] != "" && keys[step] != other[step] {
				t.Errorf("%s: the key of %s changed", name, step)
			}
		}
		if d := other["build.D"]; d != "" && d != keys["build.C"] {
			t.Errorf("%s: steps that do the same have different keys", name)
		}
	}
}

// TestKeysResolve compares keys of steps that are written differently and do the same, and of steps that look the same and do not.
func TestKeysResolve(t *testing.T) {
	document := func(fields, command string) string {
		return fmt.Sprintf("schemaVersion: 1.0\nparameters: [{Par: {type: string, default: 'a}}'}}, {Two: {type: string, default: '{{ loop.index }}'}}]\n"+
			"phases: [{name: build, steps: [{name: A, action: ExecuteBash%s, inputs: {commands: ['%s']}}]}]\n", fields, command)
	}
	tests := []struct {
		name, fields, one, two string
		same                   bool
	}{
		{"parameter and its value", "", "echo {{ Par }}b", "echo a}}b", true},
		{"two parameters", "", "{{ Par }}{{ Par }}", "a}}a}}", true},
		{"index of no loop", "", "{{ Two }}", "{{ loop.index }}", true},
		{"index of a loop", ", loop: {forEach: [x]}", "{{ Two }}", "{{ loop.index }}", false},
		{"index of another loop", ", loop: {forEach: [x], name: mine}", "{{ loop.index }}", "{{ mine.index }}", true},
		{"index of an unknown loop", ", loop: {forEach: [x], name: mine}", "{{ loop.index }}", "{{ yours.index }}", false},
		{"layout of what is no reference", "", "{{ loop.index }}", "{{loop.index}}", false},
		{"layout of a reference", ", loop: {forEach: [x]}", "{{ loop.index }}", "{{loop.index}}", true},
		{"stored names", "", "{{ aws:ssm:/x }}", "{{ aws:ssm:resolve(/x) }}", true},
		{"stored name of a stored name", "", "{{ aws:ssm:/x }}", "{{ aws:ssm:resolve(aws:ssm:/x) }}", false},
		{"braces in a stored name", "", "{{ aws:ssm:resolve({{ Par }}) }}", "{{ aws:ssm:resolve(Par) }}", true},
	}
	for _, test := range tests {
		one, _ := keysOf(t, "", document(test.fields, test.one), nil)
		two, _ := keysOf(t, "", document(test.fields, test.two), nil)
		if (one["build.A"] == two["build.A"]) != test.same {
			t.Errorf("%s: want same keys: %t", test.name, test.same)
		}
	}
}

// TestKeysOfJSON gives a document in YAML and in JSON.
func TestKeysOfJSON(t *testing.T) {
	var value any
	if err := yaml.Unmarshal([]byte(strings.Replace(keyed, "permissions: 0644", "permissions: '0644'", 1)), &value); err != nil {
		t.Fatal(err)
	}
	for _, indent := range []string{"", "\t"} {
		data, err := json.MarshalIndent(value, "", indent)
		if err != nil {
			t.Fatal(err)
		}
		given := map[string]string{"Secret": "x"}
		inYAML, order := keysOf(t, "keyed.yml", keyed, given)
		inJSON, orderJSON := keysOf(t, "keyed.json", string(data), given)
		if !slices.Equal(order, orderJSON) {
			t.Errorf("order %q", orderJSON)
		}
		for name, digest := range inYAML {
			if inJSON[name] != digest {
				t.Errorf("the key of %s is another in JSON", name)
			}
		}
	}
}

// TestKeysBound gives a step that becomes larger than any step may.
func TestKeysBound(t *testing.T) {
	large := strings.Repeat("{{ Par }}", 4000)
	document := strings.Replace(steps("{name: A, action: ExecuteBash, inputs: {commands: [&l '"+large+"', "+strings.Repeat("*l, ", 20)+"'end']}}"), "default: p", "default: '"+strings.Repeat("v", 1000)+"'", 1)
	one, _ := keysOf(t, "", document, nil)
	two, _ := keysOf(t, "", strings.Replace(document, "'end'", "'END'", 1), nil)
	if one["build.A"] != two["build.A"] {
		t.Error("what is beyond the bound has a part in the key")
	}
	b := newBench(t, document)
	if result := b.run(); result.Failure == nil || !strings.Contains(result.Failure.Message, "larger than 16 MiB") {
		t.Errorf("the step was not refused: %+v", result)
	}
}

// TestKeysDependOnTheSecretKey computes keys with other keys of the hash.
func TestKeysDependOnTheSecretKey(t *testing.T) {
	d, err := component.Parse("", []byte(steps(say("A", "a", ""))), action.Modules())
	if err != nil {
		t.Fatal(err)
	}
	one := d.Keys(nil, nil, mac)
	two := d.Keys(nil, nil, func() hash.Hash { return hmac.New(sha256.New, []byte("other")) })
	if one[0].Digest == two[0].Digest {
		t.Error("the same keys")
	}
}
