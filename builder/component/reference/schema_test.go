package reference

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/action"
	"github.com/ingot-image/ingot/builder/component/managed"
	"github.com/ingot-image/ingot/builder/component/reference/conformance"
)

// compiled returns the schema on disk, compiled by somebody else's validator, which checks the schema itself, too.
func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(repository, SchemaFile))
	if err != nil {
		t.Fatal(err)
	}
	schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("schema.json", schema); err != nil {
		t.Fatal(err)
	}
	s, err := compiler.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// value is a YAML document as an editor sees it: by the core schema of YAML 1.2, so that yes and 2026-01-02 are texts.
func value(t *testing.T, n *yaml.Node) any {
	t.Helper()
	switch n.Kind {
	case yaml.DocumentNode:
		return value(t, n.Content[0])
	case yaml.AliasNode:
		return value(t, n.Alias)
	case yaml.MappingNode:
		m := make(map[string]any)
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[n.Content[i].Value] = value(t, n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		l := make([]any, len(n.Content))
		for i, item := range n.Content {
			l[i] = value(t, item)
		}
		return l
	}
	switch n.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		if n.Value == "true" || n.Value == "false" {
			return n.Value == "true"
		}
	case "!!int", "!!float":
		if _, ok := new(big.Float).SetString(n.Value); ok {
			return json.Number(strings.TrimLeft(n.Value, "+0") + strings.Repeat("0", b(strings.Trim(n.Value, "+0") == "")))
		}
	}
	return n.Value
}

func b(is bool) int {
	if is {
		return 1
	}
	return 0
}

func parsed(t *testing.T, data []byte) any {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal(data, &n); err != nil {
		t.Fatal(err)
	}
	return value(t, &n)
}

// TestSchemaAccepts wants the schema to find nothing wrong with documents that are right.
func TestSchemaAccepts(t *testing.T) {
	schema := compiled(t)
	documents := make(map[string][]byte)
	for _, name := range managed.Names() {
		_, data, _ := managed.Lookup(name)
		documents[name] = data
	}
	cases := loaded(t)
	for _, c := range cases {
		if c.Problems == nil && c.Name != "samples-of-loops" { // editors are to offer the one spelling of the actions' reference
			for i, name := range c.Documents {
				documents[c.Name+"/"+name] = c.Contents[i]
			}
		}
	}
	for _, pattern := range []string{"testdata/samples/*.y*ml", "testdata/samples/*/*.y*ml", "testdata/recipes/*component*.y*ml", "builder/component/testdata/documents/every-action.json"} {
		files, err := filepath.Glob(filepath.Join(repository, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := component.Parse(file, data, action.Modules()); err == nil {
				documents[file] = data
			}
		}
	}
	if len(documents) < 80 {
		t.Errorf("there are %d documents only", len(documents))
	}
	for name, data := range documents {
		if err := schema.Validate(parsed(t, data)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func loaded(t *testing.T) []conformance.Case {
	t.Helper()
	cases, err := conformance.Load(filepath.Join(repository, "testdata", "conformance"))
	if err != nil {
		t.Fatal(err)
	}
	return cases
}

// TestSchemaRefuses wants the schema to refuse the wrong documents of the conformance cases, but for mistakes that no schema can tell.
func TestSchemaRefuses(t *testing.T) {
	schema := compiled(t)
	beyond := []string{"problems-no-phase-of-the-service", "problems-platform"}
	for _, c := range loaded(t) {
		if c.Problems == nil {
			continue
		}
		if err := schema.Validate(parsed(t, c.Contents[0])); (err == nil) != slices.Contains(beyond, c.Name) {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
}

// TestSchemaAgrees holds the schema against the parser, mistake by mistake.
func TestSchemaAgrees(t *testing.T) {
	schema := compiled(t)
	head := "schemaVersion: 1.0\n"
	phases := "phases: [{name: build, steps: [{name: A, action: Reboot}]}]\n"
	step := func(text string) string {
		return head + "phases:\n- name: build\n  steps:\n  - " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ") + "\n"
	}
	with := func(key string) string { return step("name: A\naction: Reboot\n" + key) }
	assert := func(condition string) string { return step("name: A\naction: Assert\ninputs: " + condition) }
	parameters := func(n int) string {
		text := head + "parameters:\n"
		for i := range n {
			text += fmt.Sprintf("- Name%d: {type: string}\n", i)
		}
		return text + phases
	}
	constant := func(name, value string) string {
		return head + fmt.Sprintf("constants: [{%s: {type: string, value: %s}}]\n", name, value) + phases
	}
	tests := []struct {
		name, document string
		right          bool
	}{
		{"smallest", head + phases, true},
		{"version as text", "schemaVersion: '1.0'\n" + phases, true},
		{"no version", phases, false},
		{"other version", "schemaVersion: 1.1\n" + phases, false},
		{"no phases", head, false},
		{"empty phases", head + "phases: []\n", false},
		{"unknown key", head + "phase: a\n" + phases, false},
		{"25 parameters", parameters(25), true},
		{"26 parameters", parameters(26), false},
		{"short name", constant("abc", "x"), true},
		{"too short name", constant("ab", "x"), false},
		{"long name", constant(strings.Repeat("a", 128), "x"), true},
		{"too long name", constant(strings.Repeat("a", 129), "x"), false},
		{"name with a dot", constant("a.b", "x"), false},
		{"long value", constant("Name", strings.Repeat("x", 1024)), true},
		{"too long value", constant("Name", strings.Repeat("x", 1025)), false},
		{"number as value", constant("Name", "1.10"), true},
		{"constant without a value", head + "constants: [{Name: {type: string}}]\n" + phases, false},
		{"parameters as a map", head + "parameters: {Name: {type: string}}\n" + phases, false},
		{"no steps", head + "phases: [{name: build, steps: []}]\n", false},
		{"no action", step("name: A"), false},
		{"unknown action", step("name: A\naction: reboot"), false},
		{"timeout -1", with("timeoutSeconds: -1"), true},
		{"timeout -2", with("timeoutSeconds: -2"), false},
		{"timeout 0", with("timeoutSeconds: 0"), false},
		{"timeout 1", with("timeoutSeconds: 1"), true},
		{"timeout as text", with("timeoutSeconds: '60'"), true},
		{"attempts 0", with("maxAttempts: 0"), false},
		{"attempts 2", with("maxAttempts: 2"), true},
		{"onFailure", with("onFailure: Ignore"), true},
		{"onFailure in lower case", with("onFailure: ignore"), false},
		{"no inputs", step("name: A\naction: ExecuteBash"), false},
		{"empty list of inputs", step("name: A\naction: CreateFile\ninputs: []"), false},
		{"list for a map", step("name: A\naction: ExecuteBash\ninputs: [{commands: [a]}]"), false},
		{"map for a list", step("name: A\naction: CreateFile\ninputs: {path: /a}"), false},
		{"missing input", step("name: A\naction: CreateFile\ninputs: [{content: a}]"), false},
		{"unknown input", step("name: A\naction: CreateFile\ninputs: [{path: /a, contents: b}]"), false},
		{"octal", step("name: A\naction: CreateFile\ninputs: [{path: /a, permissions: 0644}]"), true},
		{"boolean", step("name: A\naction: CreateFile\ninputs: [{path: /a, overwrite: Yes}]"), true},
		{"boolean as a reference", head + "constants: [{Flag: {type: string, value: true}}]\n" +
			"phases: [{name: build, steps: [{name: A, action: CreateFile, inputs: [{path: /a, overwrite: '{{ Flag }}'}]}]}]\n", true},
		{"no boolean", step("name: A\naction: CreateFile\ninputs: [{path: /a, overwrite: perhaps}]"), false},
		{"number", step("name: A\naction: Reboot\ninputs: {delaySeconds: 5}"), true},
		{"no number", step("name: A\naction: Reboot\ninputs: {delaySeconds: soon}"), false},
		{"empty input", step("name: A\naction: CreateFile\ninputs: [{path: /a, content: }]"), true},
		{"empty required input", step("name: A\naction: CreateFile\ninputs: [{path: }]"), false},
		{"commands", step("name: A\naction: ExecuteBash\ninputs: {commands: echo}"), false},
		{"no commands", step("name: A\naction: ExecuteBash\ninputs: {commands: []}"), false},
		{"limits of ExecuteDocument", step("name: A\naction: ExecuteDocument\ntimeoutSeconds: -1\nmaxAttempts: 1\ninputs: {document: /a}"), true},
		{"timeout of ExecuteDocument", step("name: A\naction: ExecuteDocument\ntimeoutSeconds: 5\ninputs: {document: /a}"), false},
		{"attempts of ExecuteDocument", step("name: A\naction: ExecuteDocument\nmaxAttempts: 2\ninputs: {document: /a}"), false},
		{"comparison", assert("{stringEquals: a, value: b}"), true},
		{"comparison without value", assert("{stringEquals: a}"), false},
		{"comparison with path", assert("{stringEquals: a, value: b, path: /c}"), false},
		{"hash", assert("{fileMD5Equals: a, path: /b}"), true},
		{"hash with value", assert("{fileMD5Equals: a, value: /b}"), false},
		{"unary", assert("{fileExists: /a}"), true},
		{"unary with value", assert("{fileExists: /a, value: b}"), false},
		{"two operators", assert("{fileExists: /a, folderExists: /a}"), false},
		{"no operator", assert("{value: /a}"), false},
		{"unknown operator", assert("{fileexists: /a}"), false},
		{"stringlessThan", assert("{stringlessThan: a, value: b}"), true},
		{"not a map", assert("{not: {fileExists: /a}}"), true},
		{"not a list", assert("{not: [{fileExists: /a}]}"), true},
		{"not a list of two", assert("{not: [{fileExists: /a}, {fileExists: /b}]}"), false},
		{"and", assert("{and: [{fileExists: /a}, {fileExists: /b}]}"), true},
		{"and a map", assert("{and: {fileExists: /a}}"), false},
		{"and nothing", assert("{and: []}"), false},
		{"four deep", assert("{not: {not: {not: {not: {fileExists: /a}}}}}"), true},
		{"five deep", assert("{not: {not: {not: {not: {not: {fileExists: /a}}}}}}"), false},
		{"then in Assert", assert("{fileExists: /a, then: Skip}"), false},
		{"if", with("if: {fileExists: /a, then: Skip, else: Abort}"), true},
		{"if as a list", with("if: [{fileExists: /a}]"), true},
		{"if as a list of two", with("if: [{fileExists: /a}, {fileExists: /b}]"), false},
		{"if without an operator", with("if: {then: Skip}"), false},
		{"unknown branch", with("if: {fileExists: /a, then: Stop}"), false},
		{"for", with("loop: {for: {start: 1, end: 2, updateBy: 1}}"), true},
		{"for with a name", with("loop: {name: N, for: {start: 2, end: -1, updateBy: -1}}"), true},
		{"for without an end", with("loop: {for: {start: 1, updateBy: 1}}"), false},
		{"for without an update", with("loop: {for: {start: 1, end: 2, updateBy: 0}}"), false},
		{"forEach", with("loop: {forEach: [a, 1]}"), true},
		{"forEach of nothing", with("loop: {forEach: []}"), false},
		{"forEach list", with("loop: {forEach: {list: a}}"), true},
		{"forEach delimiter", with(`loop: {forEach: {list: a, delimiter: "\n"}}`), true},
		{"forEach other delimiter", with("loop: {forEach: {list: a, delimiter: '|'}}"), false},
		{"for and forEach", with("loop: {forEach: [a], for: {start: 1, end: 2, updateBy: 1}}"), false},
		{"empty loop", with("loop: {}"), false},
		{"loop name", with("loop: {name: 'a b', forEach: [a]}"), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, parser := component.Parse("document.yml", []byte(test.document), action.Modules())
			validator := schema.Validate(parsed(t, []byte(test.document)))
			if (parser == nil) != test.right {
				t.Errorf("the parser says: %v", parser)
			}
			if (validator == nil) != test.right {
				t.Errorf("the schema says: %v", validator)
			}
		})
	}
}
