package grants_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder/agent"
	"github.com/ingot-image/ingot/builder/agent/grants"
	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/action"
)

// everything is what a host's credentials may do: all of it. It notes what was asked for.
type everything struct {
	documents map[string]string // objects and components that are documents
	stored    map[string]string
	objects   []string // for listings, BUCKET/KEY
	asked     []string
}

func (e *everything) note(format string, args ...any) {
	e.asked = append(e.asked, strings.TrimSuffix(fmt.Sprintf(format, args...), " "))
}

func (e *everything) List(_ context.Context, p component.S3Place, _ int) ([]component.S3Object, error) {
	e.note("list %s/%s %s", p.Bucket, p.Key, p.ExpectedBucketOwner)
	var found []component.S3Object
	for _, o := range e.objects {
		if key, ok := strings.CutPrefix(o, p.Bucket+"/"); ok && strings.HasPrefix(key, p.Key) {
			found = append(found, component.S3Object{Key: key})
		}
	}
	return found, nil
}

func (e *everything) Get(_ context.Context, p component.S3Place, w io.Writer) error {
	e.note("get %s/%s %s", p.Bucket, p.Key, p.ExpectedBucketOwner)
	_, err := io.WriteString(w, e.documents["s3://"+p.Bucket+"/"+p.Key])
	return err
}

func (e *everything) Put(_ context.Context, p component.S3Place, _ io.Reader, _ int64) error {
	e.note("put %s/%s %s", p.Bucket, p.Key, p.ExpectedBucketOwner)
	return nil
}

func (e *everything) Parameter(_ context.Context, name string) (component.StoredParameter, error) {
	e.note("parameter %s", name)
	if value, ok := e.stored[name]; ok {
		return component.StoredParameter{Type: component.ParameterString, Value: value}, nil
	}
	return component.StoredParameter{Value: "value"}, nil
}

func (e *everything) Component(_ context.Context, arn string) ([]byte, error) {
	e.note("component %s", arn)
	return []byte(e.documents[arn]), nil
}

// guest asks for things, each "VERB WHAT [OWNER]".
func guest(t *testing.T, s agent.Services, ask string) error {
	t.Helper()
	words := append(strings.Fields(ask), "")
	bucket, key, _ := strings.Cut(words[1], "/")
	place := component.S3Place{Bucket: bucket, Key: key, ExpectedBucketOwner: words[2]}
	var err error
	switch words[0] {
	case "get":
		err = s.S3.Get(t.Context(), place, io.Discard)
	case "put":
		err = s.S3.Put(t.Context(), place, strings.NewReader(""), 0)
	case "list":
		_, err = s.S3.List(t.Context(), place, 1000)
	case "parameter":
		_, err = s.Parameters.Parameter(t.Context(), words[1])
	case "component":
		_, err = s.Components.Component(t.Context(), words[1])
	default:
		t.Fatal(ask)
	}
	return err
}

func document(steps string) string {
	return `schemaVersion: 1.0
parameters:
  - Bucket: {type: string, default: preset}
  - Version: {type: string, default: "1.2"}
constants:
  - Folder: {type: string, value: releases}
phases:
  - name: build
    steps:
      - {name: Find, action: ExecuteBash, inputs: {commands: [echo x]}}
` + indent(steps)
}

func indent(steps string) string {
	return "      " + strings.ReplaceAll(strings.TrimSpace(steps), "\n", "\n      ") + "\n"
}

func download(source string) string {
	return fmt.Sprintf("- {name: Download, action: S3Download, inputs: [{source: '%s', destination: /tmp/x}]}", source)
}

func upload(destination string) string {
	return fmt.Sprintf("- {name: Upload, action: S3Upload, inputs: [{source: /tmp/x, destination: '%s'}]}", destination)
}

func TestGrants(t *testing.T) {
	const output = "{{ build.Find.outputs.stdout }}"
	nested := document(download("s3://inner/{{ Version }}"))
	for _, test := range []struct {
		name, steps    string
		allowed, never []string
	}{
		{"nothing", "- {name: X, action: ExecuteBash, inputs: {commands: ['aws s3 cp s3://bbb/k .']}}", nil,
			[]string{"get bbb/k", "put bbb/k", "list bbb/", "parameter /a", "component update-linux"}},
		{"one object", download("s3://bbb/k"), []string{"get bbb/k", "list bbb/k", "get bbb/k 123456789012"},
			[]string{"get bbb/k2", "get bbb/", "get bbb2/k", "put bbb/k", "list bbb/", "get bbb/k/x", "list bbb/k/"}},
		{"a wildcard", download("s3://bbb/dir/*"), []string{"list bbb/dir/", "get bbb/dir/x", "get bbb/dir/x/y", "list bbb/dir/x"},
			[]string{"list bbb/", "get bbb/dirx", "get bbb/dir", "put bbb/dir/x", "list bbb/dir"}},
		{"parameters", download("s3://{{ Bucket }}/{{ Folder }}/app-{{Version}}.tar"), []string{"get given/releases/app-1.2.tar"},
			[]string{"get preset/releases/app-1.2.tar", "get given/releases/app-1.3.tar"}},
		{"outputs in the key", download("s3://bbb/app-" + output + ".tar"), []string{"get bbb/app-1.tar", "get bbb/app-x/y"}, []string{"get bbb/other", "get bbb2/app-1.tar", "put bbb/app-1.tar"}},
		{"a bucket only", download("s3://bbb/" + output), []string{"get bbb/x"}, []string{"get bbbb/x"}},
		{"outputs in the bucket", download("s3://bbb" + output + "/k"), nil, []string{"get bbb/k", "get bbb1/k"}},
		{"all outputs", download(output), nil, []string{"get bbb/k", "list bbb/"}},
		{"an owner", "- {name: D, action: S3Download, inputs: [{source: 's3://bbb/k', destination: /tmp/x, expectedBucketOwner: '123456789012'}]}",
			[]string{"get bbb/k=get bbb/k 123456789012", "get bbb/k 123456789012"}, []string{"get bbb/k 999999999999"}},
		{"an upload", upload("s3://bbb/dir/file"), []string{"put bbb/dir/file", "put bbb/dir/file/below"},
			[]string{"put bbb/dir/file2", "put bbb/dir/", "get bbb/dir/file", "list bbb/dir/file"}},
		{"uploads to a folder", upload("s3://bbb/dir/"), []string{"put bbb/dir/x"}, []string{"put bbb/x", "put bbb/dir"}},
		{"an MSI", "- {name: I, action: InstallMSI, inputs: {path: 's3://bbb/app.msi'}}", []string{"get bbb/app.msi"}, []string{"get bbb/x"}},
		{"a loop over literals", `- name: D
  action: S3Download
  loop: {name: each, forEach: ['s3://bbb/x', 's3://{{ Bucket }}/y']}
  inputs: [{source: '{{ each.value }}', destination: '/tmp/{{ loop.index }}'}]`, []string{"get bbb/x", "get given/y"}, []string{"get bbb/y", "get given/x"}},
		{"a loop over a list", `- name: D
  action: S3Download
  loop: {forEach: {list: 'x;y', delimiter: ';'}}
  inputs: [{source: 's3://bbb/{{ loop.value }}', destination: '/tmp/{{ loop.index }}'}]`, []string{"get bbb/x", "get bbb/y"}, []string{"get bbb/z"}},
		{"a loop over numbers", `- name: D
  action: S3Download
  loop: {for: {start: 3, end: 1, updateBy: -1}}
  inputs: [{source: 's3://bbb/{{ loop.value }}', destination: /tmp/x}]`, []string{"get bbb/1", "get bbb/3"}, []string{"get bbb/0", "get bbb/4"}},
		{"a long loop", `- name: D
  action: S3Download
  loop: {for: {start: 1, end: 9000, updateBy: 1}}
  inputs: [{source: 's3://bbb/n{{ loop.value }}', destination: /tmp/x}]`, []string{"get bbb/n9000"}, []string{"get bbb/m"}},
		{"a stored address", download("s3://{{ aws:ssm:/bucket }}/k"), []string{"get stored/k", "parameter /bucket"}, []string{"get bbb/k", "parameter /other"}},
		{"parameters of commands", `- {name: X, action: ExecuteBash, inputs: {commands: ['echo "{{" {{aws:ssm:/a}} {{ .X }} {{ aws:ssm:/b:3 }}', '{{ aws:ssm:/aws/reference/secretsmanager/s }}']}}`,
			[]string{"parameter /a", "parameter /b:3", "parameter /aws/reference/secretsmanager/s"}, []string{"parameter /b", "parameter /a:1", "parameter a", "parameter /aws/reference/secretsmanager/t"}},
		{"resolve", `- {name: X, action: ExecuteBash, inputs: {commands: ['{{ aws:ssm:resolve(Folder) }}', '{{ aws:ssm:resolve(aws:ssm:/bucket) }}', '{{ aws:ssm:resolve({{ Bucket }}) }}']}}`,
			[]string{"parameter releases", "parameter /bucket", "parameter stored", "parameter given"}, []string{"parameter Folder", "parameter resolve(Folder)", "parameter /"}},
		{"conditions and loops", `- name: X
  action: ExecuteBash
  if: {stringEquals: '{{ aws:ssm:/if }}', value: x}
  loop: {forEach: ['{{ aws:ssm:/loop }}']}
  inputs: {commands: [echo]}`, []string{"parameter /if", "parameter /loop"}, []string{"parameter /x"}},
		{"a nested document", "- {name: N, action: ExecuteDocument, inputs: {document: 's3://docs/n.yml', parameters: [{name: Version, value: '{{ Bucket }}'}]}}",
			[]string{"get docs/n.yml", "get inner/given"}, []string{"get inner/1.2", "get docs/m.yml"}},
		{"a nested component", "- {name: N, action: ExecuteDocument, inputs: {document: 'arn:aws:imagebuilder:eu-north-1:aws:component/n/x.x.x'}}",
			[]string{"component arn:aws:imagebuilder:eu-north-1:aws:component/n/x.x.x", "get inner/1.2"}, []string{"component n", "get inner/1.3"}},
		{"a nested document by outputs", "- {name: N, action: ExecuteDocument, inputs: {document: 's3://docs/n.yml', parameters: [{name: Version, value: '" + output + "'}]}}",
			[]string{"get docs/n.yml", "get inner/anything"}, []string{"get outer/x"}},
		{"a document of the guest's own", "- {name: N, action: ExecuteDocument, inputs: {document: /tmp/evil.yml}}", nil, []string{"get bbb/k", "component /tmp/evil", "get inner/1.2"}},
		{"a document that was not fetched", "- {name: N, action: ExecuteDocument, inputs: {document: 's3://docs/n.yml'}}", nil, []string{"get inner/1.2"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			host := &everything{
				documents: map[string]string{"s3://docs/n.yml": nested, "arn:aws:imagebuilder:eu-north-1:aws:component/n/x.x.x": nested},
				stored:    map[string]string{"/bucket": "stored"},
			}
			request := component.Request{Documents: []component.RunDocument{{
				Name: "test", Content: []byte(document(test.steps)), Parameters: map[string]string{"Bucket": "given"},
			}}}
			modules := action.Modules().For("linux")
			if strings.Contains(test.steps, "MSI") {
				modules = action.Modules().For("windows")
				request.Documents[0].Content = []byte(strings.Replace(string(request.Documents[0].Content), "ExecuteBash", "ExecutePowerShell", 1))
			}
			if _, err := component.Parse("test", request.Documents[0].Content, modules); err != nil {
				t.Fatal(err)
			}
			s := grants.Limit(agent.Services{S3: host, Parameters: host, Components: host}, request, modules)
			for _, ask := range test.allowed {
				ask, heard, different := strings.Cut(ask, "=") // what the guest asks for and the host hears
				if !different {
					heard = ask
				}
				host.asked = nil
				if err := guest(t, s, ask); err != nil || !slices.Contains(host.asked, heard) {
					t.Errorf("%s: the host was asked for %v; %v", ask, host.asked, err)
				}
			}
			for _, ask := range test.never {
				host.asked = nil
				err := guest(t, s, ask)
				if err == nil || slices.Contains(host.asked, ask) {
					t.Errorf("%s: the host was asked for %v; %v", ask, host.asked, err)
				}
				if errors.Is(err, component.ErrNotFound) {
					t.Errorf("%s: a refusal reads as not found: %v", ask, err)
				}
			}
		})
	}
}

func TestListing(t *testing.T) {
	host := &everything{objects: []string{"bbb/key", "bbb/key2", "bbb/key/x", "bbb/dir/1", "bbb/dir/2"}}
	request := component.Request{Documents: []component.RunDocument{{Content: []byte(document(download("s3://bbb/key") + "\n" + strings.Replace(download("s3://bbb/dir/*"), "name: Download", "name: More", 1)))}}}
	s := grants.Limit(agent.Services{S3: host}, request, action.Modules())
	for prefix, want := range map[string]string{"key": "key", "dir/": "dir/1 dir/2"} {
		objects, err := s.S3.List(t.Context(), component.S3Place{Bucket: "bbb", Key: prefix}, 1000)
		var keys []string
		for _, o := range objects {
			keys = append(keys, o.Key)
		}
		if got := strings.Join(keys, " "); err != nil || got != want {
			t.Errorf("List(%s) = %q, %v; want %q", prefix, got, err, want)
		}
	}
	if s.Parameters != nil || s.Components != nil {
		t.Error("there are services that nobody gave")
	}
}

// TestPhases grants only what the selected phases name.
func TestPhases(t *testing.T) {
	host := &everything{}
	text := document(download("s3://bbb/built")) + "  - name: test\n    steps:\n" + indent(download("s3://bbb/tested"))
	for phase, allowed := range map[string]string{"build": "get bbb/built", "test": "get bbb/tested"} {
		request := component.Request{Documents: []component.RunDocument{{Content: []byte(text)}}, Phases: []string{phase}}
		s := grants.Limit(agent.Services{S3: host}, request, action.Modules())
		for _, ask := range []string{"get bbb/built", "get bbb/tested"} {
			if err := guest(t, s, ask); (err == nil) != (ask == allowed) {
				t.Errorf("phase %s, %s: %v", phase, ask, err)
			}
		}
	}
}

// TestRepeatedQuestions is about a guest that makes the host ask for the parameters that grants depend on.
func TestRepeatedQuestions(t *testing.T) {
	host := &everything{stored: map[string]string{"/bucket": "bbb"}}
	request := component.Request{Documents: []component.RunDocument{{Content: []byte(document(download("s3://{{ aws:ssm:/bucket }}/k")))}}}
	s := grants.Limit(agent.Services{S3: host, Parameters: host}, request, action.Modules())
	for range 100 {
		if guest(t, s, "get other/k") == nil {
			t.Fatal("a bucket that no document names was read")
		}
	}
	if len(host.asked) != 1 {
		t.Errorf("the host asked %d times", len(host.asked))
	}
}

// TestSelfCall is about a document that runs itself, with ever more to grant.
func TestSelfCall(t *testing.T) {
	self := document("- {name: N, action: ExecuteDocument, inputs: {document: 's3://docs/self.yml', parameters: [{name: Version, value: '{{ Version }}x'}]}}\n" + download("s3://bbb/{{ Version }}"))
	host := &everything{documents: map[string]string{"s3://docs/self.yml": self}}
	request := component.Request{Documents: []component.RunDocument{{Content: []byte(self)}}}
	s := grants.Limit(agent.Services{S3: host}, request, action.Modules())
	for range 20 {
		if err := guest(t, s, "get docs/self.yml"); err != nil {
			t.Fatal(err)
		}
	}
	for version, allowed := range map[string]bool{"1.2": true, "1.2x": true, "1.2xxx": true, "1.2xxxx": false, "1.2xxxxxxxx": false} {
		if err := guest(t, s, "get bbb/"+version); (err == nil) != allowed {
			t.Errorf("%s: %v", version, err)
		}
	}
}

func FuzzGrants(f *testing.F) {
	for _, s := range []string{"s3://bbb/k", "s3://{{ Bucket }}/{{", "{{ aws:ssm:resolve({{ Bucket }}) }}", "{{{{ Folder }}}}", "s3://{{ aws:ssm:/x }}/*", "{{ aws:ssm:resolve(aws:ssm:resolve(resolve(x))) }}"} {
		f.Add(s, "bbb", "k")
	}
	f.Fuzz(func(t *testing.T, source, bucket, key string) {
		host := &everything{}
		text := document("- {name: Download, action: S3Download, inputs: [{source: '" + strings.ReplaceAll(source, "'", "''") + "', destination: /tmp/x}]}")
		request := component.Request{Documents: []component.RunDocument{{Content: []byte(text)}}}
		s := grants.Limit(agent.Services{S3: host}, request, action.Modules())
		err := s.S3.Get(t.Context(), component.S3Place{Bucket: bucket, Key: key}, io.Discard)
		if err != nil {
			return
		}
		// What is given must be written in the document: the bucket, or a parameter for it.
		known := map[string]bool{"preset": true, "1.2": true, "releases": true}
		if !strings.Contains(source, bucket) && !slices.ContainsFunc(slices.Collect(maps.Keys(known)), func(v string) bool { return strings.Contains(bucket, v) }) {
			t.Errorf("%q gave s3://%s/%s", source, bucket, key)
		}
	})
}
