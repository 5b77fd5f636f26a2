// Package conformance reads the conformance cases of the component language and checks what an engine made of them.
//
// A case is a folder of testdata/conformance:
//
//	NAME/document.yml    the document, or document.json
//	NAME/expected.json   what must come of it
//	NAME/case.json       how to run it, see [Options]; most cases need none
//	NAME/files/          files that the document finds in its folder
//
// The expectation is the detailedoutput.json of AWSTOE, written from the language's documentation, not by an engine; see [Compare] for its
// placeholders. Or it is {"problems": [...]}, the mistakes that validation must find, each a [component.Problem] without its file.
//
// A document that works with files has the parameter Dir, a folder of its own, and touches nothing outside of it. It may have the parameter
// Server, a web server for the folder of all cases. Its bucket is s3://conformance/NAME, which holds the case's folder; its parameters of the
// Parameter Store are those of testdata/conformance/parameters.yml.
package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/ingot-image/ingot/builder/component"
)

// Case is one case.
type Case struct {
	// Name is that of the folder, Folder its path.
	Name, Folder string
	Options
	// Contents are those of Documents.
	Contents [][]byte
	// Want is the expected detail, nil when Problems are expected.
	Want map[string]any
	// Problems are sorted as [component.Problems.Sorted] does.
	Problems component.Problems
}

// Options are what case.json says.
type Options struct {
	// Documents are the files to run in one run. Default: document.yml or document.json.
	Documents []string `json:"documents"`
	// Phases to run. Default: all.
	Phases []string `json:"phases"`
	// Parameters are values for all the documents.
	Parameters map[string]string `json:"parameters"`
	// SecretParameters are the names of those that must be kept out of everything told.
	SecretParameters []string `json:"secretParameters"`
	// Root marks cases that only the superuser can run.
	Root bool `json:"root"`
}

// Files is the folder of files that the case's documents find in their folder. It need not exist.
func (c Case) Files() string { return filepath.Join(c.Folder, "files") }

// Load reads all cases of a folder, sorted by name.
func Load(folder string) ([]Case, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("load conformance cases: %w", err)
	}
	var cases []Case
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		c, err := load(filepath.Join(folder, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("load conformance case %s: %w", e.Name(), err)
		}
		cases = append(cases, c)
	}
	return cases, nil
}

func load(folder string) (Case, error) {
	c := Case{Name: filepath.Base(folder), Folder: folder}
	if err := read(filepath.Join(folder, "case.json"), &c.Options); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c, err
	}
	if len(c.Documents) == 0 {
		for _, name := range []string{"document.yml", "document.json"} {
			if _, err := os.Stat(filepath.Join(folder, name)); err == nil {
				c.Documents = append(c.Documents, name)
			}
		}
		if len(c.Documents) != 1 {
			return c, fmt.Errorf("it has the documents %v: there must be one, or case.json names them", c.Documents)
		}
	}
	for _, name := range c.Documents {
		data, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			return c, err
		}
		c.Contents = append(c.Contents, data)
	}
	expected := filepath.Join(folder, "expected.json")
	var wrong struct {
		Problems component.Problems `json:"problems"`
	}
	if err := read(expected, &wrong); err == nil && len(wrong.Problems) > 0 {
		c.Problems = wrong.Problems
		return c, nil
	}
	data, err := os.ReadFile(expected)
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(data, &c.Want)
}

// read decodes a file that may hold nothing but what target knows.
func read(path string, target any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(target); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return nil
}

// Values gives the parameters of one of the case's documents: those of the case that the document defines, Dir and Server.
func (c Case) Values(document *component.Document, at Places) map[string]string {
	values := make(map[string]string)
	for _, p := range document.Parameters {
		given, ok := c.Parameters[p.Name]
		switch {
		case ok:
			values[p.Name] = given
		case p.Name == "Dir":
			values[p.Name] = at.Dir
		case p.Name == "Server":
			values[p.Name] = at.Server
		}
	}
	return values
}

// Aborts tells whether the case ends a run before its end: a step with onFailure Abort is expected to fail.
func (c Case) Aborts() bool {
	documents, _ := c.Want["documents"].([]any)
	for _, d := range documents {
		for _, p := range list(d, "phases") {
			if slices.ContainsFunc(list(p, "steps"), func(step any) bool {
				return get(step, "status") == "failed" && get(step, "onFailure") == "Abort"
			}) {
				return true
			}
		}
	}
	return false
}

func get(value any, key string) any {
	m, _ := value.(map[string]any)
	return m[key]
}

func list(value any, key string) []any {
	l, _ := get(value, key).([]any)
	return l
}
