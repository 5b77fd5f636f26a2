package aws_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder/aws"
	"github.com/ingot-image/ingot/builder/component"
)

func TestSSM(t *testing.T) {
	isolated(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Name           string
			WithDecryption bool
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || !in.WithDecryption {
			t.Errorf("the request is %+v, %v", in, err)
		}
		if target := r.Header.Get("X-Amz-Target"); target != "AmazonSSM.GetParameter" || !signature.MatchString(r.Header.Get("Authorization")) {
			t.Errorf("%s is signed %q", target, r.Header.Get("Authorization"))
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		kind, known := map[string]string{"/a": "String", "/l:3": "StringList", "/s": "SecureString"}[in.Name]
		if !known {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"__type": "ParameterNotFound"}`)
			return
		}
		fmt.Fprintf(w, `{"Parameter": {"Name": %q, "Type": %q, "Value": "value of %s"}}`, in.Name, kind, in.Name)
	}))
	defer server.Close()
	t.Setenv("AWS_ENDPOINT_URL_SSM", server.URL)
	services, err := aws.Open(t.Context(), aws.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]component.StoredParameter{
		"/a":   {Type: component.ParameterString, Value: "value of /a"},
		"/l:3": {Type: component.ParameterStringList, Value: "value of /l:3"},
		"/s":   {Type: component.ParameterSecureString, Value: "value of /s"},
	} {
		if got, err := services.Parameters.Parameter(t.Context(), name); err != nil || got != want {
			t.Errorf("Parameter(%s) = %v, %v", name, got, err)
		}
	}
	if _, err := services.Parameters.Parameter(t.Context(), "/none"); !errors.Is(err, component.ErrNotFound) {
		t.Errorf("an unknown parameter gave %v", err)
	}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestParameterFile(t *testing.T) {
	want := map[string]component.StoredParameter{
		"/app/port":    {Type: "String", Value: "8080"},
		"/app/version": {Type: "String", Value: "1.10"},
		"/app/zones":   {Type: "StringList", Value: "a,b"},
		"/app/more":    {Type: "StringList", Value: "c,d"},
		"/app/typed":   {Type: "StringList", Value: "e,f"},
		"/app/pw":      {Type: "SecureString", Value: "p\"w\nx"},
		"/app/plain":   {Type: "String", Value: "true"},
		"plain:2":      {Type: "String", Value: "second"},
		"plain":        {Type: "String", Value: "any"},

		"/aws/reference/secretsmanager/db": {Type: "SecureString", Value: "{}"},
	}
	for name, text := range map[string]string{
		"p.yaml": `# comment
/app/port: 8080
/app/version: 1.10
/app/zones: [a, b]
/app/more: {type: StringList, value: "c,d"}
/app/typed: {type: StringList, value: [e, f]}
/app/pw: {type: SecureString, value: "p\"w\nx"}
/app/plain: {value: true}
plain:2: second
plain: any
/aws/reference/secretsmanager/db: '{}'
`,
		"p.json": `{
	"/app/port": 8080, "/app/version": 1.10,
	"/app/zones": ["a", "b"], "/app/more": {"type": "StringList", "value": "c,d"}, "/app/typed": {"type": "StringList", "value": ["e", "f"]},
	"/app/pw": {"type": "SecureString", "value": "p\"w\nx"}, "/app/plain": {"value": true}, "plain:2": "second", "plain": "any",
	"/aws/reference/secretsmanager/db": "{}"
}`,
	} {
		services, err := aws.Open(t.Context(), aws.Options{SSMParameters: write(t, name, text)})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]component.StoredParameter{}
		for name := range want {
			if got[name], err = services.Parameters.Parameter(t.Context(), name); err != nil {
				t.Error(err)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v\nwant %v", name, got, want)
		}
		for of, as := range map[string]string{"plain:2": "second", "plain:3": "any", "plain:label": "any"} {
			if got, err := services.Parameters.Parameter(t.Context(), of); err != nil || got.Value != as {
				t.Errorf("%s = %v, %v", of, got, err)
			}
		}
		if _, err := services.Parameters.Parameter(t.Context(), "/none"); !errors.Is(err, component.ErrNotFound) || !strings.Contains(err.Error(), name) {
			t.Errorf("an unknown parameter gave %v", err)
		}
	}
}

func TestParameterFileMistakes(t *testing.T) {
	const secret = "hunter2"
	for _, test := range []struct{ name, text, want string }{
		{"yaml", `/a: {type: SecretString, value: hunter2}
/b: {typ: String, value: hunter2}
/c: {type: String}
/d: ""
/e:
/f: ["hunter2,x", {a: b}]
/g: {type: String, value: [hunter2]}
/b: hunter2
? [x]
: hunter2
`, `1:12: /a.type: this is no type of parameter; it is one of String, StringList, SecureString
2:6: /b: unknown key "typ"; a parameter has type and value
3:5: /c: the value is missing; write value: and the text
4:5: /d: the value is empty; the Parameter Store keeps no empty values
5:4: /e: the value is empty; the Parameter Store keeps no empty values
6:6: /f[0]: an item of a StringList cannot hold a comma
6:19: /f[1]: the value is no text; write a text, a list of texts, or a map of type and value
7:27: /g.value: the value is no text; write a text, a list of texts, or a map of type and value
8:1: /b: the parameter is here for the second time; the first one is on line 2
9:3: a parameter's name is a text of 1 to 2048 characters`},
		{"json", "{\n  \"/a\": {\"type\": \"X\",\n    \"value\": null},\n  \"/a\": \"hunter2\"\n}",
			`2:18: /a.type: this is no type of parameter; it is one of String, StringList, SecureString
3:14: /a.value: the value is empty; the Parameter Store keeps no empty values
4:3: /a: the parameter is here for the second time; the first one is on line 2`},
		{"list", "- hunter2\n", "1:1: this is no map of parameters; write NAME: VALUE, one a line"},
		{"broken", "/a: [hunter2\n/b: c\n", "did not find"},
	} {
		_, err := aws.Open(t.Context(), aws.Options{SSMParameters: write(t, "p.yaml", test.text)})
		var problems component.Problems
		if !errors.As(err, &problems) {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		var got []string
		for _, p := range problems {
			p.File = "F"
			got = append(got, strings.TrimPrefix(p.String(), "F:"))
		}
		text := strings.Join(got, "\n")
		if text != test.want && (test.name != "broken" || !strings.Contains(text, test.want)) {
			t.Errorf("%s: got\n%s\nwant\n%s", test.name, text, test.want)
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the message holds a value: %v", test.name, err)
		}
	}
	if _, err := aws.Open(t.Context(), aws.Options{SSMParameters: "/no/such/file", S3Map: []string{"x"}}); err == nil ||
		!strings.Contains(err.Error(), "no such file") || !strings.Contains(err.Error(), "s3://BUCKET=FOLDER") {
		t.Errorf("two mistakes gave %v", err)
	}
}

func FuzzParameterFile(f *testing.F) {
	f.Add("/a: b\n")
	f.Add(`{"/a": ["b", {"c": null}]}`)
	f.Add("a: &x [*x]\n")
	f.Add("a: &x b\nc: *x\n<<: {d: e}\n")
	f.Fuzz(func(t *testing.T, text string) {
		parameters, err := aws.ParseParameters("f", []byte(text))
		if (parameters == nil) == (err == nil) {
			t.Errorf("%v, %v", parameters, err)
		}
	})
}
