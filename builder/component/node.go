package component

import (
	"slices"
	"strconv"
	"strings"
)

// Kind tells the shape of a [Node].
type Kind string

const (
	Null   Kind = "null"
	Scalar Kind = "scalar"
	List   Kind = "list"
	Map    Kind = "map"
)

// Node is a value of a document as it was written, YAML and JSON alike. Scalars keep their literal text, so that 0755 stays "0755".
type Node struct {
	Kind Kind `json:"kind"`
	// Text is the text of a scalar.
	Text string `json:"text,omitempty"`
	// Quoted is set for scalars that are strings by the way they are written: in quotes or as a block.
	Quoted bool `json:"quoted,omitempty"`
	// Items are those of a list.
	Items []*Node `json:"items,omitempty"`
	// Entries are those of a map, in the order of the document.
	Entries []Entry `json:"entries,omitempty"`
	// Line and Column are where the node starts, counted from 1.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`

	wrong bool // a map none of whose keys could be read, which was reported
}

// Entry is a key of a map and its value.
type Entry struct {
	Key    string `json:"key"`
	Value  *Node  `json:"value"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

// Get returns the value of a key of a map, or nil.
func (n *Node) Get(key string) *Node {
	if n == nil {
		return nil
	}
	for _, e := range n.Entries {
		if e.Key == key {
			return e.Value
		}
	}
	return nil
}

// whole tells whether nothing in the node is missing.
func (n *Node) whole() bool {
	return n != nil && !slices.ContainsFunc(n.Items, func(item *Node) bool { return !item.whole() }) &&
		!slices.ContainsFunc(n.Entries, func(e Entry) bool { return !e.Value.whole() })
}

// describe names the node's kind for messages.
func (n *Node) describe() string {
	switch n.Kind {
	case Null:
		return "nothing"
	case List:
		return "a list"
	case Map:
		return "a map"
	default:
		return "the text " + quote(n.Text)
	}
}

// insteadOfText is the hint for values that should be texts.
func (n *Node) insteadOfText() string {
	if n.Kind == Map {
		return `a text with ": " in it must be quoted, or written after |`
	}
	return ""
}

// quote quotes text of the user for a message, cut to a bearable length.
func quote(text string) string {
	const most = 80
	if len(text) > most {
		return strconv.Quote(strings.ToValidUTF8(text[:most], "")) + "…"
	}
	return strconv.Quote(text)
}

// knownNames lists names for a hint.
func knownNames(lead string, names []string) string {
	if len(names) == 0 {
		return ""
	}
	return lead + " " + strings.Join(names, ", ")
}
