package recipe

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// mapping is a YAML mapping with its keys checked: known, and each written once.
type mapping struct {
	field
	fields map[string]field
	order  []string
	meant  []string // keys that unknown keys were probably meant to be
}

// mapping reads the field as a mapping with only the keys given; keys nil allows any. Unknown and repeated keys are
// recorded as problems. A field that is no mapping gives one without keys.
func (f field) mapping(wanted string, keys []string) mapping {
	m := mapping{field: f, fields: map[string]field{}}
	if !f.is(yaml.MappingNode, wanted) {
		return m
	}
	for i := 0; i+1 < len(f.node.Content); i += 2 {
		m.add(f.node.Content[i], f.node.Content[i+1], keys)
	}
	return m
}

func (m *mapping) add(keyNode, valueNode *yaml.Node, keys []string) {
	for keyNode.Kind == yaml.AliasNode {
		keyNode = keyNode.Alias
	}
	at := m.field
	at.path = join(m.path, clip(keyNode.Value))
	report := func(message, hint string) {
		before, known := m.r.positions[at.path]
		m.r.positions[at.path] = position{line: keyNode.Line, column: keyNode.Column}
		at.problem(message, hint)
		if known {
			m.r.positions[at.path] = before
		}
	}
	switch key := keyNode.Value; {
	case keyNode.Kind != yaml.ScalarNode:
		at.path = m.path
		report("a key is not a string", "")
	case keyNode.ShortTag() == "!!merge":
		report("merge keys are not supported", "write the keys out")
	case keys != nil && !slices.Contains(keys, key):
		hint := didYouMean(key, keys)
		if part := partOf(key); m.path == "" && part != "" {
			hint = "it belongs under " + part
		} else if hint == "" {
			hint = "known here: " + strings.Join(keys, ", ")
		}
		report("unknown key", hint)
		m.meant = append(m.meant, nearest(key, keys))
	default:
		if first, repeated := m.fields[key]; repeated {
			report(fmt.Sprintf("the key is repeated; it is already on line %d", m.r.positions[first.path].line), "remove one of them")
			return
		}
		m.fields[key] = m.r.field(valueNode, at.path)
		m.order = append(m.order, key)
	}
}

// partOf gives the part of a recipe that a key belongs to, "" if it is a key of none.
func partOf(key string) string {
	switch {
	case slices.Contains(infrastructureKeys, key):
		return "infrastructureConfiguration"
	case slices.Contains(testsKeys, key):
		return "imageTestsConfiguration"
	case slices.Contains(distributionKeys, key):
		return "distribution"
	}
	return ""
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// at gives the field of a key, false if it is absent.
func (m mapping) at(key string) (field, bool) {
	f, ok := m.fields[key]
	return f, ok
}

// require gives the field of a key and records a problem if it is absent and was not merely misspelt.
func (m mapping) require(key, hint string) (field, bool) {
	f, ok := m.fields[key]
	if !ok && m.node.Kind == yaml.MappingNode && !slices.Contains(m.meant, key) {
		missing := m.field
		missing.path = join(m.path, key)
		m.r.positions[missing.path] = m.r.positions[m.path]
		missing.problem("is missing", hint)
	}
	return f, ok
}

// text sets *to from the key's string, if the key is there.
func (m mapping) text(key string, to *string) {
	if f, ok := m.at(key); ok {
		if s, ok := f.text(); ok {
			*to = s
		}
	}
}

// integer sets *to from the key's number, if the key is there.
func (m mapping) integer(key string, least, most int, unit string, to *int) {
	if f, ok := m.at(key); ok {
		if n, ok := f.integer(least, most, unit); ok {
			*to = n
		}
	}
}

// boolean sets *to from the key's boolean, if the key is there.
func (m mapping) boolean(key string, to *bool) {
	if f, ok := m.at(key); ok {
		if b, ok := f.boolean(); ok {
			*to = b
		}
	}
}

// keep gives the values of the keys as JSON, nil if none of them is there. Their contents are the service's business
// and are not looked into.
func (m mapping) keep(keys []string) map[string]json.RawMessage {
	var kept map[string]json.RawMessage
	for _, key := range keys {
		f, ok := m.at(key)
		if !ok {
			continue
		}
		var value any
		err := f.node.Decode(&value)
		var data []byte
		if err == nil {
			data, err = json.Marshal(value)
		}
		if err != nil {
			f.problem("cannot be kept: "+strings.TrimPrefix(err.Error(), "yaml: "), "")
			continue
		}
		if kept == nil {
			kept = map[string]json.RawMessage{}
		}
		kept[key] = data
	}
	return kept
}
