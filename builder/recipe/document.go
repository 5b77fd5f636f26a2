package recipe

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ingot-image/ingot/builder/component"
)

// The bounds on a recipe file, far above what people write: MaxFileSize in bytes, and the number of YAML nodes and
// their depth, counted with each alias expanded.
const (
	MaxFileSize = 1 << 20
	maxNodes    = 20000
	maxDepth    = 32
)

// reader turns YAML nodes into values and gathers every mistake with its place, instead of stopping at the first.
//
// Package component has a reader of its own for component documents; the two languages differ in what they take for a
// string, a number and a boolean.
type reader struct {
	file      string
	what      string // that the file holds, "recipe" if empty, and what it needs at least
	needs     string
	problems  component.Problems
	positions map[string]position
}

const (
	mappingKind  = yaml.MappingNode
	sequenceKind = yaml.SequenceNode
	scalarKind   = yaml.ScalarNode
)

// field is a node together with the path it has in the file, such as "components[1].parameters[0].name". The empty
// path is the whole file.
type field struct {
	r    *reader
	node *yaml.Node
	path string
}

// read parses data as one YAML document and gives its root, false if there is none to go on with.
func (r *reader) read(data []byte) (root field, ok bool) {
	fail := func(line int, message, hint string) (field, bool) {
		r.problems = append(r.problems, component.Problem{File: r.file, Line: line, Column: 1, Message: message, Hint: hint})
		return field{}, false
	}
	if len(data) > MaxFileSize {
		return fail(1, fmt.Sprintf("the file is larger than %d bytes", MaxFileSize), "")
	}
	if line, message := checkText(data); message != "" {
		return fail(line, message, "")
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return fail(1, fmt.Sprintf("the %s is empty", cmp.Or(r.what, "recipe")), "it needs "+cmp.Or(r.needs, "at least name, semanticVersion and parentImage"))
	} else if err != nil {
		return fail(syntaxError(err, data))
	}
	var second yaml.Node
	if err := decoder.Decode(&second); err == nil {
		fail(second.Line, "a second YAML document begins here", fmt.Sprintf("a %s is one document; remove everything from the --- on", cmp.Or(r.what, "recipe")))
	} else if !errors.Is(err, io.EOF) {
		return fail(syntaxError(err, data))
	}
	left := maxNodes
	if !bounded(&document, maxDepth, &left) {
		return fail(1, fmt.Sprintf("the file has more than %d values or nests them more than %d deep, aliases expanded",
			maxNodes, maxDepth), "")
	}
	return r.field(document.Content[0], ""), true
}

// bounded walks node with its aliases expanded and reports whether it stays within depth and *left nodes. It is what
// makes a later walk that follows aliases safe, cyclic ones included.
func bounded(node *yaml.Node, depth int, left *int) bool {
	*left--
	if depth == 0 || *left < 0 {
		return false
	}
	if node.Kind == yaml.AliasNode {
		return bounded(node.Alias, depth-1, left)
	}
	for _, child := range node.Content {
		if !bounded(child, depth-1, left) {
			return false
		}
	}
	return true
}

func (r *reader) field(node *yaml.Node, path string) field {
	r.positions[path] = position{line: node.Line, column: node.Column}
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	return field{r: r, node: node, path: path}
}

// problem records a mistake at the field.
func (f field) problem(message, hint string) {
	p := f.r.positions[f.path]
	f.r.problems = append(f.r.problems, component.Problem{
		File: f.r.file, Line: p.line, Column: p.column, Field: f.path, Message: message, Hint: hint,
	})
}

// is reports whether the field has the wanted kind, and records a problem if not.
func (f field) is(kind yaml.Kind, wanted string) bool {
	if f.node.Kind == kind {
		return true
	}
	f.wrongType(wanted)
	return false
}

func (f field) wrongType(wanted string) {
	if f.node.Kind == yaml.ScalarNode && f.node.ShortTag() == "!!null" {
		f.problem("has no value; it must be "+wanted, "give it a value or remove the key")
		return
	}
	f.problem(fmt.Sprintf("is %s; it must be %s", f.kind(), wanted), "")
}

// kind says what the value is, for messages.
func (f field) kind() string {
	switch f.node.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch f.node.ShortTag() {
	case "!!int", "!!float":
		return "the number " + clip(f.node.Value)
	case "!!bool":
		return "the boolean " + clip(f.node.Value)
	case "!!str":
		return fmt.Sprintf("the string %q", clip(f.node.Value))
	case "!!timestamp":
		return "the date " + clip(f.node.Value)
	}
	return fmt.Sprintf("a %s value", strings.TrimPrefix(f.node.ShortTag(), "!"))
}

// clip bounds text of the file that is repeated in a message.
func clip(text string) string {
	const longest = 80
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest], "") + "…"
}

// list gives the items of a list of at most limit items.
func (f field) list(wanted string, limit int) []field {
	if !f.is(yaml.SequenceNode, wanted) {
		return nil
	}
	if n := len(f.node.Content); n > limit {
		f.problem(fmt.Sprintf("has %d entries; at most %d are allowed", n, limit), "")
		return nil
	}
	items := make([]field, len(f.node.Content))
	for i, node := range f.node.Content {
		items[i] = f.r.field(node, fmt.Sprintf("%s[%d]", f.path, i))
	}
	return items
}

// text gives a string that is not empty.
func (f field) text() (string, bool) {
	if f.node.Kind != yaml.ScalarNode || f.node.ShortTag() != "!!str" {
		if f.node.Kind == yaml.ScalarNode && f.node.ShortTag() != "!!null" {
			f.problem(fmt.Sprintf("is %s; it must be a string", f.kind()), "put it in quotes")
		} else {
			f.wrongType("a string")
		}
		return "", false
	}
	if strings.TrimSpace(f.node.Value) == "" {
		f.problem("is empty", "give it a value or remove the key")
		return "", false
	}
	if strings.ContainsRune(f.node.Value, 0) {
		f.problem("contains a NUL character", "")
		return "", false
	}
	return f.node.Value, true
}

// literal gives the text of any scalar as it stands in the file: the service's parameters and tags are strings, and
// people write 8080 and true without quotes.
func (f field) literal(longest int) (string, bool) {
	if f.node.Kind == yaml.ScalarNode && f.node.ShortTag() != "!!null" && f.node.ShortTag() != "!!str" {
		return f.node.Value, true
	}
	s, ok := f.text()
	if ok && len(s) > longest {
		f.problem(fmt.Sprintf("is %d bytes long; at most %d are allowed", len(s), longest), "")
		return "", false
	}
	return s, ok
}

// integer gives a whole number from least to most.
func (f field) integer(least, most int, unit string) (int, bool) {
	if f.node.Kind != yaml.ScalarNode || f.node.ShortTag() != "!!int" {
		f.wrongType(fmt.Sprintf("a whole number from %d to %d%s", least, most, unit))
		return 0, false
	}
	var n int
	if err := f.node.Decode(&n); err != nil || n < least || n > most {
		f.problem(fmt.Sprintf("is %s; it must be from %d to %d%s", clip(f.node.Value), least, most, unit), "")
		return 0, false
	}
	return n, true
}

// boolean gives true or false.
func (f field) boolean() (value, ok bool) {
	if f.node.Kind != yaml.ScalarNode || f.node.ShortTag() != "!!bool" {
		f.wrongType("true or false")
		return false, false
	}
	if err := f.node.Decode(&value); err != nil {
		f.wrongType("true or false")
		return false, false
	}
	return value, true
}

// word gives one of a set of words.
func word[W ~string](f field, words []W) (W, bool) {
	s, ok := f.text()
	if !ok {
		return "", false
	}
	all := make([]string, len(words))
	for i, w := range words {
		if s == string(w) {
			return w, true
		}
		all[i] = string(w)
	}
	f.problem(fmt.Sprintf("%q is not one of %s", clip(s), strings.Join(all, ", ")), didYouMean(s, all))
	return "", false
}

// tags gives a mapping of strings to strings.
func (f field) tags() map[string]string {
	m := f.mapping("a mapping of tag names to values", nil)
	tags := make(map[string]string, len(m.order))
	for _, key := range m.order {
		value := m.fields[key]
		if value.node.Kind == yaml.ScalarNode && value.node.ShortTag() == "!!str" && value.node.Value == "" {
			tags[key] = "" // an empty tag value is usual
			continue
		}
		if len(key) > 128 {
			value.problem("the tag's name is longer than 128 bytes", "")
		}
		if s, ok := value.literal(256); ok {
			tags[key] = s
		}
	}
	return tags
}
