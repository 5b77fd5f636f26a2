package component

import (
	"regexp"
	"strconv"
	"strings"
)

// reference is a `{{ … }}` in a text.
type reference struct {
	start, end int    // of the whole of it, braces included
	text       string // what is between the braces, trimmed

	kind referenceKind
	name string // of a parameter or constant

	phase, step string
	outputs     bool   // of the step's outputs, otherwise of its inputs
	item        int    // the index after inputs or outputs, -1 without
	key         string // the input's or output's name
	index       int    // the index after key, -1 without

	stored *storedName // in the Parameter Store
}

type referenceKind int

const (
	valueReference referenceKind = iota // {{ name }}
	chainReference                      // {{ phase.step.inputs.key }}
	loopReference                       // {{ loop.index }}
	ssmReference                        // {{ aws:ssm:… }}
)

const (
	namePattern        = `[A-Za-z0-9_-]{3,128}` // of parameters and constants
	maxReferenceLength = 2048                   // in bytes, between the braces
)

var (
	wholeName    = regexp.MustCompile(`^` + namePattern + `$`)
	chainGrammar = regexp.MustCompile(`^([A-Za-z0-9_-]+)\.([^{}\r\n]+)\.(inputs|outputs)(?:\[([0-9]{1,6})\])?\.([A-Za-z0-9_-]+)(?:\[([0-9]{1,6})\])?$`)
	loopGrammar  = regexp.MustCompile(`^[A-Za-z0-9_-]+\.(?:index|value)$`)
	templateWord = regexp.MustCompile(`^(?:end|else|break|continue)$`) // whole actions of Go's templates
)

// scans remembers the references of texts, which may stand in many places of a document by aliases. A nil one remembers nothing.
type scans map[string][]reference

func (s scans) of(text string) []reference {
	found, known := s[text]
	if !known {
		found = scanReferences(text)
		if s != nil {
			s[text] = found
		}
	}
	return found
}

// scanReferences finds the references of a text, in order. Text between double braces which is none by the grammar is left out.
func scanReferences(text string) []reference {
	var found []reference
	for at := 0; ; {
		open := strings.Index(text[at:], "{{")
		if open < 0 {
			return found
		}
		start := at + open
		if r, ok := scanResolve(text[start:min(start+maxReferenceLength, len(text))]); ok {
			r.start, r.end = start, start+r.end
			found = append(found, r)
			at = r.end
			continue
		}
		for strings.HasPrefix(text[start+1:], "{{") { // of more than two braces the innermost count
			start++
		}
		at = start + 2
		inner := text[at:min(at+maxReferenceLength, len(text))]
		length := strings.Index(inner, "}}")
		if length < 0 {
			continue
		}
		if r, ok := parseReference(inner[:length]); ok {
			r.start, r.end = start, at+length+2
			found = append(found, r)
			at = r.end
		}
	}
}

// parseReference parses what is between the braces.
func parseReference(inner string) (reference, bool) {
	text := strings.Trim(inner, " \t")
	r := reference{text: text, item: -1, index: -1}
	if strings.HasPrefix(text, "aws:ssm:") {
		r.kind, r.stored = ssmReference, parseStoredName(text)
		return r, true
	}
	if m := chainGrammar.FindStringSubmatch(text); m != nil {
		r.kind, r.phase, r.step, r.outputs, r.key = chainReference, m[1], m[2], m[3] == "outputs", m[5]
		r.item, r.index = indexOf(m[4]), indexOf(m[6])
		return r, true
	}
	if loopGrammar.MatchString(text) {
		r.kind = loopReference
		r.name, _, _ = strings.Cut(text, ".")
		return r, true
	}
	if wholeName.MatchString(text) {
		r.kind, r.name = valueReference, text
		return r, true
	}
	return r, false
}

func indexOf(digits string) int {
	if n, err := strconv.Atoi(digits); err == nil {
		return n
	}
	return -1
}
