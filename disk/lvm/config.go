package lvm

import (
	"errors"
	"fmt"
	"strconv"
)

// Bounds of a text.
const (
	maxDepth   = 16
	maxEntries = 1 << 20
)

// section is a part of LVM's text format: NAME { … }, NAME = VALUE. The order of entries is kept.
type section struct {
	names  []string
	values map[string]any // *section, string, int64, float64 or []any of the latter
}

func (s *section) section(name string) (*section, bool) {
	v, ok := s.values[name].(*section)
	return v, ok
}

func (s *section) text(name string) string {
	v, _ := s.values[name].(string)
	return v
}

func (s *section) number(name string) (int64, bool) {
	v, ok := s.values[name].(int64)
	return v, ok
}

// list gives an array. LVM takes a single value for an array of one.
func (s *section) list(name string) []any {
	switch v := s.values[name].(type) {
	case []any:
		return v
	case string, int64:
		return []any{v}
	}
	return nil
}

func (s *section) has(name, value string) bool {
	for _, v := range s.list(name) {
		if v == value {
			return true
		}
	}
	return false
}

// parseText reads a text (libdm/libdm-config.c).
func parseText(b []byte) (*section, error) {
	for len(b) > 0 && b[len(b)-1] == 0 { // LVM counts the end of its string
		b = b[:len(b)-1]
	}
	p := &parser{text: b, line: 1}
	s, err := p.section(0)
	if err != nil {
		return nil, fmt.Errorf("metadata, line %d: %w", p.line, err)
	}
	return s, nil
}

type parser struct {
	text    []byte
	at      int
	line    int
	entries int
}

// skip goes to the next token, and gives its first byte; 0 at the end.
func (p *parser) skip() byte {
	for p.at < len(p.text) {
		switch c := p.text[p.at]; c {
		case '\n':
			p.line++
			p.at++
		case ' ', '\t', '\r':
			p.at++
		case '#':
			for p.at < len(p.text) && p.text[p.at] != '\n' {
				p.at++
			}
		case 0:
			return '?' // not the end
		default:
			return c
		}
	}
	return 0
}

// count bounds what a text makes of memory.
func (p *parser) count() error {
	if p.entries++; p.entries > maxEntries {
		return fmt.Errorf("more than %d entries", maxEntries)
	}
	return nil
}

// section reads entries up to a closing brace; at depth 0 up to the end.
func (p *parser) section(depth int) (*section, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("sections are nested more than %d deep", maxDepth)
	}
	s := &section{values: map[string]any{}}
	for {
		switch c := p.skip(); {
		case c == 0 && depth == 0:
			return s, nil
		case c == 0:
			return nil, errors.New("the text ends within a section")
		case c == '}' && depth > 0:
			p.at++
			return s, nil
		}
		if err := p.count(); err != nil {
			return nil, err
		}
		name, err := p.name()
		if err != nil {
			return nil, err
		}
		if _, twice := s.values[name]; twice {
			return nil, fmt.Errorf("%q is there twice", name)
		}
		var value any
		switch c := p.skip(); c {
		case '{':
			p.at++
			value, err = p.section(depth + 1)
		case '=':
			p.at++
			value, err = p.value()
		default:
			err = fmt.Errorf("neither = nor { follows %q", name)
		}
		if err != nil {
			return nil, err
		}
		s.names = append(s.names, name)
		s.values[name] = value
	}
}

func (p *parser) name() (string, error) {
	start := p.at
	for p.at < len(p.text) && isName(p.text[p.at]) {
		p.at++
	}
	if p.at == start {
		return "", fmt.Errorf("a name is missing before %q", p.text[start:min(start+1, len(p.text))])
	}
	if p.at-start > 255 {
		return "", errors.New("a name is longer than 255 bytes")
	}
	return string(p.text[start:p.at]), nil
}

// isName tells whether a byte may be in a name: LVM's are letters, digits and + _ . -.
func isName(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '_' || c == '.' || c == '-'
}

func (p *parser) value() (any, error) {
	if p.skip() != '[' {
		return p.scalar()
	}
	p.at++
	list := []any{}
	for {
		if p.skip() == ']' {
			p.at++
			return list, nil
		}
		if err := p.count(); err != nil {
			return nil, err
		}
		v, err := p.scalar()
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		switch p.skip() {
		case ',':
			p.at++
		case ']':
		default:
			return nil, errors.New("an array does not end")
		}
	}
}

func (p *parser) scalar() (any, error) {
	c := p.skip()
	if c == '"' || c == '\'' {
		return p.quoted(c)
	}
	start := p.at
	for p.at < len(p.text) && isName(p.text[p.at]) {
		p.at++
	}
	word := string(p.text[start:p.at])
	if n, err := strconv.ParseInt(word, 10, 64); err == nil {
		return n, nil
	}
	if f, err := strconv.ParseFloat(word, 64); err == nil {
		return f, nil
	}
	return nil, fmt.Errorf("%.40q is no value", word)
}

// quoted reads a string. A backslash stands before a quote or a backslash in double quotes.
func (p *parser) quoted(quote byte) (string, error) {
	var out []byte
	for p.at++; p.at < len(p.text); p.at++ {
		c := p.text[p.at]
		switch {
		case c == quote:
			p.at++
			return string(out), nil
		case c == '\\' && quote == '"' && p.at+1 < len(p.text):
			p.at++
			c = p.text[p.at]
		}
		if c == '\n' {
			p.line++
		}
		out = append(out, c)
	}
	return "", errors.New("a string does not end")
}
