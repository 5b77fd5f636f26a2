package component

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds of a document. An alias counts as many nodes as it stands for.
const (
	// MaxDocumentSize is in bytes: what the service accepts (CreateComponent API, data).
	MaxDocumentSize = 64 << 10
	maxNodes        = 100_000
	maxDepth        = 64
	maxText         = 1 << 20 // bytes of scalars and keys
)

// reader makes the Node tree of a document. What is wrong with the text itself ends in problems.
type reader struct {
	file     string
	problems Problems
	nodes    int
	text     int  // bytes
	stopped  bool // a bound was passed, and has been reported
}

func (r *reader) report(line, column int, message, hint string) {
	if len(r.problems) >= maxProblems {
		return
	}
	r.problems = append(r.problems, Problem{File: r.file, Line: line, Column: column, Message: message, Hint: hint})
}

// countText takes the text of a scalar or key into account: a short alias may stand for a long one.
func (r *reader) countText(text string, line, column int) {
	if r.text += len(text); r.text > maxText && !r.stopped {
		r.report(line, column, fmt.Sprintf("the document has more than %s of text", size(maxText)), "aliases count as what they stand for")
		r.stopped = true
	}
}

// count returns false when the tree gets larger than the bounds.
func (r *reader) count(depth, line, column int) bool {
	r.nodes++
	if r.stopped {
		return false
	}
	switch {
	case r.nodes > maxNodes:
		r.report(line, column, fmt.Sprintf("the document has more than %d values", maxNodes), "aliases count as what they stand for")
		r.stopped = true
	case depth > maxDepth:
		r.report(line, column, fmt.Sprintf("values are nested more than %d levels deep", maxDepth), "")
		r.stopped = true
	}
	return !r.stopped
}

var (
	yamlLine   = regexp.MustCompile(`^line ([0-9]+): `)
	yamlAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
	// The library counts lines from 0 in what its parser reports, and from 1 in what its scanner reports.
	yamlParser = regexp.MustCompile(`^did not find expected (key|node content|'-' indicator|',' or ']'|',' or '}'|<document start>)$`)
)

// YAMLError takes the line, counted from 1, out of what go.yaml.in/yaml says of data that is not well-formed: "yaml: line 3: …", where
// the line is sometimes missing, and sometimes counted from 0. The library tells of no column.
func YAMLError(err error, data []byte) (line int, message string) {
	message = strings.TrimPrefix(err.Error(), "yaml: ")
	if m := yamlLine.FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1])
		message = message[len(m[0]):]
		if yamlParser.MatchString(message) {
			line++
		}
	}
	if strings.Contains(message, "tab character that violates") {
		line = tabLine(line, data)
	}
	if m := yamlAnchor.FindStringSubmatch(message); m != nil {
		before, _, _ := bytes.Cut(data, []byte("*"+m[1]))
		line = bytes.Count(before, []byte("\n")) + 1
	}
	return max(line, 1), message // the library leaves the first line out
}

// tabLine returns the first line after that where a scalar begins which is indented with a tab: the library tells where the scalar begins.
func tabLine(scalar int, data []byte) int {
	number := 0
	for line := range bytes.Lines(data) {
		number++
		indent := line[:len(line)-len(bytes.TrimLeft(line, " \t"))]
		if number > scalar && bytes.IndexByte(indent, '\t') >= 0 {
			return number
		}
	}
	return scalar
}

func (r *reader) yamlError(err error, data []byte) {
	line, message := YAMLError(err, data)
	hint := "this is not well-formed YAML"
	if strings.Contains(message, "tab character") {
		hint = "YAML is indented with spaces, not tabs"
	} else if strings.Contains(message, "found character that cannot start any token") {
		hint = "YAML is indented with spaces, not tabs; a value that starts with a special character must be quoted"
	}
	r.report(line, 0, message, hint)
}

// readYAML returns nil when there is nothing to go on with.
func (r *reader) readYAML(data []byte) *Node {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		r.report(1, 1, "the document is empty", "")
		return nil
	} else if err != nil {
		r.yamlError(err, data)
		return nil
	}
	var second yaml.Node
	if err := decoder.Decode(&second); err == nil {
		r.report(second.Line, second.Column, "the file holds more than one document", "put every component into a file of its own")
	} else if !errors.Is(err, io.EOF) {
		r.yamlError(err, data)
	}
	if len(document.Content) != 1 {
		return nil
	}
	return r.fromYAML(document.Content[0], 1)
}

func (r *reader) fromYAML(y *yaml.Node, depth int) *Node {
	n := &Node{Kind: Null, Line: y.Line, Column: y.Column}
	if !r.count(depth, y.Line, y.Column) {
		return n
	}
	switch y.Kind {
	case yaml.AliasNode:
		if target := r.fromYAML(y.Alias, depth+1); target != nil {
			*n = *target
		}
	case yaml.ScalarNode:
		if y.ShortTag() == "!!null" {
			break
		}
		n.Kind, n.Text = Scalar, y.Value
		r.countText(y.Value, y.Line, y.Column)
		n.Quoted = y.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
	case yaml.SequenceNode:
		n.Kind = List
		for _, item := range y.Content {
			n.Items = append(n.Items, r.fromYAML(item, depth+1))
			if r.stopped {
				break
			}
		}
	case yaml.MappingNode:
		n.Kind = Map
		r.mapping(n, y, depth)
	}
	return n
}

func (r *reader) mapping(n *Node, y *yaml.Node, depth int) {
	var merged []Entry
	for i := 0; i+1 < len(y.Content); i += 2 {
		key, value := y.Content[i], y.Content[i+1]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode {
			r.report(key.Line, key.Column, "a key must be a plain text",
				"a value that starts with a reference, {{ … }}, must be in quotes")
			continue
		}
		if key.ShortTag() == "!!merge" {
			merged = append(merged, r.merge(value, depth)...)
			continue
		}
		r.countText(key.Value, key.Line, key.Column)
		r.entry(n, Entry{Key: key.Value, Value: r.fromYAML(value, depth+1), Line: key.Line, Column: key.Column})
		if r.stopped {
			return
		}
	}
	n.wrong = len(n.Entries) == 0 && len(merged) == 0 && len(y.Content) > 0
	own := n.keys()
	for _, e := range merged { // keys of the map itself win over merged ones, earlier merged ones over later ones
		if !own[e.Key] {
			own[e.Key] = true
			n.Entries = append(n.Entries, e)
		}
	}
}

// merge returns the entries of a "<<" key (YAML 1.1 merge key): a map, or a list of maps.
func (r *reader) merge(value *yaml.Node, depth int) []Entry {
	n := r.fromYAML(value, depth+1)
	switch n.Kind {
	case Map:
		return n.Entries
	case List:
		var all []Entry
		for _, item := range n.Items {
			all = append(all, item.Entries...)
		}
		return all
	}
	r.report(value.Line, value.Column, "the key << must stand before a map or a list of maps", "")
	return nil
}

func (n *Node) keys() map[string]bool {
	keys := make(map[string]bool, len(n.Entries))
	for _, e := range n.Entries {
		keys[e.Key] = true
	}
	return keys
}

// entry adds an entry to a map, unless its key is there already.
func (r *reader) entry(n *Node, e Entry) {
	same := func(other Entry) bool { return other.Key == e.Key }
	if i := slices.IndexFunc(n.Entries, same); i >= 0 {
		r.report(e.Line, e.Column, fmt.Sprintf("the key %s is here twice", quote(e.Key)),
			fmt.Sprintf("the first one is on line %d", n.Entries[i].Line))
		return
	}
	n.Entries = append(n.Entries, e)
}
