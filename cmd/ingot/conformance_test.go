package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/action"
	"github.com/ingot-image/ingot/builder/component/reference/conformance"
)

const (
	conformanceCases = "../../testdata/conformance"
	guestFolders     = "/var/lib/conformance/folders"   // with the folder of every case
	guestDocuments   = "/var/lib/conformance/documents" // a copy of the cases, for ExecuteDocument
)

// TestConformance runs the conformance cases in a guest, all of them in one run of the real program: cases that end with their last
// step one after the other, those that abort or choose their phases as steps of a driver document, and the one that must end the whole
// run last. The mistakes of wrong documents are found on the host: they are held against what component validate prints.
func TestConformance(t *testing.T) {
	t.Parallel()
	t.Run("validate", validatesCases)
	t.Run("guest", func(t *testing.T) { newConformance(t).run() })
}

func validatesCases(t *testing.T) {
	cases, err := conformance.Load(conformanceCases)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, home: t.TempDir(), temporary: t.TempDir()}
	var wrong, right []string
	for _, c := range cases {
		for _, name := range c.Documents {
			if path := filepath.Join(c.Folder, name); c.Problems == nil {
				right = append(right, path)
			} else {
				wrong = append(wrong, path)
			}
		}
	}
	s.run(0, "component", "validate", "-d", strings.Join(right, ","))
	stdout, stderr := s.run(1, "component", "validate", "-d", strings.Join(wrong, ","))
	for _, c := range cases {
		for _, p := range c.Problems {
			place := fmt.Sprintf("%s:%d:%d: %s", filepath.Join(c.Folder, c.Documents[0]), p.Line, p.Column, p.Field)
			if !strings.Contains(stdout+stderr, place) {
				t.Errorf("component validate does not report %s\nstdout:\n%s\nstderr:\n%s", place, stdout, stderr)
			}
		}
	}
}

// conformanceRun is the run of all cases.
type conformanceRun struct {
	*site
	server                 string
	direct, driven, ending []conformance.Case
	documents              []configuredDocument
}

// configuredDocument is a document of the config file, as awstoe has it.
type configuredDocument struct {
	Path       string                `json:"path"`
	Parameters []configuredParameter `json:"parameters,omitempty"`
}

type configuredParameter struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func newConformance(t *testing.T) *conformanceRun {
	r := &conformanceRun{site: newSite(t)}
	cases, err := conformance.Load(conformanceCases)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.FileServer(http.Dir(conformanceCases)))
	t.Cleanup(server.Close)
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	r.server = "http://10.0.2.2:" + address.Port()
	for _, c := range cases {
		switch {
		case c.Problems != nil:
		case c.Aborts() && len(c.Documents) > 1:
			r.ending = append(r.ending, c)
		case c.Aborts() || len(c.Phases) > 0:
			r.driven = append(r.driven, c)
		default:
			r.direct = append(r.direct, c)
		}
	}
	if len(r.ending) != 1 || len(r.driven) < 3 || len(r.direct) < 50 {
		t.Fatalf("%d cases end the run, %d must be driven, %d are left", len(r.ending), len(r.driven), len(r.direct))
	}
	r.everyAction()
	return r
}

// everyAction expects that each action of Linux is used by a case that runs, but for one that needs a package mirror and has a
// test of its own.
func (r *conformanceRun) everyAction() {
	linux := action.Modules().For("linux")
	used := map[string]bool{"UpdateOS": true} // by TestManagedComponents
	for _, c := range append(append(r.direct, r.driven...), r.ending...) {
		for i, name := range c.Documents {
			document, err := component.Parse(name, c.Contents[i], linux)
			if err != nil {
				r.t.Fatalf("%s: %v", c.Name, err)
			}
			for _, phase := range document.Phases {
				for _, step := range phase.Steps {
					used[step.Action] = true
				}
			}
		}
	}
	for name, module := range action.Modules() {
		if platforms := module.Platforms; !used[name] && (len(platforms) == 0 || slices.Contains(platforms, "linux")) {
			r.t.Errorf("no case runs the action %s", name)
		}
	}
}

func (r *conformanceRun) places(c conformance.Case) conformance.Places {
	return conformance.Places{Dir: guestFolders + "/" + c.Name, Server: r.server}
}

// parameters are those that one of the case's documents needs.
func (r *conformanceRun) parameters(c conformance.Case, i int) (all []configuredParameter) {
	document, err := component.Parse(c.Documents[i], c.Contents[i], action.Modules().For("linux"))
	if err != nil {
		r.t.Fatalf("%s: %v", c.Name, err)
	}
	for name, value := range c.Values(document, r.places(c)) {
		all = append(all, configuredParameter{name, value})
	}
	return all
}

// add puts a case's documents into the run.
func (r *conformanceRun) add(c conformance.Case) {
	for i, name := range c.Documents {
		path, err := filepath.Abs(filepath.Join(c.Folder, name))
		if err != nil {
			r.t.Fatal(err)
		}
		r.documents = append(r.documents, configuredDocument{path, r.parameters(c, i)})
	}
}

// driver is the document whose steps run the driven cases.
func (r *conformanceRun) driver() string {
	var steps []any
	for _, c := range r.driven {
		steps = append(steps, map[string]any{
			"name": c.Name, "action": "ExecuteDocument", "onFailure": "Continue",
			"inputs": map[string]any{
				"document": guestDocuments + "/" + c.Name + "/" + c.Documents[0],
				"phases":   strings.Join(c.Phases, ","), "parameters": r.parameters(c, 0),
			},
		})
	}
	document := map[string]any{
		"name": "driver", "schemaVersion": "1.0", "phases": []any{map[string]any{"name": "build", "steps": steps}},
	}
	return r.write("driver.json", string(r.json(document)))
}

func (r *conformanceRun) json(value any) []byte {
	data, err := json.Marshal(value)
	if err != nil {
		r.t.Fatal(err)
	}
	return data
}

func (r *conformanceRun) run() {
	folders, bucket := filepath.Join(r.recipes, "folders"), filepath.Join(r.recipes, "bucket")
	var secrets []string
	for _, c := range append(append(r.direct, r.driven...), r.ending...) {
		if err := c.Prepare(filepath.Join(folders, c.Name)); err != nil {
			r.t.Fatal(err)
		}
		secrets = append(secrets, c.SecretParameters...)
	}
	if err := os.CopyFS(bucket, os.DirFS(conformanceCases)); err != nil {
		r.t.Fatal(err)
	}
	for _, c := range r.direct {
		r.add(c)
	}
	driver := len(r.documents)
	r.documents = append(r.documents, configuredDocument{Path: r.driver()})
	r.add(r.ending[0])
	config := r.write("config.json", string(r.json(map[string]any{"documents": r.documents})))
	stdout, stderr := r.site.run(1, "component", "run", "--vm", "debian-12", "--config", config, "--log-directory", r.out,
		"--secret-parameters", strings.Join(secrets, ","), "--s3-map", "s3://conformance="+bucket,
		"--ssm-parameters", filepath.Join(bucket, "parameters.yml"),
		"--copy", folders+":"+guestFolders, "--copy", bucket+":"+guestDocuments)
	details, err := filepath.Glob(filepath.Join(r.out, "TOE_*", "detailedoutput.json"))
	if err != nil || len(details) != 1 {
		r.t.Fatalf("the log folders have the details %v, %v\nstdout:\n%s\nstderr:\n%s", details, err, stdout, stderr)
	}
	data, err := os.ReadFile(details[0])
	if err != nil {
		r.t.Fatal(err)
	}
	for _, secret := range []string{"s3cret-s3cret", "hunter2-hunter2", "from-secrets-manager"} {
		r.keepsSecret(filepath.Dir(details[0]), secret)
	}
	var detail struct {
		Documents []any `json:"documents"`
	}
	if err := json.Unmarshal(data, &detail); err != nil {
		r.t.Fatal(err)
	}
	r.compare(detail.Documents, driver)
}

// keepsSecret looks for a secret in all files of the log folder but the copies of the documents.
func (r *conformanceRun) keepsSecret(folder, secret string) {
	files, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			r.t.Fatal(err)
		}
		if !strings.HasPrefix(filepath.Base(file), "document") && bytes.Contains(data, []byte(secret)) {
			r.t.Errorf("%s has a secret in it", filepath.Base(file))
		}
	}
}

// compare holds what the documents did against what is expected of them.
func (r *conformanceRun) compare(documents []any, driver int) {
	if len(documents) != driver+2 {
		r.t.Errorf("%d documents were run, want %d", len(documents), driver+2)
	}
	at := 0
	for _, c := range append(r.direct, r.ending...) {
		want := c.Want["documents"].([]any)
		if at == driver {
			at++
		}
		r.expect(c, want, documents[min(at, len(documents)):min(at+len(want), len(documents))])
		at += len(want)
	}
	if driver >= len(documents) {
		return
	}
	steps := nestedSteps(documents[driver])
	for i, c := range r.driven {
		if i < len(steps) {
			r.expect(c, []any{c.Want}, steps[i])
		} else {
			r.t.Errorf("%s was not run", c.Name)
		}
	}
}

func (r *conformanceRun) expect(c conformance.Case, want, got any) {
	r.t.Run(c.Name, func(t *testing.T) {
		for _, difference := range conformance.Compare(want, got, r.places(c)) {
			t.Error(difference)
		}
	})
}

// nestedSteps gives the detailed output of every step of a document with one phase.
func nestedSteps(document any) (details []any) {
	phases, _ := document.(map[string]any)["phases"].([]any)
	if len(phases) != 1 {
		return nil
	}
	steps, _ := phases[0].(map[string]any)["steps"].([]any)
	for _, step := range steps {
		details = append(details, step.(map[string]any)["detailedOutput"])
	}
	return details
}
