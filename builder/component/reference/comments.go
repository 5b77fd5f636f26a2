package reference

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
)

// comments are those of the structs in the package action.
type comments struct {
	types  map[string]string            // of a struct, by its name
	fields map[string]map[string]string // of a struct's fields; those of embedded structs are under their own struct's name
	embeds map[string][]string          // the structs embedded in a struct
}

// readComments reads the source of the actions.
func readComments(root string) (*comments, error) {
	dir := filepath.Join(root, "builder", "component", "action")
	c := &comments{map[string]string{}, map[string]map[string]string{}, map[string][]string{}}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, declared := range file.Decls {
			c.declaration(declared)
		}
	}
	return c, nil
}

func (c *comments) declaration(declared ast.Decl) {
	d, ok := declared.(*ast.GenDecl)
	if !ok || d.Tok != token.TYPE {
		return
	}
	for _, spec := range d.Specs {
		t := spec.(*ast.TypeSpec)
		doc := t.Doc.Text()
		if doc == "" && len(d.Specs) == 1 {
			doc = d.Doc.Text()
		}
		c.types[t.Name.Name] = doc
		if s, ok := t.Type.(*ast.StructType); ok {
			c.structure(t.Name.Name, s)
		}
	}
}

func (c *comments) structure(name string, s *ast.StructType) {
	c.fields[name] = map[string]string{}
	for _, f := range s.Fields.List {
		for _, n := range f.Names {
			c.fields[name][n.Name] = f.Doc.Text()
		}
		if embedded, ok := f.Type.(*ast.Ident); ok && len(f.Names) == 0 {
			c.embeds[name] = append(c.embeds[name], embedded.Name)
		}
	}
}

// field returns the comment of a field, on one line, without the field's name at its beginning.
func (c *comments) field(structure, field string) string {
	text, ok := c.fields[structure][field]
	for _, embedded := range c.embeds[structure] {
		if ok {
			break
		}
		if text = c.field(embedded, field); text != "" {
			return text
		}
	}
	return strings.Join(strings.Fields(text), " ")
}
