// Package reference makes the reference of the component language out of the code that runs it: a JSON Schema for editors, and a page for
// every action. Its tests hold the files in docs against it, so that they cannot drift.
//
//	go generate ./builder/component/reference
//
// writes docs/component.schema.json and docs/actions.
package reference

import (
	"fmt"
	"maps"
	"slices"

	"github.com/ingot-image/ingot/builder/component"
)

//go:generate go run ./generate

// Files returns the generated files by their paths in the repository, whose root is needed for the comments of the source.
func Files(root string, modules component.Modules) (map[string][]byte, error) {
	comments, err := readComments(root)
	if err != nil {
		return nil, fmt.Errorf("read the comments of the actions: %w", err)
	}
	files := make(map[string][]byte)
	var all []page
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		p := newPage(name, modules[name], comments)
		files[ActionsFolder+"/"+name+".md"] = p.markdown()
		all = append(all, p)
	}
	files[ActionsFolder+"/README.md"] = index(all)
	schema, err := encode(schema(modules, comments))
	if err != nil {
		return nil, fmt.Errorf("encode the schema: %w", err)
	}
	files[SchemaFile] = schema
	return files, nil
}

// Where the files are in the repository.
const (
	ActionsFolder = "docs/actions"
	SchemaFile    = "docs/component.schema.json"
)
