package aws

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ingot-image/ingot/builder/component"
)

// secretsManager begins the names by which the Parameter Store passes on secrets of Secrets Manager (Systems Manager user guide,
// "Referencing AWS Secrets Manager secrets from Parameter Store parameters").
const secretsManager = "/aws/reference/secretsmanager/"

// parser reads a file of parameters.
type parser struct {
	Parameters
	problems component.Problems
	lines    map[string]int // of names
}

// ParseParameters reads the text of a file of parameters, see [ReadParameters].
func ParseParameters(file string, data []byte) (*Parameters, error) {
	p := &parser{Parameters: Parameters{file, map[string]component.StoredParameter{}}, lines: map[string]int{}}
	if root := p.tree(data); root != nil {
		p.file(root)
	}
	if err := p.problems.Err(); err != nil {
		return nil, err
	}
	return &p.Parameters, nil
}

func (p *parser) report(n *yaml.Node, field, message, hint string) {
	p.problems = append(p.problems, component.Problem{
		File: p.Parameters.file, Line: n.Line, Column: n.Column, Field: field, Message: message, Hint: hint,
	})
}

var errorLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?(.*)`)

// tree reads the text, JSON if it is that.
func (p *parser) tree(data []byte) *yaml.Node {
	if json.Valid(data) {
		j := &jsonTree{data: data, decoder: json.NewDecoder(bytes.NewReader(data))}
		j.decoder.UseNumber()
		return j.value()
	}
	var document yaml.Node
	switch err := yaml.Unmarshal(data, &document); {
	case err != nil:
		m := errorLine.FindStringSubmatch(err.Error())
		line, _ := strconv.Atoi(m[1])
		p.report(&yaml.Node{Line: max(line, 1)}, "", m[2], "this is neither well-formed YAML nor JSON")
		return nil
	case len(document.Content) == 0:
		return &yaml.Node{Kind: yaml.MappingNode} // an empty file has no parameters
	}
	return document.Content[0]
}

func (p *parser) file(root *yaml.Node) {
	if root.Kind != yaml.MappingNode {
		p.report(root, "", "this is no map of parameters", "write NAME: VALUE, one a line")
		return
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], followed(root.Content[i+1])
		name := key.Value
		if line, again := p.lines[name]; again {
			p.report(key, name, "the parameter is here for the second time", fmt.Sprintf("the first one is on line %d", line))
			continue
		}
		p.lines[name] = key.Line
		if key.Kind != yaml.ScalarNode || name == "" || len(name) > maxName {
			p.report(key, "", fmt.Sprintf("a parameter's name is a text of 1 to %d characters", maxName), "")
			continue
		}
		if parameter, ok := p.parameter(name, value); ok {
			p.values[name] = parameter
		}
	}
}

// The Parameter Store's limits of a name, as an ARN, and of a value (ssm API, PutParameter). Secrets are larger: 64 KiB
// (Secrets Manager quotas).
const (
	maxName  = 2048
	maxValue = 64 << 10
)

func (p *parser) parameter(name string, n *yaml.Node) (s component.StoredParameter, ok bool) {
	plain := component.ParameterString
	if strings.HasPrefix(name, secretsManager) {
		plain = component.ParameterSecureString
	}
	switch n.Kind {
	case yaml.SequenceNode:
		s.Type = component.ParameterStringList
		s.Value, ok = p.list(name, n)
	case yaml.MappingNode:
		s.Type = plain
		return p.typed(name, n, s)
	default:
		s.Type = plain
		s.Value, ok = p.text(name, n)
	}
	return s, ok
}

// typed reads {type, value}.
func (p *parser) typed(name string, n *yaml.Node, s component.StoredParameter) (component.StoredParameter, bool) {
	types := []string{component.ParameterString, component.ParameterStringList, component.ParameterSecureString}
	var value *yaml.Node
	mistakes := len(p.problems)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, v := n.Content[i], followed(n.Content[i+1])
		switch key.Value {
		case "type":
			if s.Type = v.Value; !slices.Contains(types, v.Value) {
				p.report(v, name+".type", "this is no type of parameter", "it is one of "+strings.Join(types, ", "))
			}
		case "value":
			value = v
		default:
			p.report(key, name, "unknown key "+strconv.Quote(key.Value), "a parameter has type and value")
		}
	}
	switch {
	case value == nil:
		p.report(n, name, "the value is missing", "write value: and the text")
	case value.Kind == yaml.SequenceNode && s.Type == component.ParameterStringList:
		s.Value, _ = p.list(name+".value", value)
	default:
		s.Value, _ = p.text(name+".value", value)
	}
	return s, len(p.problems) == mistakes
}

// list joins a list as the Parameter Store does.
func (p *parser) list(field string, n *yaml.Node) (string, bool) {
	var items []string
	ok := true
	for i, item := range n.Content {
		text, good := p.text(fmt.Sprintf("%s[%d]", field, i), followed(item))
		if good && strings.Contains(text, ",") {
			p.report(item, fmt.Sprintf("%s[%d]", field, i), "an item of a StringList cannot hold a comma", "")
			good = false
		}
		items, ok = append(items, text), ok && good
	}
	return strings.Join(items, ","), ok
}

// text takes any scalar as it is written: 1.10 stays 1.10.
func (p *parser) text(field string, n *yaml.Node) (string, bool) {
	switch {
	case n.Kind != yaml.ScalarNode:
		p.report(n, field, "the value is no text", "write a text, a list of texts, or a map of type and value")
	case n.ShortTag() == "!!null" || n.Value == "":
		p.report(n, field, "the value is empty", "the Parameter Store keeps no empty values")
	case len(n.Value) > maxValue:
		p.report(n, field, fmt.Sprintf("the value has more than %d bytes", maxValue), "")
	default:
		return n.Value, true
	}
	return "", false
}

func followed(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// jsonTree reads JSON, known to be valid, into the nodes of YAML.
type jsonTree struct {
	data    []byte
	decoder *json.Decoder
	counted int // bytes
	line    int // at counted, from 0
	start   int // of that line
}

// at sets a node's place to where the next token begins.
func (j *jsonTree) at() *yaml.Node {
	offset := int(j.decoder.InputOffset())
	for offset < len(j.data) && strings.IndexByte(" \t\r\n,:", j.data[offset]) >= 0 {
		offset++
	}
	for ; j.counted < offset; j.counted++ {
		if j.data[j.counted] == '\n' {
			j.line, j.start = j.line+1, j.counted+1
		}
	}
	return &yaml.Node{Line: j.line + 1, Column: offset - j.start + 1}
}

func (j *jsonTree) value() *yaml.Node {
	n := j.at()
	token, err := j.decoder.Token()
	if err != nil && !errors.Is(err, io.EOF) {
		return n
	}
	n.Kind, n.Tag = yaml.ScalarNode, "!!str"
	switch t := token.(type) {
	case nil:
		n.Tag = "!!null"
	case json.Delim:
		n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		if t == '{' {
			n.Kind, n.Tag = yaml.MappingNode, "!!map"
		}
		for j.decoder.More() { // keys and values are tokens alike
			n.Content = append(n.Content, j.value())
		}
		j.decoder.Token()
	default:
		n.Value = fmt.Sprint(t)
	}
	return n
}
