package component

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Parse reads a component document, YAML or JSON, and checks it against the actions that modules has. The file's name is used in
// messages, and a name that ends in .json makes it JSON.
//
// The error is of type [Problems] and holds everything that is wrong with the document. The document is then what could be read of it, or
// nil; it must not be run, but its parameters may be looked at.
func Parse(file string, data []byte, modules Modules) (*Document, error) {
	return (&parser{reader: reader{file: file}, modules: modules, scans: make(scans)}).parse(data)
}

// parseOutline parses a document without looking at its actions, what they take and what they give.
func parseOutline(file string, data []byte) (*Document, error) {
	return (&parser{reader: reader{file: file}, outline: true, scans: make(scans)}).parse(data)
}

func (p *parser) parse(data []byte) (*Document, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	root := p.read(data)
	if root == nil || p.stopped {
		return nil, p.problems.Err()
	}
	if root.Kind != Map {
		p.at(root, "", "a component document is a map with the keys "+strings.Join(documentFields, ", ")+", not "+root.describe(), "")
		return nil, p.problems.Err()
	}
	document := p.document(root)
	if !p.outline {
		p.references(document, newLocator(data))
	}
	return document, p.problems.Err()
}

func (r *reader) read(data []byte) *Node {
	switch {
	case len(data) > MaxDocumentSize:
		r.report(0, 0, fmt.Sprintf("the document is larger than %d KiB", MaxDocumentSize>>10), "as the service has it; ExecuteDocument runs one document from another")
		return nil
	case !utf8.Valid(data):
		r.report(invalidUTF8Line(data), 0, "the document is not valid UTF-8", "save the file as UTF-8")
		return nil
	}
	if looksLikeJSON(r.file, data) {
		return r.readJSON(data)
	}
	return r.readYAML(data)
}

func invalidUTF8Line(data []byte) int {
	for i := 0; i < len(data); {
		c, size := utf8.DecodeRune(data[i:])
		if c == utf8.RuneError && size == 1 {
			return 1 + bytes.Count(data[:i], []byte("\n"))
		}
		i += size
	}
	return 0
}

// maxProblems is with how many problems the search for more ends. Nobody reads on.
const maxProblems = 1000

// full tells whether there are as many problems as anybody reads.
func (p *parser) full() bool { return len(p.problems) >= maxProblems }

// take adds what is wrong with inputs.
func (p *parser) take(d *Decoder) {
	p.problems = append(p.problems, d.problems[:min(len(d.problems), max(maxProblems-len(p.problems), 0))]...)
}

// parser turns nodes into a Document. Its methods report what is wrong and go on with what is left.
type parser struct {
	reader
	modules Modules
	outline bool // actions are not looked at
	scans   scans
}

// at reports a problem of a node.
func (p *parser) at(n *Node, field, message, hint string) {
	if p.full() {
		return
	}
	p.problems = append(p.problems, Problem{
		File: p.file, Line: n.Line, Column: n.Column, Field: field, Message: message, Hint: hint,
	})
}

// known reports the keys of a map that are none of the names.
func (p *parser) known(n *Node, field string, names []string, hints map[string]string) {
	for _, e := range n.Entries {
		if slices.Contains(names, e.Key) {
			continue
		}
		hint := hints[e.Key]
		if hint == "" {
			hint = didYouMean(e.Key, names, knownNames("known here:", names))
		}
		p.at(&Node{Line: e.Line, Column: e.Column}, join(field, e.Key), "unknown field "+quote(e.Key), hint)
	}
}

// text returns the text of a key of a map; ok is false when there is none, which is reported when the key is required.
func (p *parser) text(n *Node, field, key string, required bool) (text string, ok bool) {
	value := n.Get(key)
	switch {
	case value == nil || value.Kind == Null:
		if required {
			p.missing(n, value, join(field, key))
		}
		return "", false
	case value.wrong:
		return "", false
	case value.Kind != Scalar:
		p.at(value, join(field, key), "must be a single value, not "+value.describe(), value.insteadOfText())
		return "", false
	case required && strings.TrimSpace(value.Text) == "":
		p.at(value, join(field, key), "is empty", "")
		return "", false
	}
	return value.Text, true
}

// list returns the list under a key, nil when there is none.
func (p *parser) list(n *Node, field, key string, required bool) []*Node {
	value := n.Get(key)
	switch {
	case value == nil || value.Kind == Null:
		if required {
			p.missing(n, value, join(field, key))
		}
		return nil
	case value.wrong:
		return nil
	case value.Kind != List:
		p.at(value, join(field, key), "must be a list, not "+value.describe(), "write every item after \"- \"")
		return nil
	case required && len(value.Items) == 0:
		p.at(value, join(field, key), "is an empty list", "")
	}
	return value.Items
}

func (p *parser) missing(parent, value *Node, field string) {
	if value != nil {
		p.at(value, field, "has no value", "")
		return
	}
	p.at(parent, field, "is missing", "")
}

func join(field, key string) string {
	if field == "" {
		return key
	}
	return field + "." + key
}

var documentFields = []string{"name", "description", "schemaVersion", "parameters", "constants", "phases"}

func (p *parser) document(root *Node) *Document {
	d := &Document{file: p.file}
	p.known(root, "", documentFields, nil)
	d.Name, _ = p.text(root, "", "name", false)
	d.Description, _ = p.text(root, "", "description", false)
	if version, ok := p.text(root, "", "schemaVersion", true); ok {
		d.SchemaVersion = "1.0"
		if number, err := strconv.ParseFloat(version, 64); err != nil || number != 1 {
			p.at(root.Get("schemaVersion"), "schemaVersion", "unknown version "+quote(version), "the only one is 1.0")
		}
	}
	p.parameters(d, root)
	p.constants(d, root)
	p.phases(d, root)
	return d
}
