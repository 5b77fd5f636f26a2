package recipe_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/action"
	"github.com/ingot-image/ingot/builder/component/managed"
	"github.com/ingot-image/ingot/builder/recipe"
	"github.com/ingot-image/ingot/builder/recipe/version"
)

const document = `
name: example
schemaVersion: 1.0
parameters:
  - Greeting: {type: string}
  - Port: {type: string, default: "80"}
phases:
  - name: build
    steps:
      - {name: Greet, action: ExecuteBash, inputs: {commands: ["echo '{{ Greeting }}' {{ Port }}"]}}
  - name: test
    steps:
      - {name: Greet, action: ExecuteBash, inputs: {commands: ["true"]}}
`

const plain = `
name: plain
schemaVersion: 1.0
phases:
  - name: build
    steps:
      - {name: Nothing, action: ExecuteBash, inputs: {commands: ["true"]}}
`

// folder makes a folder with the given files, by their paths in it.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func environment() recipe.Environment {
	return recipe.Environment{
		Modules: action.Modules(),
		Managed: recipe.ManagedComponents{Names: managed.Names, Lookup: managed.Lookup},
		CPUs:    8,
	}
}

func sum(content string) string {
	digest := sha256.Sum256([]byte(content))
	return "sha256:" + hex.EncodeToString(digest[:])
}

type builds map[string][]recipe.Build

func (b builds) Builds(_ context.Context, name string) ([]recipe.Build, error) { return b[name], nil }

func build(text string, available bool, path string) recipe.Build {
	v, err := version.Parse(text)
	if err != nil {
		panic(err)
	}
	return recipe.Build{Version: v, Available: available, Path: path, Digest: "sha256:" + text}
}

func TestResolve(t *testing.T) {
	dir := folder(t, map[string]string{
		"recipe.yaml": `
name: Web Server
semanticVersion: 1.0.x
parentImage: ./base.raw
components:
  - componentArn: parts/example.yaml
    parameters: [{name: Greeting, value: [hello]}]
  - componentArn: update-linux
  - componentArn: hardening/1.x.x
  - componentArn: shared/x.x.x
blockDeviceMappings:
  - {deviceName: /dev/xvdb, ebs: {volumeSize: 7}}
  - {deviceName: /dev/xvda, ebs: {volumeSize: 8}}
distribution: {folder: out}
`,
		"base.raw":                              "not much of a disk",
		"parts/example.yaml":                    document,
		"components/hardening/1.2.0.yaml":       plain,
		"components/hardening/1.10.0.yml":       plain + "# 1.10\n",
		"components/hardening/2.0.0.yaml":       plain,
		"components/hardening/notes.txt":        "not a document",
		"home/components/hardening/1.10.0.yaml": "never read",
		"home/components/shared/3.0.0.json": `{"name":"shared","schemaVersion":"1.0","phases":[{"name":"validate","steps":
			[{"name":"A","action":"ExecuteBash","inputs":{"commands":["true"]}}]}]}`,
	})
	env := environment()
	env.Home = filepath.Join(dir, "home")
	env.Images = builds{"web-server": {build("1.0.4/1", false, ""), build("1.1.0/3", true, "")}}
	p, err := recipe.Load(t.Context(), filepath.Join(dir, "recipe.yaml"), env)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, got, want any) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s is %v, want %v", what, got, want)
		}
	}
	check("resource name", p.ResourceName(), "web-server")
	check("version", p.Version, "1.0.5/1")
	check("parent path", p.ParentImage.Path, filepath.Join(dir, "base.raw"))
	check("parent digest", p.ParentImage.Digest, sum("not much of a disk"))
	check("volume size", p.VolumeSize, 8)
	check("vcpus", p.Infrastructure.VCPUs, recipe.DefaultVCPUs)
	check("memory", p.Infrastructure.MemoryMiB, recipe.DefaultMemoryMiB)
	check("folder", p.Distribution.Folder, filepath.Join(dir, "out"))
	check("count", len(p.Components), 4)
	c := p.Components[0]
	check("name", c.Name, "example")
	check("path", c.Path, filepath.Join(dir, "parts/example.yaml"))
	check("digest", c.Digest, sum(document))
	check("phases", c.Phases, []string{"build", "test"})
	check("parameters", c.Parameters, map[string]string{"Greeting": "hello"})
	check("managed", p.Components[1].Path, "managed:update-linux/"+p.Components[1].Version.String())
	check("hardening", p.Components[2].Path, filepath.Join(dir, "components/hardening/1.10.0.yml"))
	check("hardening's version", p.Components[2].Version, "1.10.0")
	check("shared", p.Components[3].Path, filepath.Join(dir, "home/components/shared/3.0.0.json"))

	var names []string
	for _, d := range p.Documents("test", "validate") {
		names = append(names, d.Name)
	}
	check("documents to test with", names, []string{"example", "shared"})
	check("documents of no phase", len(p.Documents()), 0)
	inputs := p.Inputs()
	check("inputs", len(inputs), 5)
	check("first input", inputs[0], recipe.Input{Name: "./base.raw", Digest: sum("not much of a disk")})
}

// The JSON form has the names of the issue and reads back.
func TestPlanJSON(t *testing.T) {
	dir := folder(t, map[string]string{
		"r.yaml": "name: web-server\nsemanticVersion: 1.0.0\nparentImage: debian-12\ncomponents: [{componentArn: a.yaml, parameters: [{name: Greeting, value: hi}]}]\n",
		"a.yaml": document,
	})
	p, err := recipe.Load(t.Context(), filepath.Join(dir, "r.yaml"), environment())
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"name":"web-server","semanticVersion":"1.0.0","version":"1.0.0/1",` +
		`"parentImage":{"kind":"debian","name":"debian-12","suite":"bookworm"},` +
		`"components":[{"name":"a","path":"` + filepath.Join(dir, "a.yaml") + `","digest":"` + sum(document) + `",` +
		`"phases":["build","test"],"parameters":{"Greeting":"hi"}}],"workingDirectory":"/tmp",` +
		`"infrastructureConfiguration":{"vcpus":2,"memory":2048,"accelerator":"auto","terminateInstanceOnFailure":true},` +
		`"imageTestsConfiguration":{"imageTestsEnabled":true,"timeoutMinutes":720},"distribution":{"formats":["raw"]}}`
	if string(data) != want {
		t.Errorf("got  %s\nwant %s", data, want)
	}
	var back recipe.Plan
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if back.Digest() != p.Digest() {
		t.Error("the plan read back has another digest")
	}
}

// The digest changes with what a build does, and only with that.
func TestPlanDigest(t *testing.T) {
	files := map[string]string{
		"r.yaml":   "name: web-server\nsemanticVersion: 1.0.x\nparentImage: ./base.raw\ncomponents: [{componentArn: a.yaml, parameters: [{name: Greeting, value: hi}]}]\n",
		"a.yaml":   document,
		"base.raw": "disk",
	}
	env := environment()
	load := func(changed map[string]string) string {
		t.Helper()
		all := map[string]string{}
		for name, content := range files {
			all[name] = content
		}
		for name, content := range changed {
			all[name] = content
		}
		p, err := recipe.Load(t.Context(), filepath.Join(folder(t, all), "r.yaml"), env)
		if err != nil {
			t.Fatal(err)
		}
		return p.Digest()
	}
	first := load(nil)
	if again := load(nil); again != first {
		t.Error("the digest depends on the folder")
	}
	if !strings.HasPrefix(first, "sha256:") || len(first) != 71 {
		t.Errorf("the digest is %q", first)
	}
	for name, changed := range map[string]map[string]string{
		"document":  {"a.yaml": document + "# changed\n"},
		"parent":    {"base.raw": "another disk"},
		"parameter": {"r.yaml": strings.Replace(files["r.yaml"], "hi}", "hello}", 1)},
		"tests":     {"r.yaml": files["r.yaml"] + "imageTestsConfiguration: {imageTestsEnabled: false}\n"},
	} {
		if load(changed) == first {
			t.Errorf("the digest stays when the %s changes", name)
		}
	}
	env.Images = builds{"web-server": {build("1.0.4/1", true, "")}}
	if load(nil) != first {
		t.Error("the digest changes with the version that comes next")
	}
}

func TestResolveEarlierImage(t *testing.T) {
	dir := folder(t, map[string]string{"old.raw": "old", "new.raw": "new"})
	env := environment()
	env.Images = builds{
		"web-server": {
			build("1.0.0/1", true, filepath.Join(dir, "old.raw")), build("1.0.0/2", true, filepath.Join(dir, "new.raw")),
			build("1.0.0/3", false, ""), build("1.1.0/1", true, ""), build("1.2.0/1", true, filepath.Join(dir, "gone.raw")),
		},
		"broken": {build("1.0.0/1", false, "")},
	}
	resolve := func(parent string) (*recipe.Plan, error) {
		r, err := recipe.Parse(filepath.Join(dir, "r.yaml"), []byte("name: next\nsemanticVersion: 1.0.0\nparentImage: "+parent+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		return recipe.Resolve(t.Context(), r, env)
	}
	p, err := resolve("web-server/1.0.x")
	if err != nil {
		t.Fatal(err)
	}
	got, want := p.ParentImage, recipe.PlannedParentImage{Kind: recipe.ParentEarlier, Name: "web-server/1.0.0/2",
		Version: env.Images.(builds)["web-server"][1].Version, Path: filepath.Join(dir, "new.raw"), Digest: "sha256:1.0.0/2"}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for parent, want := range map[string]string{
		"web-server/2.x.x":   "no finished build of web-server matches 2.x.x; there are 1.2.0/1, 1.1.0/1, 1.0.0/2, 1.0.0/1",
		"web-server/1.0.0/3": "no finished build",
		"web-server/1.1.x":   "has no file any more",
		"web-server/1.2.0":   "cannot be opened",
		"broken/x.x.x":       "no finished image called broken",
		"unknown/x.x.x":      "no finished image called unknown",
	} {
		if _, err := resolve(parent); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "r.yaml:3:14: parentImage: ") {
			t.Errorf("%s: error %v, want one with %q", parent, err, want)
		}
	}
}

// Mistakes that need more than the recipe's text, each with its place.
func TestResolveMistakes(t *testing.T) {
	dir := folder(t, map[string]string{
		"example.yaml":                    document,
		"plain.yaml":                      plain,
		"broken.yaml":                     "name: broken\nschemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n      - {name: A, action: ExecuteBsh, inputs: {commands: [x]}}\n",
		"large.yaml":                      "#" + strings.Repeat("x", recipe.MaxFileSize),
		"folder.yaml/x":                   "",
		"components/hardening/1.2.0.yaml": plain,
		"components/twice/1.2.0.yaml":     plain,
		"components/twice/1.2.0.yml":      plain,
		"base.raw":                        "disk",
	})
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("plain.yaml", filepath.Join(dir, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	component := func(ref string) string {
		return "parentImage: debian-12\ncomponents:\n  - componentArn: " + ref + "\n"
	}
	for _, c := range []struct{ name, text, want string }{
		{"no file", component("./none.yaml"), "none.yaml cannot be opened: no such file or directory; paths are relative to the recipe's folder"},
		{"a folder", component("./folder.yaml"), "is a folder, not a file"},
		{"a pipe", component("./pipe.yaml"), "is not a regular file"},
		{"a device", component("/dev/zero"), "is not a regular file"},
		{"a large document", component("./large.yaml"), "is larger than"},
		{"a broken document", component("./broken.yaml"), "broken.yaml:6:"},
		{"no managed component", component("update-linx"), "did you mean update-linux?"},
		{"a managed version", component("update-linux/99.x.x"), "is at version"},
		{"a managed build", component("arn:aws:imagebuilder:eu-west-1:aws:component/update-linux/1.0.0/5"), "is at version"},
		{"no such ARN", component("arn:aws:imagebuilder:eu-west-1:aws:component/docker-ce-nowhere/x.x.x"), "no managed component called docker-ce-nowhere"},
		{"no local component", component("nowhere/x.x.x"), filepath.Join("components", "nowhere", "1.0.0.yaml")},
		{"no local version", component("hardening/2.x.x"), "matches 2.x.x; there are 1.2.0"},
		{"no local build", component("hardening/1.2.0/2"), "matches 1.2.0/2"},
		{"a version twice", component("twice/x.x.x"), "are the same version"},
		{"a missing parameter", component("./example.yaml"), "r.yaml:5:5: components[0].parameters: the component needs a value"},
		{"an unknown parameter", component("./plain.yaml") + "    parameters:\n      - {name: Port, value: x}\n", `r.yaml:7:9: components[0].parameters[0]: the component has no parameter "Port"`},
		{"a near parameter", component("./example.yaml") + "    parameters:\n      - {name: Greeting, value: x}\n      - {name: Prot, value: x}\n", `did you mean "Port"?`},
		{"no parent", "parentImage: ./none.raw\n", "none.raw cannot be opened: no such file"},
		{"a device as parent", "parentImage: /dev/null\n", "is not a regular file"},
		{"a small volume", "parentImage: ./base.raw\nblockDeviceMappings: [{deviceName: /dev/xvda, ebs: {volumeSize: 2}}]\n", "r.yaml:4:65: blockDeviceMappings[0].ebs.volumeSize: 2 GiB is smaller than the parent image; it needs at least 4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(dir, "r.yaml")
			r, err := recipe.Parse(file, []byte("name: web-server\nsemanticVersion: 1.0.0\n"+c.text))
			if err != nil {
				t.Fatal(err)
			}
			env := environment()
			env.Parents = size(3<<30 + 1)
			_, err = recipe.Resolve(t.Context(), r, env)
			if lines := problems(t, err); len(lines) != 1 {
				t.Errorf("%d problems: %v", len(lines), err)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v\nlacks %q", err, c.want)
			}
		})
	}
	r, err := recipe.Parse(filepath.Join(dir, "r.yaml"), []byte("name: web-server\nsemanticVersion: 1.0.0\n"+component("./link.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := recipe.Resolve(t.Context(), r, environment()); err != nil {
		t.Errorf("a symbolic link: %v", err)
	}
}

type size int64

func (s size) Inspect(context.Context, recipe.PlannedParentImage) (string, int64, error) {
	return "sha256:parent", int64(s), nil
}

func problems(t *testing.T, err error) component.Problems {
	t.Helper()
	var all component.Problems
	if !errors.As(err, &all) {
		t.Fatalf("the error is %v, not component.Problems", err)
	}
	return all
}

type refusal struct{}

func (refusal) Inspect(context.Context, recipe.PlannedParentImage) (string, int64, error) {
	return "", 0, errors.New("the image has a backing file")
}

type unreadable struct{ error }

func (u unreadable) Builds(context.Context, string) ([]recipe.Build, error) { return nil, u.error }

// What is wrong with a parent image is the recipe's problem; what is wrong with the catalog or the call is not.
func TestResolveErrors(t *testing.T) {
	r, err := recipe.Parse("r.yaml", []byte("name: web-server\nsemanticVersion: 1.0.0\nparentImage: debian-12\n"))
	if err != nil {
		t.Fatal(err)
	}
	env := environment()
	env.Parents = refusal{}
	if _, err := recipe.Resolve(t.Context(), r, env); len(problems(t, err)) != 1 || !strings.Contains(err.Error(), "r.yaml:3:14: parentImage: the image has a backing file") {
		t.Errorf("a refused parent: %v", err)
	}
	env = environment()
	damaged := errors.New("damaged")
	env.Images = unreadable{damaged}
	var p component.Problems
	if _, err := recipe.Resolve(t.Context(), r, env); !errors.Is(err, damaged) || errors.As(err, &p) {
		t.Errorf("a damaged catalog: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := recipe.Resolve(ctx, r, environment()); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled call: %v", err)
	}
	if _, err := recipe.Load(t.Context(), filepath.Join(t.TempDir(), "none.yaml"), environment()); !strings.Contains(err.Error(), "no such file") {
		t.Errorf("no recipe: %v", err)
	} else if got := problems(t, err); strings.Count(got.Error(), "none.yaml") != 1 {
		t.Errorf("the file is named more than once: %v", err)
	}
}

const recipes = "../../testdata/recipes/"

func TestExampleRecipes(t *testing.T) {
	for _, name := range []string{"web-server", "hello", "fails-at-step-3"} {
		p, err := recipe.Load(t.Context(), recipes+name+".yaml", environment())
		if err != nil {
			t.Errorf("%s:\n%v", name, err)
		} else if p.Name != name || len(p.Components) == 0 {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// Five mistakes in two files are five problems, in one error, with their lines.
func TestFiveMistakes(t *testing.T) {
	_, err := recipe.Load(t.Context(), recipes+"five-mistakes.yaml", environment())
	var got []string
	for _, p := range problems(t, err) {
		got = append(got, fmt.Sprintf("%s:%d %s", filepath.Base(p.File), p.Line, p.Field))
	}
	want := []string{
		"two-mistakes.yaml:7 phases[0].steps[0].action",
		"two-mistakes.yaml:13 phases[0].steps[1].onFailure",
		"five-mistakes.yaml:9 infrastructureConfiguration.accelarator",
		"five-mistakes.yaml:11 imageTestsConfiguration.timeoutMinutes",
		"five-mistakes.yaml:13 distribution.formats[1]",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q\n%v", got, want, err)
	}
}
