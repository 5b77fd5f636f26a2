package grants

import (
	"context"
	"regexp"
	"strings"

	"github.com/ingot-image/ingot/builder/component"
)

// pattern is a text of a document as far as it is known before the document runs: parts that follow each other.
type pattern []part

// part is a text, or the value of a stored parameter, or (the zero value) anything.
type part struct {
	text   string
	known  bool
	stored pattern // the name of a parameter in the Parameter Store
}

func literal(text string) pattern { return pattern{{text: text, known: true}} }

func anything() pattern { return pattern{{}} }

// fixed returns the text up to the first part that can be anything, and whether that is the whole of it. Stored parameters are asked for;
// those that cannot be had may be anything.
func (p pattern) fixed(ctx context.Context, store component.ParameterStore) (text string, whole bool) {
	var b strings.Builder
	for _, part := range p {
		switch {
		case part.stored != nil && store != nil:
			name, ok := part.stored.fixed(ctx, store)
			if !ok {
				return b.String(), false
			}
			value, err := store.Parameter(ctx, name)
			if err != nil {
				return b.String(), false
			}
			b.WriteString(value.Value)
		case part.known:
			b.WriteString(part.text)
		default:
			return b.String(), false
		}
	}
	return b.String(), true
}

// plain is the text of a pattern that depends on nothing else.
func (p pattern) plain() (string, bool) { return p.fixed(context.Background(), nil) }

// values are what references stand for in a document: parameters and constants by name, and {{ loop.value }} and the like as written.
type values map[string]pattern

const storedPrefix = "aws:ssm:"

// bracedResolve is a reference with another one inside.
var bracedResolve = regexp.MustCompile(`^\{\{[ \t]*(aws:ssm:resolve\([^()\r\n]*\))[ \t]*\}\}`)

// expand replaces the references of a text. What is told by nothing but a run may be anything: outputs of steps above all, and what
// stands between double braces and is no reference. The names of the stored parameters it met go to asks.
func (v values) expand(text string, asks func(name pattern)) pattern {
	var p pattern
	for {
		start := strings.Index(text, "{{")
		if start < 0 {
			return append(p, literal(text)...)
		}
		inner, rest := "", ""
		if m := bracedResolve.FindStringSubmatchIndex(text[start:]); m != nil {
			inner, rest = text[start+m[2]:start+m[3]], text[start+m[1]:]
		} else if end := strings.Index(text[start+2:], "}}"); end < 0 {
			return append(p, literal(text)...)
		} else if inner, rest = text[start+2:start+2+end], text[start+2+end+2:]; strings.Contains(inner, "{{") {
			inner, rest = "", text[start+2:] // the braces inside may be a reference
		}
		if start > 0 {
			p = append(p, literal(text[:start])...)
		}
		inner = strings.Trim(inner, " \t")
		if name, stored := strings.CutPrefix(inner, storedPrefix); stored {
			p = append(p, part{stored: v.stored(name, asks, 0)})
		} else if value, known := v[inner]; known {
			p = append(p, value...)
		} else {
			p = append(p, part{})
		}
		text = rest
	}
}

// maxResolves is that of package component.
const maxResolves = 8

// stored returns the name that stands after aws:ssm:, in which resolve(x) is the value of a parameter x of the document, or of another
// stored parameter, or x itself.
func (v values) stored(name string, asks func(pattern), depth int) pattern {
	var p pattern
	argument, resolve := strings.CutPrefix(strings.TrimPrefix(name, storedPrefix), "resolve(")
	argument, closed := strings.CutSuffix(argument, ")")
	switch {
	case !resolve:
		p = literal(name)
	case !closed || depth == maxResolves:
		p = anything()
	default:
		argument = strings.TrimSpace(argument)
		if inner, braced := strings.CutPrefix(argument, "{{"); braced {
			argument = strings.TrimSpace(strings.TrimSuffix(inner, "}}"))
		}
		if value, known := v[argument]; known {
			p = value
		} else if inner, stored := strings.CutPrefix(argument, storedPrefix); stored {
			p = pattern{{stored: v.stored(inner, asks, depth+1)}}
		} else {
			p = literal(argument)
		}
	}
	asks(p)
	return p
}
