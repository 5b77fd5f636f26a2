package component_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder/component"
)

func newStore() *outside {
	return &outside{parameters: map[string]component.StoredParameter{
		"/app/version":                        {Type: component.ParameterString, Value: "1.2"},
		"/app/names":                          {Type: component.ParameterStringList, Value: "a,b"},
		"/app/pointer":                        {Type: component.ParameterString, Value: "/app/version"},
		"/app/pointer2":                       {Type: component.ParameterString, Value: "/app/pointer"},
		"/app/password":                       {Type: component.ParameterSecureString, Value: "hunter\"2"},
		"/app/key":                            {Type: component.ParameterSecureString, Value: "BEGIN KEY\nabcdef\nEND KEY\n"},
		"/aws/reference/secretsmanager/db":    {Type: component.ParameterString, Value: "dbsecret"},
		"arn:aws:ssm:eu-west-1:1:parameter/x": {Type: component.ParameterString, Value: "shared"},
	}}
}

func TestParameterStore(t *testing.T) {
	tests := []struct{ name, reference, want, failure string }{
		{"string", "{{ aws:ssm:/app/version }}", "1.2", ""},
		{"without spaces", "{{aws:ssm:/app/version}}", "1.2", ""},
		{"list", "{{ aws:ssm:/app/names }}", "a,b", ""},
		{"ARN", "{{ aws:ssm:arn:aws:ssm:eu-west-1:1:parameter/x }}", "shared", ""},
		{"resolve of a name", "{{ aws:ssm:resolve(/app/version) }}", "1.2", ""},
		{"resolve of a parameter of the document", "{{ aws:ssm:resolve(Par) }}", "1.2", ""},
		{"resolve of braces", "{{ aws:ssm:resolve({{ Par }}) }}", "1.2", ""},
		{"resolve of a reference", "{{ aws:ssm:resolve(aws:ssm:/app/pointer) }}", "1.2", ""},
		{"resolve of resolve", "{{ aws:ssm:resolve(aws:ssm:resolve(aws:ssm:/app/pointer2)) }}", "1.2", ""},
		{"none", "{{ aws:ssm:/nope }}", "", `resolve {{ aws:ssm:/nope }}: the SSM Parameter Store has no parameter "/nope"`},
		{"no name", "{{ aws:ssm:resolve(aws:ssm:/app/key) }}", "", `"***" is no name of a parameter of the Parameter Store`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, steps("{name: A, action: ExecuteBash, maxAttempts: 3, inputs: {commands: ['printf %s \""+test.reference+"\" > out']}}"))
			b.request.Documents[0].Parameters = map[string]string{"Par": "/app/version"}
			b.System.Parameters = newStore()
			result := b.run()
			if b.file("out") != test.want || test.failure != "" && (result.Failure == nil || !strings.Contains(result.Failure.Message, test.failure)) {
				t.Errorf("got %q, failure %+v", b.file("out"), result.Failure)
			}
			if strings.Contains(strings.Join(b.log(), "\n"), "#2") {
				t.Error("tried again")
			}
		})
	}
	b := newBench(t, steps("{name: A, action: ExecuteBash, inputs: {commands: ['echo {{ aws:ssm:/app/version }}']}}"))
	if result := b.run(); result.Failure == nil || !strings.Contains(result.Failure.Message, "the SSM Parameter Store is not available here") {
		t.Errorf("failure %+v", result.Failure)
	}
}

func TestParameterStoreIsAskedOnce(t *testing.T) {
	b := newBench(t, steps(
		"{name: A, action: ExecuteBash, if: {stringEquals: '1.2', value: '{{ aws:ssm:/app/version }}'}, loop: {forEach: {list: '{{ aws:ssm:/app/names }}'}}, inputs: {commands: ['echo {{ aws:ssm:/app/version }} {{ loop.value }} >> log']}}",
		"{name: R, action: Reboot}", call("B", "inner.yml", "")))
	b.put("inner.yml", steps(say("I", "{{ aws:ssm:/app/version }}", "")))
	store := newStore()
	b.System.Parameters = store
	if _, reboots := b.runToEnd(); reboots != 1 || b.file("log") != "1.2 a\n1.2 b\n1.2\n" {
		t.Errorf("ran %q", b.file("log"))
	}
	if !slices.Equal(store.asked, []string{"/app/version", "/app/names"}) {
		t.Errorf("asked for %q", store.asked)
	}
}

// TestSecretsAreNotTold runs steps that do their best to tell secrets.
func TestSecretsAreNotTold(t *testing.T) {
	const password, key = "{{ aws:ssm:/app/password }}", "{{ aws:ssm:/app/key }}"
	document := strings.Replace(steps(
		"{name: Print, action: ExecuteBash, inputs: {commands: [\"cat <<'EOF'\", '"+password+"', '"+key+"', EOF, \"echo -n 'hunt'; sleep 0.3; echo 'er\\\"2'\"]}}",
		"{name: Use, action: ExecuteBash, inputs: {commands: [\"cat > used <<'EOF'\", '{{ build.Print.outputs.stdout }}', '{{ build.Print.inputs.commands[1] }}', EOF, 'echo {{ Token }} >&2']}}",
		"{name: Secret, action: ExecuteBash, inputs: {commands: ['echo {{ aws:ssm:/aws/reference/secretsmanager/db }}']}}",
		"{name: Check, action: Assert, onFailure: Continue, inputs: {stringEquals: x, value: 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx "+password+"'}}",
		"{name: Path, action: ReadFile, onFailure: Continue, inputs: [{path: '/nope/"+password+"'}]}",
		"{name: Skip, action: Reboot, if: {stringEquals: x, value: '"+password+"'}}",
		"{name: Retry, action: ExecuteBinary, maxAttempts: 2, onFailure: Continue, inputs: {path: '/nope/"+password+"'}}",
		"{name: Loop, action: ExecuteBash, onFailure: Continue, loop: {forEach: ['"+password+"']}, inputs: {commands: [\"echo '{{ loop.value }}' >&2; exit 1\"]}}",
		"{name: Nest, action: ExecuteDocument, inputs: {document: inner.yml, parameters: [{name: Par, value: '"+password+"'}]}}",
		"{name: Again, action: Reboot}",
		"{name: Late, action: ExecuteBash, inputs: {commands: [\"cat used; printf 'hunter%s2 %s' '\\\"' tokentoken\"]}}",
	), "{type: string, default: p}", "{type: string, default: p}, Token: {type: string}", 1)
	document = strings.Replace(document, "parameters: [Par: {type: string, default: p}, Token: {type: string}]", "parameters: [{Par: {type: string, default: p}}, {Token: {type: string}}]", 1)
	b := newBench(t, document)
	b.put("inner.yml", steps("{name: I, action: ExecuteBash, onFailure: Ignore, inputs: {commands: [\"echo '{{ Par }}' | tee /dev/stderr; exit 3\"]}}"))
	b.request.Documents[0].Parameters = map[string]string{"Token": "tokentoken"}
	b.request.Documents[0].SecretParameters = []string{"Token"}
	b.System.Parameters = newStore()
	var recorder component.Recorder
	events := b.Events
	b.Events = func(e component.Event) { events(e); recorder.Event(e) }
	result, _ := b.runToEnd()
	if result.ExecutedSteps != 11 {
		t.Fatalf("result %+v, failure %+v", result, result.Failure)
	}
	if !strings.Contains(b.file("used"), "hunter\"2\nBEGIN KEY\nabcdef\nEND KEY") {
		t.Errorf("the steps themselves got %q", b.file("used"))
	}
	result.State = nil
	told, err := json.Marshal(map[string]any{"events": b.events, "result": result, "detail": recorder.Detail()})
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"hunter", "abcdef", "BEGIN KEY", "END KEY", "tokentoken", "dbsecret"} {
		if at := strings.Index(string(told), secret); at >= 0 && !strings.HasPrefix(string(told[at:]), `hunter%s2`) && !strings.HasPrefix(string(told[at:]), "hunt'") {
			t.Errorf("told %s: …%s…", secret, told[max(0, at-300):min(len(told), at+100)])
		}
	}
	if !strings.Contains(result.Chaining["build.Print.outputs.stdout"], "***") || !strings.Contains(b.output("stdout"), "***\n***\n***\n***") {
		t.Errorf("chaining %q, output %q", result.Chaining, b.output("stdout"))
	}
}
