package component_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/action"
)

// document wraps steps into a document with one parameter and one constant; the first step is on line 10.
func document(steps string) string {
	return `schemaVersion: 1.0
parameters:
  - Name: {type: string, default: x}
constants:
  - Const:
      type: string
      value: y
phases:
  - name: build
    steps:
` + steps
}

func indent(text string) string {
	return "      " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n      ") + "\n"
}

// step is a document with one step, which begins on line 11.
func step(text string) string { return document(indent(text)) }

const bash = "- name: A\n  action: ExecuteBash\n  inputs: {commands: [echo]}\n"

func TestParseProblems(t *testing.T) {
	tests := []struct {
		name, document string
		want           []string // all problems, without the file's name; none means that the document is right
	}{
		{"smallest", "schemaVersion: 1.0\nphases: [{name: build, steps: [{name: A, action: Reboot}]}]", nil},
		{"version as string", "schemaVersion: \"1.0\"\nphases: [{name: build, steps: [{name: A, action: Reboot}]}]", nil},
		{"empty", "", []string{"1:1: the document is empty"}},
		{"only a comment", "# nothing\n", []string{"1:1: the document is empty"}},
		{"not a map", "- a\n", []string{
			"1:1: a component document is a map with the keys name, description, schemaVersion, parameters, constants, phases, not a list"}},
		{"no YAML", "a: b: c\n", []string{"1: mapping values are not allowed in this context; this is not well-formed YAML"}},
		{"tab", "a:\n\tb: c\n", []string{"2: found character that cannot start any token; " +
			"YAML is indented with spaces, not tabs; a value that starts with a special character must be quoted"}},
		{"tab after spaces", "a:\n  - b: c\n\td: e\n", []string{"3: found a tab character that violates indentation; YAML is indented with spaces, not tabs"}},
		{"text with a colon", step("- name: A\n  action: ExecuteBash\n  inputs:\n    commands:\n      - echo foo: bar"), []string{
			"15:15: phases[0].steps[0].inputs.commands[0]: must be a single value, not a map; a text with \": \" in it must be quoted, or written after |"}},
		{"name with a colon", step("- name: {A: b}\n  action: Reboot"), []string{
			"11:15: phases[0].steps[0].name: must be a single value, not a map; a text with \": \" in it must be quoted, or written after |"}},
		{"reference in a list without quotes", step("- name: A\n  action: ExecuteBash\n  inputs:\n    commands:\n      - {{ Name }}"), []string{
			"15:16: a key must be a plain text; a value that starts with a reference, {{ … }}, must be in quotes"}},
		{"reference without quotes", step("- name: A\n  action: CreateFolder\n  inputs:\n    - path: {{ Name }}\n    - path: {}"), []string{
			"14:20: a key must be a plain text; a value that starts with a reference, {{ … }}, must be in quotes",
			"15:19: phases[0].steps[0].inputs[1].path: must be a single value, not a map; a text with \": \" in it must be quoted, or written after |"}},
		{"two documents", "schemaVersion: 1.0\nphases: [{name: build, steps: [{name: A, action: Reboot}]}]\n---\na: b\n", []string{
			"3:1: the file holds more than one document; put every component into a file of its own"}},
		{"not UTF-8", "name: a\nb: \xff\n", []string{"2: the document is not valid UTF-8; save the file as UTF-8"}},
		{"top level", "schemaversion: 2\nphase: []\n", []string{
			"1:1: schemaversion: unknown field \"schemaversion\"; did you mean \"schemaVersion\"?",
			"1:1: schemaVersion: is missing",
			"1:1: phases: is missing",
			"2:1: phase: unknown field \"phase\"; did you mean \"phases\"?",
		}},
		{"version", "schemaVersion: 2.0\nphases: []\n", []string{
			"1:16: schemaVersion: unknown version \"2.0\"; the only one is 1.0",
			"2:9: phases: is an empty list",
		}},
		{"duplicate keys", "schemaVersion: 1.0\nname: a\nname: b\nphases: [{name: build, steps: [{name: A, action: Reboot, name: B}]}]\n", []string{
			"3:1: the key \"name\" is here twice; the first one is on line 2",
			"4:58: the key \"name\" is here twice; the first one is on line 4",
		}},
		{"parameters", `schemaVersion: 1.0
parameters:
  - Version: {type: number, allowedValues: [a]}
  - ab: {type: string}
  - Version: {type: string}
  - name: Other
    type: string
  - Size: 12
  - Good: {type: string, defualt: x}
constants:
  - Good: {type: string, value: x}
  - Fixed: {type: string}
phases: [{name: build, steps: [{name: A, action: Reboot}]}]
`, []string{
			"3:21: parameters[0].Version.type: unknown type \"number\"; the only one is string",
			"3:29: parameters[0].Version.allowedValues: unknown field \"allowedValues\"; AWSTOE has no allowedValues; SSM documents do",
			"4:5: parameters[1].ab: the name \"ab\" is not allowed; names have 3 to 128 letters, digits, - and _",
			"5:5: parameters[2].Version: the name \"Version\" is here twice; parameters and constants share their names; the first one is on line 3",
			"6:5: parameters[3]: must be a map with a single key, the name; such as - MyName: {type: string, …}",
			"8:11: parameters[4].Size: must be a map, not the text \"12\"; it says type and value, as in {type: string, …}",
			"9:26: parameters[5].Good.defualt: unknown field \"defualt\"; did you mean \"default\"?",
			"11:5: constants[0].Good: the name \"Good\" is here twice; parameters and constants share their names; the first one is on line 9",
			"12:12: constants[1].Fixed.value: is missing",
		}},
		{"parameters as a map", "schemaVersion: 1.0\nparameters: {Name: {type: string}}\nphases: [{name: build, steps: [{name: A, action: Reboot}]}]\n", []string{
			"2:13: parameters: must be a list, not a map; write every name after \"- \""}},
		{"phases", `schemaVersion: 1.0
phases:
  - name: biuld
    steps: [{name: A, action: Reboot}]
  - name: test
    steps: []
  - name: test
  - name: verify
    steps: [{name: A, action: Reboot}, {name: A, action: Reboot}, b]
  - steps: [{name: A, action: Reboot}]
`, []string{
			"3:11: phases[0].name: unknown phase \"biuld\"; did you mean \"build\"?",
			"6:12: phases[1].steps: is an empty list",
			"7:5: phases[2].steps: is missing",
			"7:11: phases[2].name: the phase \"test\" is here twice; the first one is on line 5",
			"9:47: phases[3].steps[1].name: the step \"A\" is here twice; the first one is on line 9",
			"9:67: phases[3].steps[2]: must be a map with name, action and inputs, not the text \"b\"",
			"10:5: phases[4].name: is missing",
		}},
		{"no phase of the service", "schemaVersion: 1.0\nphases: [{name: verify, steps: [{name: A, action: Reboot}]}]\n", []string{
			"2:9: phases: none of the phases is one that the service runs; at least one must be build, validate, test, container-host-test"}},
		{"step fields", step(`
- nam: A
  action: ExecuteBash
  timeoutSeconds: 0
  onFailure: abort
  maxAttempts: 0
  inputs: {commands: [echo]}`), []string{
			"11:9: phases[0].steps[0].nam: unknown field \"nam\"; did you mean \"name\"?",
			"11:9: phases[0].steps[0].name: is missing",
			"13:25: phases[0].steps[0].timeoutSeconds: must be at least 1, or -1 for no limit, not \"0\"",
			"14:20: phases[0].steps[0].onFailure: unknown value \"abort\"; did you mean \"Abort\"?",
			"15:22: phases[0].steps[0].maxAttempts: must be a whole number of at least 1, not \"0\"",
		}},
		{"references outside of inputs", step("- name: A\n  action: Reboot\n  timeoutSeconds: \"{{ Name }}\"\n  maxAttempts: x"), []string{
			"13:25: phases[0].steps[0].timeoutSeconds: must be a whole number of seconds, not \"{{ Name }}\"; references are for inputs only",
			"14:22: phases[0].steps[0].maxAttempts: must be a whole number of at least 1, not \"x\"",
		}},
		{"infinite timeout", step("- name: A\n  action: Reboot\n  timeoutSeconds: -1\n"), nil},
		{"unknown actions", step("- {name: A, action: ExecuteBsh, inputs: {}}\n- {name: B, action: executebash, inputs: {}}\n- {name: C, action: movefile}\n- {name: D}"), []string{
			"11:27: phases[0].steps[0].action: unknown action \"ExecuteBsh\"; did you mean \"ExecuteBash\"?",
			"12:27: phases[0].steps[1].action: unknown action \"executebash\"; did you mean \"ExecuteBash\"?",
			"13:27: phases[0].steps[2].action: unknown action \"movefile\"; did you mean \"MoveFile\"?",
			"14:9: phases[0].steps[3].action: is missing",
		}},
		{"inputs", step(`
- name: A
  action: ExecuteBash
- name: B
  action: ExecuteBash
  inputs: [{commands: [a]}]
- name: C
  action: CreateFile
  inputs: {path: /x}
- name: D
  action: CreateFile
  inputs: []
- name: E
  action: CreateFile
  inputs:
    - pth: /x
      permissions: 999
      overwrite: perhaps
      encoding: latin1
    - path:
    - path: ""
      content: [a]
- name: F
  action: ExecuteBash
  inputs: {commands: echo}
- name: G
  action: ExecuteBash
  inputs: {commands: []}
- name: H
  action: Reboot
  inputs: {delaySeconds: soon}
- name: I
  action: Reboot
  inputs: {delaySeconds: -1}`), []string{
			"11:9: phases[0].steps[0].inputs: is missing; the action ExecuteBash needs inputs",
			"15:17: phases[0].steps[1].inputs: must be a map, not a list; ExecuteBash takes its inputs once, without \"- \"",
			"18:17: phases[0].steps[2].inputs: must be a list, not a map; CreateFile takes any number of items, each after \"- \"",
			"21:17: phases[0].steps[3].inputs: is an empty list; the action CreateFile needs inputs",
			"25:13: phases[0].steps[4].inputs[0].pth: unknown input \"pth\"; did you mean \"path\"?",
			"25:13: phases[0].steps[4].inputs[0].path: is missing; the action needs it",
			"26:26: phases[0].steps[4].inputs[0].permissions: \"999\" are no permissions: they are octal digits such as 0644",
			"27:24: phases[0].steps[4].inputs[0].overwrite: must be true or false, not the text \"perhaps\"",
			"28:23: phases[0].steps[4].inputs[0].encoding: unknown encoding \"latin1\": known are utf8, utf16, utf16-LE, utf16-BE, utf32, utf32-LE, utf32-BE",
			"29:18: phases[0].steps[4].inputs[1].path: has no value",
			"30:19: phases[0].steps[4].inputs[2].path: is empty",
			"31:22: phases[0].steps[4].inputs[2].content: must be a single value, not a list",
			"34:28: phases[0].steps[5].inputs.commands: must be a list, not the text \"echo\"; write every item on a line of its own after \"- \"",
			"37:28: phases[0].steps[6].inputs.commands: is an empty list",
			"40:32: phases[0].steps[7].inputs.delaySeconds: must be a whole number, not the text \"soon\"",
			"43:32: phases[0].steps[8].inputs.delaySeconds: must be between 0 and 86400",
		}},
		{"unquoted reference", step("- name: A\n  action: CreateFile\n  inputs:\n    - path: /x\n      content: {{ Name }}"), []string{
			"15:23: a key must be a plain text; a value that starts with a reference, {{ … }}, must be in quotes",
		}},
		{"action's own checks", step(`
- name: A
  action: CopyFile
  inputs:
    - {source: "/a*/b", destination: /c}
    - {source: "/a/b*", destination: /c}
    - {source: "{{ Name }}*", destination: "{{ Const }}"}
- name: B
  action: WebDownload
  inputs:
    - {source: "ftp://x/y", destination: /c}
    - {source: "https://x/", destination: /c/}
    - {source: "https://x/y", destination: /c/, checksum: abc, algorithm: SHA256}
    - {source: "https://x/y", destination: /c/, algorithm: CRC32}
- name: C
  action: UpdateOS
  inputs: {include: [nginx, -o], exclude: ["{{ Name }}"]}`), []string{
			"14:22: phases[0].steps[0].inputs[0].source: * is allowed in the last part of the path only",
			"14:44: phases[0].steps[0].inputs[0].destination: must be a folder when the source contains *; end it with a slash",
			"15:44: phases[0].steps[0].inputs[1].destination: must be a folder when the source contains *; end it with a slash",
			"20:22: phases[0].steps[1].inputs[0].source: has the scheme \"ftp\"; it must be http or https",
			"21:22: phases[0].steps[1].inputs[1].source: has no file name; name the file in destination",
			"22:65: phases[0].steps[1].inputs[2].checksum: is no SHA256 checksum; one has 64 hexadecimal digits",
			"23:66: phases[0].steps[1].inputs[3].algorithm: unknown algorithm \"CRC32\": known are MD5, SHA1, SHA256, SHA512",
			"26:27: phases[0].steps[2].inputs.include: \"-o\" is no name of a package",
		}},
		{"references", step(`
- name: First
  action: CreateFile
  inputs:
    - path: "/{{ Name }}/{{Const}}"
      content: |
        {{ Nmae }} and {{ build.Second.outputs.stdout }}
          then {{ bild.First.inputs[0].path }}
- name: Second
  action: ExecuteBash
  inputs:
    commands:
      - echo "{{ build.Frist.inputs.path }}" '{{ build.First.outputs.path }}'
      - echo {{ build.First.inputs.path }} {{ build.First.inputs[1].path }} {{ build.First.inputs.owner }}
      - "{{ aws:ssm:/a b }} {{ Unknown }}"
- name: Third
  action: ExecuteBash
  inputs:
    commands: ["{{ build.Second.outputs.stdot }}{{ build.Second.inputs.commands[2] }}{{ build.Second.inputs.commands[3] }}{{ build.Second.outputs.stdout[0] }}"]`), []string{
			"16:15: phases[0].steps[0].inputs[0].content: {{ Nmae }}: no parameter or constant has this name; did you mean \"Name\"?",
			"16:30: phases[0].steps[0].inputs[0].content: {{ build.Second.outputs.stdout }}: the step does not run before this one; a step may refer to earlier steps only",
			"17:22: phases[0].steps[0].inputs[0].content: {{ bild.First.inputs[0].path }}: the document has no phase \"bild\"; did you mean \"build\"?",
			"22:21: phases[0].steps[1].inputs.commands[0]: {{ build.Frist.inputs.path }}: the phase build has no step \"Frist\"; did you mean \"First\"?",
			"22:53: phases[0].steps[1].inputs.commands[0]: {{ build.First.outputs.path }}: the action CreateFile has no outputs",
			"23:50: phases[0].steps[1].inputs.commands[1]: {{ build.First.inputs[1].path }}: the inputs of the step have 1 item only; indices start at 0",
			"23:83: phases[0].steps[1].inputs.commands[1]: {{ build.First.inputs.owner }}: the step does not set the input \"owner\"; it sets path, content",
			"24:16: phases[0].steps[1].inputs.commands[2]: {{ aws:ssm:/a b }}: this is no reference to a parameter of the Parameter Store; write aws:ssm:NAME, aws:ssm:resolve(NAME) or aws:ssm:resolve(aws:ssm:NAME)",
			"24:35: phases[0].steps[1].inputs.commands[2]: {{ Unknown }}: no parameter or constant has this name; define it; " +
				"if the text is meant literally, write its braces with the help of a constant whose value is '{{'",
			"28:23: phases[0].steps[2].inputs.commands[0]: {{ build.Second.outputs.stdot }}: the action ExecuteBash has no output \"stdot\"; did you mean \"stdout\"?",
			"28:92: phases[0].steps[2].inputs.commands[0]: {{ build.Second.inputs.commands[3] }}: the input commands has 3 items only; indices start at 0",
			"28:129: phases[0].steps[2].inputs.commands[0]: {{ build.Second.outputs.stdout[0] }}: the output stdout is a text and has no items; leave the index after it out",
		}},
		{"texts that are no references", step(`
- name: A
  action: ExecuteBash
  inputs:
    commands:
      - docker ps --format '{{.Names}} {{ .ID }} {{range .X}}{{end}} {{ json . }} {{- end -}} {{ "x" }} {{ x }}'
      - echo '{{ loop.index }} {{ item.value }} {{ a.b }} ${{ matrix.os }} {{{ imagebuilder:parentImage }}} {{ | }} {{ Name'`), nil},
		{"conditions", step(`
- {name: A, action: Assert, inputs: {stringEqual: a, value: b}}
- {name: B, action: Assert, inputs: {stringEquals: a}}
- {name: C, action: Assert, inputs: {fileExists: a, value: b}}
- {name: D, action: Assert, inputs: {fileExists: a, folderExists: b}}
- {name: E, action: Assert, inputs: {and: {fileExists: a}}}
- {name: F, action: Assert, inputs: {not: [{fileExists: a}, {fileExists: b}]}}
- {name: G, action: Assert, inputs: {patternMatches: "(", value: b}}
- {name: H, action: Assert, inputs: {and: [{or: [{not: {and: [{not: {fileExists: a}}]}}]}]}}
- {name: I, action: Assert, inputs: {and: [{or: [{not: {and: [{fileExists: a}]}}]}], value: x}}
- {name: J, action: Assert, inputs: {and: []}}
- {name: K, action: Assert, inputs: {stringEquals: [a], value: b}}
- {name: L, action: Assert}
- {name: M, action: Assert, inputs: {}}
- {name: N, action: Assert, inputs: {fileMD5Equals: a, value: x}}
- {name: O, action: Assert, inputs: {stringlessThan: a, value: x}}`), []string{
			"11:44: phases[0].steps[0].inputs.stringEqual: unknown operator \"stringEqual\"; did you mean \"stringEquals\"?",
			"12:43: phases[0].steps[1].inputs.value: is missing; stringEquals compares with it",
			"13:59: phases[0].steps[2].inputs.value: the operator fileExists takes no value",
			"14:43: phases[0].steps[3].inputs: has 2 operators; a condition has one; combine several by and, or, not",
			"15:49: phases[0].steps[4].inputs.and: must be a list of conditions, not a map",
			"16:49: phases[0].steps[5].inputs.not: not takes one condition; combine several by and, or",
			"17:60: phases[0].steps[6].inputs.patternMatches: error parsing regexp: missing closing ): `(?i)(`; patterns are those of Go's regexp package (RE2)",
			"18:70: phases[0].steps[7].inputs.and[0].or[0].not.and[0].not: logical operators are nested more than 4 levels deep",
			"19:92: phases[0].steps[8].inputs.value: the operator and takes no value",
			"20:49: phases[0].steps[9].inputs.and: is an empty list",
			"21:58: phases[0].steps[10].inputs.stringEquals: must be a single value, not a list",
			"22:9: phases[0].steps[11].inputs: is missing; the action Assert needs inputs",
			"23:43: phases[0].steps[12].inputs: must be a condition, not a map; such as stringEquals with value, or and, or, not",
			"24:43: phases[0].steps[13].inputs.path: is missing; fileMD5Equals compares with it",
			"24:62: phases[0].steps[13].inputs.value: the operator fileMD5Equals takes no value",
		}},
		{"steps with spaces and dots", step("- {name: First Step v1.2, action: ExecuteBash, inputs: {commands: [a]}}\n" +
			"- {name: B, action: ExecuteBash, inputs: {commands: [\"{{ build.First Step v1.2.outputs.stdout }}\"]}}"), nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := component.Parse("f.yml", []byte(test.document), action.Modules())
			compareProblems(t, err, "f.yml", test.want)
		})
	}
}

func compareProblems(t *testing.T, err error, file string, want []string) {
	t.Helper()
	var got []string
	var problems component.Problems
	if errors.As(err, &problems) {
		for _, p := range problems {
			got = append(got, strings.TrimSpace(strings.TrimPrefix(p.String(), file+":")))
		}
	} else if err != nil {
		t.Fatalf("error of type %T: %v", err, err)
	}
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("missing: %s", want[i])
		case i >= len(want):
			t.Errorf("unexpected: %s", got[i])
		case got[i] != want[i]:
			t.Errorf("problem %d\n got: %s\nwant: %s", i, got[i], want[i])
		}
	}
}

func TestParseJSON(t *testing.T) {
	good := `{"schemaVersion": 1.0, "name": "j\u00e4 \ud83d\ude00",
	"phases": [{"name": "build", "steps": [
		{"name": "A", "action": "SetFilePermissions", "inputs": [{"path": "\/x", "permissions": 755}]}]}]}`
	d, err := component.Parse("f.yml", []byte(good), action.Modules())
	if err != nil {
		t.Fatal(err)
	}
	if d.Name != "jä 😀" {
		t.Errorf("name %q", d.Name)
	}
	permissions := d.Phases[0].Steps[0].Inputs.Items[0].Get("permissions")
	if permissions.Text != "755" || permissions.Line != 3 || permissions.Column != 91 {
		t.Errorf("permissions %+v", permissions)
	}
	tests := []struct{ name, document, want string }{
		{"syntax", "{\n  \"a\": x}", "2:8: invalid character 'x' looking for beginning of value; this is not well-formed JSON"},
		{"ends early", "{\"a\": [1", "1:8: unexpected end of JSON input; this is not well-formed JSON"},
		{"more text", good + "\n{}", "4:1: invalid character '{' after top-level value"},
		{"twice", strings.Replace(good, `"path"`, `"path": "/y", "path"`, 1), "3:75: the key \"path\" is here twice; the first one is on line 3"},
		{"wrong field", strings.Replace(good, `"path"`, `"pth"`, 1), "3:61: phases[0].steps[0].inputs[0].pth: unknown input \"pth\"; did you mean \"path\"?"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := component.Parse("f.json", []byte(test.document), action.Modules())
			if err == nil || !strings.Contains(err.Error(), "f.json:"+test.want) {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestParseKeepsLiteralText(t *testing.T) {
	for text, want := range map[string]string{"0755": "0755", "755": "755", `"0755"`: "0755", "0o755": "0o755", "1.10": "1.10", "yes": "yes", "0x1F": "0x1F", "1e3": "1e3"} {
		d, err := component.Parse("f.yml", []byte(step("- name: A\n  action: CreateFile\n  inputs:\n    - {path: /x, content: "+text+"}")), action.Modules())
		if err != nil {
			t.Fatal(err)
		}
		if got := d.Phases[0].Steps[0].Inputs.Items[0].Get("content").Text; got != want {
			t.Errorf("%s became %q", text, got)
		}
	}
}

func TestParseAnchorsAndMerges(t *testing.T) {
	d, err := component.Parse("f.yml", []byte(step(`
- &first
  name: A
  action: ExecuteBash
  onFailure: Ignore
  inputs: {commands: [&text "a"]}
- <<: *first
  name: B
  inputs: {commands: [*text, b]}`)), action.Modules())
	if err != nil {
		t.Fatal(err)
	}
	b := d.Phases[0].Steps[1]
	if b.Name != "B" || b.OnFailure != component.Ignore || len(b.Inputs.Get("commands").Items) != 2 || b.Inputs.Get("commands").Items[0].Text != "a" {
		t.Errorf("step %+v", b)
	}
}

func TestParseBounds(t *testing.T) {
	bomb := "a: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := range 8 {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i), 10), ","))
	}
	tests := []struct{ name, document, want string }{
		{"size", strings.Repeat("#", component.MaxDocumentSize+1), "the document is larger than 64 KiB"},
		{"alias bomb", bomb, "the document has more than 100000 values"},
		{"alias of itself", "a: &a [*a]\n", "values are nested more than 64 levels deep"},
		{"depth", strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "values are nested more than 64 levels deep"},
		{"depth of flow maps", strings.Repeat("{a: ", 9000) + strings.Repeat("}", 9000), "values are nested more than 64 levels deep"},
		{"many values", "[" + strings.Repeat("a,", 30_000) + "]", "a component document is a map"},
		{"deep JSON", "{\"a\":" + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "}", "values are nested more than 64 levels deep"},
		{"unbalanced", strings.Repeat("[", 60_000), "exceeded max depth"},
		{"long references", document("      - name: A\n        action: ExecuteBash\n        inputs:\n          commands: [\"" + strings.Repeat("{{a", 20_000) + "\"]\n"), ""},
		{"many references", document("      - name: A\n        action: ExecuteBash\n        inputs:\n          commands: [\"" + strings.Repeat("{{ Nope }}", 6_000) + "\"]\n"), "no parameter or constant has this name"},
		{"references with escapes", document("      - name: A\n        action: ExecuteBash\n        inputs:\n          commands: [\"" + strings.Repeat(`{{\x4eope}}`, 5_000) + "\"]\n"), "no parameter or constant has this name"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := component.Parse("f.yml", []byte(test.document), action.Modules())
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %.300v", err)
			}
		})
	}
}

func TestParseReturnsWhatItCouldRead(t *testing.T) {
	d, err := component.Parse("f.yml", []byte(step("- {name: A, action: Nope}")), action.Modules())
	if err == nil || d == nil || len(d.Parameters) != 1 || d.Parameters[0].Name != "Name" {
		t.Errorf("document %+v, error %v", d, err)
	}
}

func TestCheckParameters(t *testing.T) {
	d, err := component.Parse("f.yml", []byte(strings.Replace(step(bash), "parameters:\n", "parameters:\n  - Needed: {type: string}\n", 1)), action.Modules())
	if err != nil {
		t.Fatal(err)
	}
	compareProblems(t, d.CheckParameters("r.yml", map[string]string{"Needed": "a", "Name": "b"}).Err(), "r.yml", nil)
	compareProblems(t, d.CheckParameters("r.yml", map[string]string{"Nmae": "", "Const": "a", "Name": strings.Repeat("x", 1025), "zzzz": "1"}).Err(), "r.yml", []string{
		"parameters.Needed: the component needs a value for its parameter \"Needed\"; it has no default",
		"parameters.Const: \"Const\" is a constant of the component and cannot be set",
		"parameters.Name: the value has more than 1024 characters",
		"parameters.Nmae: the component has no parameter \"Nmae\"; did you mean \"Name\"?",
		"parameters.zzzz: the component has no parameter \"zzzz\"; it has Needed, Name",
	})
	compareProblems(t, d.CheckParameters("r.yml", map[string]string{"Needed": ""}).Err(), "r.yml", []string{
		"parameters.Needed: the value is empty; leave the parameter out to get its default",
	})
}

func FuzzParse(f *testing.F) {
	seeds, err := filepath.Glob("testdata/documents/*")
	if err != nil || len(seeds) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, name := range seeds {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	modules := action.Modules()
	f.Fuzz(func(t *testing.T, data []byte) {
		breaks := strings.NewReplacer("\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n") // YAML 1.1 knows them all
		lines := 1 + strings.Count(breaks.Replace(string(data)), "\n")
		for _, name := range []string{"f.yml", "f.json"} {
			d, err := component.Parse(name, data, modules)
			var problems component.Problems
			if err != nil && (!errors.As(err, &problems) || len(problems) == 0) {
				t.Fatalf("error without problems: %v", err)
			}
			if err == nil && len(d.Phases) == 0 {
				t.Fatal("a document without phases was accepted")
			}
			for _, p := range problems {
				if p.Message == "" || p.Line > lines+1 {
					t.Fatalf("bad problem %+v", p)
				}
			}
		}
	})
}
