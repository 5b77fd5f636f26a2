package component_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/action"
)

// TestParseIfAndLoop checks what is said of a step whose fields begin on line 12, after its name.
func TestParseIfAndLoop(t *testing.T) {
	const line = "13:"
	tests := []struct {
		name, field string
		want        []string // without "phases[0].steps[0]."
	}{
		{"if without value", "if:", []string{"13:12: if: must be a condition, not nothing; such as stringEquals with value, or and, or, not"}},
		{"if of two", "if: [{stringIsEmpty: a}, {stringIsEmpty: b}]", []string{"13:13: if: must be one condition, not a list of 2; combine several by and, or, not"}},
		{"if text", "if: [a]", []string{"13:14: if[0]: must be a condition, not the text \"a\"; such as stringEquals with value, or and, or, not"}},
		{"if without operator", "if: {then: Skip}", []string{"13:13: if: must be a condition, not a map; such as stringEquals with value, or and, or, not"}},
		{"two operators", "if: {stringIsEmpty: a, binaryExists: b}", []string{"13:13: if: has 2 operators; a condition has one; combine several by and, or, not"}},
		{"operator", "if: {fileExist: a}", []string{"13:14: if.fileExist: unknown operator \"fileExist\"; did you mean \"fileExists\"?"}},
		{"operators's value", "if: {stringEquals: a, valeu: b}", []string{"13:31: if.valeu: unknown operator \"valeu\"; did you mean \"value\"?"}},
		{"no value", "if: {stringEquals: a}", []string{"13:13: if.value: is missing; stringEquals compares with it"}},
		{"branches", "if: {stringIsEmpty: a, Then: Skip, esle: Abort}", []string{
			"13:32: if.Then: unknown field \"Then\"; did you mean \"then\"?", "13:44: if.esle: unknown field \"esle\"; did you mean \"else\"?"}},
		{"branch", "if: {stringIsEmpty: a, then: skip, else: Continue}", []string{
			"13:38: if.then: unknown value \"skip\"; did you mean \"Skip\"?", "13:50: if.else: unknown value \"Continue\"; known are Execute, Skip, Abort"}},
		{"then inside", "if: {not: {stringIsEmpty: a, then: Skip}}", []string{"13:38: if.not.then: unknown operator \"then\"; known are "}},
		{"four levels", "if: {and: [{and: [{and: [{and: [{stringIsEmpty: a}]}]}]}]}", nil},
		{"five levels", "if: {and: [{and: [{and: [{and: [{not: {stringIsEmpty: a}}]}]}]}]}", []string{
			"13:42: if.and[0].and[0].and[0].and[0].not: logical operators are nested more than 4 levels deep"}},
		{"reference in if", "if: [{stringEquals: '{{ Nmae }}', value: '{{ build.B.outputs.stdout }}'}]", []string{
			"13:30: if[0].stringEquals: {{ Nmae }}: no parameter or constant has this name; did you mean \"Name\"?",
			"13:51: if[0].value: {{ build.B.outputs.stdout }}: the phase build has no step \"B\""}},
		{"loop text", "loop: a", []string{"13:15: loop: must be a map with for or forEach, not the text \"a\""}},
		{"loop without", "loop: {name: a}", []string{"13:15: loop: has neither for nor forEach"}},
		{"loop with both", "loop: {for: {}, forEach: []}", []string{"13:15: loop: has both for and forEach; a loop has one of them"}},
		{"loop keys", "loop: {foreach: [a], nmae: b}", []string{
			"13:15: loop: has neither for nor forEach",
			"13:16: loop.foreach: unknown field \"foreach\"; did you mean \"forEach\"?", "13:30: loop.nmae: unknown field \"nmae\"; did you mean \"name\"?"}},
		{"loop name", "loop: {name: a b, forEach: [a]}", []string{"13:22: loop.name: the name \"a b\" is not allowed; names have 1 to 128 letters, digits, - and _"}},
		{"for", "loop: {for: {start: x, end: 1.5, updateby: 2}}", []string{
			"13:21: loop.for.updateBy: is missing",
			"13:29: loop.for.start: must be a whole number, not \"x\"", "13:37: loop.for.end: must be a whole number, not \"1.5\"",
			"13:42: loop.for.updateby: unknown field \"updateby\"; did you mean \"updateBy\"?"}},
		{"for with references", "loop: {for: {start: '{{ Name }}', end: 1, updateBy: 1}}", []string{
			"13:29: loop.for.start: must be a whole number, not \"{{ Name }}\"; references are for inputs only"}},
		{"for without an end", "loop: {for: {start: 1, end: 2, updateBy: 0}}", []string{"13:50: loop.for.updateBy: is 0, so that the loop would never end"}},
		{"for away", "loop: {for: {start: 1, end: 2, updateBy: -1}}", []string{
			"13:50: loop.for.updateBy: leads from 1 away from 2, so that the loop would never end; give it the other sign"}},
		{"for away down", "loop: {for: {start: 2, end: 1, updateBy: 1}}", []string{
			"13:50: loop.for.updateBy: leads from 2 away from 1, so that the loop would never end; give it the other sign"}},
		{"for too long", "loop: {for: {start: 1, end: 10001, updateBy: 1}}", []string{"13:21: loop.for: has 10001 iterations, more than 10000"}},
		{"for as long as can be", "loop: {for: {start: 10000, end: 1, updateBy: -1}}", nil},
		{"for over everything", "loop: {for: {start: -9223372036854775808, end: 9223372036854775807, updateBy: 1}}", []string{
			"13:21: loop.for: has 9223372036854775808 iterations, more than 10000"}},
		{"forEach empty", "loop: {forEach: []}", []string{"13:25: loop.forEach: is an empty list"}},
		{"forEach of maps", "loop: {forEach: [{a: b}, [c], d]}", []string{
			"13:26: loop.forEach[0]: must be a text, not a map", "13:34: loop.forEach[1]: must be a text, not a list"}},
		{"forEach text", "loop: {forEach: a}", []string{"13:25: loop.forEach: must be a list, or a map with list and delimiter, not the text \"a\""}},
		{"forEach keys", "loop: {forEach: {lst: a}}", []string{
			"13:25: loop.forEach.list: is missing", "13:26: loop.forEach.lst: unknown field \"lst\"; did you mean \"list\"?"}},
		{"delimiter", "loop: {forEach: {list: a, delimiter: '|'}}", []string{
			"13:46: loop.forEach.delimiter: unknown delimiter \"|\"; it is one of . , ; : \\n \\t space - _"}},
		{"delimiter with reference", "loop: {forEach: {list: a, delimiter: '{{ Name }}'}}", []string{
			"13:46: loop.forEach.delimiter: unknown delimiter \"{{ Name }}\"; it is one of . , ; : \\n \\t space - _"}},
		{"references in loops", "loop: {forEach: ['{{ Nope }}', '{{ loop.value }}', '{{ build.A.outputs.stdout }}']}", []string{
			"13:27: loop.forEach[0]: {{ Nope }}: no parameter or constant has this name",
			"13:61: loop.forEach[2]: {{ build.A.outputs.stdout }}: the step does not run before this one; a step may refer to earlier steps only"}},
		{"reference in list", "loop: {forEach: {list: '{{ Nope }}'}}", []string{
			"13:33: loop.forEach.list: {{ Nope }}: no parameter or constant has this name"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := component.Parse("f.yml", []byte(step("- name: A\n  action: Reboot\n  "+test.field)), action.Modules())
			var got []string
			if problems, ok := errors.AsType[component.Problems](err); ok {
				for _, p := range problems {
					got = append(got, strings.Replace(strings.TrimPrefix(p.String(), "f.yml:"), "phases[0].steps[0].", "", 1))
				}
			} else if err != nil {
				t.Fatal(err)
			}
			for i := range max(len(got), len(test.want)) {
				if i >= len(got) || i >= len(test.want) || !strings.HasPrefix(got[i], strings.ReplaceAll(test.want[i], " "+line, line)) {
					t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
					break
				}
			}
		})
	}
}

func TestParseStep(t *testing.T) {
	second := func(fields string) string { return step("- {name: A, action: Reboot, " + fields + "}") }
	tests := []struct {
		name, document string
		want           []string
	}{
		{"loop names", step("- {name: A, action: Reboot, loop: {name: N, forEach: [a]}}\n- {name: B, action: Reboot, loop: {name: N, forEach: [a]}}"), []string{
			"12:48: phases[0].steps[1].loop.name: the loop \"N\" is here twice; the first one is on line 11"}},
		{"store", second("if: {stringEquals: a, value: '{{ aws:ssm:/a/b:3 }}{{aws:ssm:resolve(Name)}}{{ aws:ssm:resolve( aws:ssm:/x ) }}{{ aws:ssm:resolve({{ Name }}) }}'}"), nil},
		{"store without a name", second("if: {stringEquals: a, value: '{{ aws:ssm: }}{{ aws:ssm:upper(x) }}{{ aws:ssm:resolve() }}'}"), []string{
			"11:65: phases[0].steps[0].if.value: {{ aws:ssm: }}: this is no reference to a parameter of the Parameter Store; write aws:ssm:NAME, aws:ssm:resolve(NAME) or aws:ssm:resolve(aws:ssm:NAME)",
			"11:79: phases[0].steps[0].if.value: {{ aws:ssm:upper(x) }}: this is no reference to a parameter of the Parameter Store; write aws:ssm:NAME, aws:ssm:resolve(NAME) or aws:ssm:resolve(aws:ssm:NAME)",
			"11:101: phases[0].steps[0].if.value: {{ aws:ssm:resolve() }}: this is no reference to a parameter of the Parameter Store; write aws:ssm:NAME, aws:ssm:resolve(NAME) or aws:ssm:resolve(aws:ssm:NAME)",
		}},
		{"ExecuteDocument's limits", step("- {name: A, action: ExecuteDocument, timeoutSeconds: 60, maxAttempts: 2, inputs: {document: /x}}\n- {name: B, action: ExecuteDocument, timeoutSeconds: -1, maxAttempts: 1, inputs: {document: /x}}"), []string{
			"11:60: phases[0].steps[0].timeoutSeconds: the action ExecuteDocument has no timeout; leave it out, or say -1; the steps inside have timeouts",
			"11:77: phases[0].steps[0].maxAttempts: the action ExecuteDocument has one attempt; leave it out; the steps inside may have more",
		}},
		{"ExecuteDocument's inputs", step("- name: A\n  action: ExecuteDocument\n  inputs: {document: 's3://bbb', phases: 'a,,b', document-s3-bucket-owner: 1, parameters: [{name: a}]}\n" +
			"- name: B\n  action: ExecuteDocument\n  inputs: {documnet: x}"), []string{
			"13:28: phases[0].steps[0].inputs.document: names no object; an address of S3 is s3://BUCKET/KEY",
			"13:48: phases[0].steps[0].inputs.phases: has an empty name of a phase; names have commas between, such as build,validate",
			"13:82: phases[0].steps[0].inputs.document-s3-bucket-owner: \"1\" is no number of an account; one has 12 digits",
			"13:97: phases[0].steps[0].inputs.parameters: item 0 has no value; write - {name: NAME, value: VALUE} for every parameter",
			"16:17: phases[0].steps[1].inputs.document: is missing; the action needs it",
			"16:18: phases[0].steps[1].inputs.documnet: unknown input \"documnet\"; did you mean \"document\"?",
		}},
		{"empty inputs", step("- {name: A, action: AppendFile, inputs: []}\n- {name: B, action: ExecuteBash, inputs: {}}"), []string{
			"11:47: phases[0].steps[0].inputs: is an empty list; the action AppendFile needs inputs",
			"12:48: phases[0].steps[1].inputs.commands: is missing; the action needs it",
		}},
		// The library tells where the list began.
		{"unclosed list", "schemaVersion: 1.0\nphases: [a\nname: b\n", []string{"2: did not find expected ',' or ']'; this is not well-formed YAML"}},
		{"bad indent", "schemaVersion: 1.0\nphases:\n - a\n b: 2\n", []string{"3: did not find expected '-' indicator; this is not well-formed YAML"}},
		{"unknown anchor", "schemaVersion: 1.0\nname: x\ndescription: *nope\n", []string{"3: unknown anchor 'nope' referenced; this is not well-formed YAML"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := component.Parse("f.yml", []byte(test.document), action.Modules())
			compareProblems(t, err, "f.yml", test.want)
		})
	}
}

func TestModulesFor(t *testing.T) {
	const document = "schemaVersion: 1.0\nphases: [{name: build, steps: [{name: A, action: ExecuteBash, inputs: {commands: [a]}}, {name: B, action: SetRegistry, inputs: []}]}]"
	tests := map[string][]string{
		"linux":   {"2:107: phases[0].steps[1].action: the action SetRegistry runs on windows only"},
		"windows": {"2:50: phases[0].steps[0].action: the action ExecuteBash runs on linux, macOS only", "2:128: phases[0].steps[1].inputs: is an empty list; the action SetRegistry needs inputs"},
		"darwin":  {"2:107: phases[0].steps[1].action: the action SetRegistry runs on windows only"},
	}
	for goos, want := range tests {
		_, err := component.Parse("f.yml", []byte(document), action.Modules().For(goos))
		compareProblems(t, err, "f.yml", want)
	}
	fields := action.Modules()["ExecuteDocument"].InputFields()
	want := []component.InputField{
		{Name: "document", GoField: "Document", Type: "string", Required: true},
		{Name: "document-s3-bucket-owner", GoField: "DocumentS3BucketOwner", Type: "string"},
		{Name: "phases", GoField: "Phases", Type: "string"},
		{Name: "parameters", GoField: "Parameters", Type: "any"},
	}
	for i := range max(len(want), len(fields)) {
		if i >= len(fields) || i >= len(want) || fields[i] != want[i] {
			t.Fatalf("got %+v", fields)
		}
	}
	for name, shape := range map[string]string{"CreateFile": component.ShapeList, "Reboot": component.ShapeMap} {
		if got := action.Modules()[name].Shape(); got != shape {
			t.Errorf("%s takes a %s", name, got)
		}
	}
}
