package component

import (
	"fmt"
	"unicode/utf8"
)

// The service defines parameters and constants as lists of maps with a single key, the name.

func (p *parser) parameters(d *Document, root *Node) {
	seen := make(map[string]int)
	items := p.named(root, "parameters", seen)
	for i, item := range items {
		field, e := item.field, item.entry
		p.known(e.Value, field, []string{"type", "default", "description"}, map[string]string{
			"allowedValues": "AWSTOE has no allowedValues; SSM documents do",
			"value":         "a parameter has a default; a fixed value is a constant",
		})
		p.stringType(e.Value, field)
		parameter := Parameter{Name: e.Key, Line: e.Line, Column: e.Column}
		parameter.Description, _ = p.text(e.Value, field, "description", false)
		if value, ok := p.text(e.Value, field, "default", false); ok {
			p.valueLength(e.Value.Get("default"), field+".default", value)
			parameter.Default = &value
		}
		if i == maxParameters {
			p.at(&Node{Line: e.Line, Column: e.Column}, field, fmt.Sprintf("a component has at most %d parameters", maxParameters), "")
		}
		d.Parameters = append(d.Parameters, parameter)
	}
}

func (p *parser) constants(d *Document, root *Node) {
	seen := make(map[string]int)
	for _, parameter := range d.Parameters {
		seen[parameter.Name] = parameter.Line
	}
	for _, item := range p.named(root, "constants", seen) {
		field, e := item.field, item.entry
		p.known(e.Value, field, []string{"type", "value"}, map[string]string{
			"default": "a constant has a value; a default is for parameters",
		})
		p.stringType(e.Value, field)
		value := e.Value.Get("value")
		if value == nil || value.Kind == Null {
			p.missing(e.Value, value, field+".value")
		} else if text, ok := p.text(e.Value, field, "value", false); ok {
			p.valueLength(value, field+".value", text)
			d.Constants = append(d.Constants, Constant{Name: e.Key, Value: text, Line: e.Line, Column: e.Column})
		}
	}
}

type namedItem struct {
	field string
	entry Entry
}

// named returns the items of a list of single-key maps whose names are right and not among those seen.
func (p *parser) named(root *Node, key string, seen map[string]int) []namedItem {
	if value := root.Get(key); value != nil && value.Kind == Map {
		p.at(value, key, "must be a list, not a map", "write every name after \"- \"")
		return nil
	}
	var items []namedItem
	for i, n := range p.list(root, "", key, false) {
		field := fmt.Sprintf("%s[%d]", key, i)
		if n.Kind != Map || len(n.Entries) != 1 {
			p.at(n, field, "must be a map with a single key, the name", "such as - MyName: {type: string, …}")
			continue
		}
		e := n.Entries[0]
		field += "." + e.Key
		here := &Node{Line: e.Line, Column: e.Column}
		if e.Value.Kind != Map {
			p.at(e.Value, field, "must be a map, not "+e.Value.describe(), "it says type and value, as in {type: string, …}")
			continue
		}
		if !wholeName.MatchString(e.Key) {
			p.at(here, field, fmt.Sprintf("the name %s is not allowed", quote(e.Key)), "names have 3 to 128 letters, digits, - and _")
			continue
		}
		if line, ok := seen[e.Key]; ok {
			p.at(here, field, fmt.Sprintf("the name %s is here twice", quote(e.Key)),
				fmt.Sprintf("parameters and constants share their names; the first one is on line %d", line))
			continue
		}
		seen[e.Key] = e.Line
		items = append(items, namedItem{field, e})
	}
	return items
}

func (p *parser) stringType(n *Node, field string) {
	if kind, ok := p.text(n, field, "type", true); ok && kind != "string" {
		p.at(n.Get("type"), field+".type", "unknown type "+quote(kind), "the only one is string")
	}
}

func (p *parser) valueLength(n *Node, field, value string) {
	if utf8.RuneCountInString(value) > maxParameterValue {
		p.at(n, field, fmt.Sprintf("has more than %d characters", maxParameterValue), "")
	}
}
