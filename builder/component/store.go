package component

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// storedName is what a reference to the Parameter Store says: a name, or where the name is to be found.
type storedName struct {
	name string // of the parameter; with resolve, of the document's parameter or constant that holds it, if there is one
	// resolve is set for resolve(…). Then of is what is between the parentheses if that is a reference itself.
	resolve bool
	of      *storedName
}

const (
	storedPrefix = "aws:ssm:"
	// secretsManagerPrefix is that of parameters which stand for secrets of Secrets Manager (Systems Manager user guide, "Referencing
	// AWS Secrets Manager secrets from Parameter Store parameters").
	secretsManagerPrefix = "/aws/reference/secretsmanager/"
	// maxStoredValue is the most that Secrets Manager keeps, in bytes; the Parameter Store keeps less.
	maxStoredValue = 64 << 10
	maxResolves    = 8 // resolve inside of resolve
)

var (
	// storedGrammar allows what names of parameters, ARNs, and ids of secrets are made of, with a version or label at the end.
	storedGrammar   = regexp.MustCompile(`^[A-Za-z0-9_./+=@:-]+$`)
	resolveGrammar  = regexp.MustCompile(`^resolve\([ \t]*(.*?)[ \t]*\)$`)
	bracedReference = regexp.MustCompile(`^\{\{[ \t]*(.*?)[ \t]*\}\}$`)
	bracedResolve   = regexp.MustCompile(`^\{\{[ \t]*(aws:ssm:resolve\([^()\r\n]*\))[ \t]*\}\}`)
)

// isStoredName tells whether a text may be the name of a parameter.
func isStoredName(text string) bool {
	return len(text) <= maxReferenceLength && storedGrammar.MatchString(text)
}

// scanResolve finds a resolve at the start of text whose argument has braces of its own: {{ aws:ssm:resolve({{ Name }}) }}.
func scanResolve(text string) (reference, bool) {
	m := bracedResolve.FindStringSubmatchIndex(text)
	if m == nil {
		return reference{}, false
	}
	r, ok := parseReference(text[m[2]:m[3]])
	r.end = m[1]
	return r, ok
}

// parseStoredName parses a reference that begins with aws:ssm:. It returns nil when it is wrong.
func parseStoredName(text string) *storedName { return parseStored(text, 0) }

func parseStored(text string, depth int) *storedName {
	text = strings.TrimPrefix(text, storedPrefix)
	m := resolveGrammar.FindStringSubmatch(text)
	switch {
	case m == nil && isStoredName(text):
		return &storedName{name: text}
	case m == nil || depth == maxResolves:
		return nil
	}
	inner := m[1]
	if braced := bracedReference.FindStringSubmatch(inner); braced != nil {
		inner = braced[1]
	}
	if strings.HasPrefix(inner, storedPrefix) {
		of := parseStored(inner, depth+1)
		if of == nil {
			return nil
		}
		return &storedName{resolve: true, of: of}
	}
	if !isStoredName(inner) {
		return nil
	}
	return &storedName{resolve: true, name: inner}
}

// storedValue returns the value that a reference to the Parameter Store stands for.
func (r *resolver) storedValue(n *storedName) (string, error) {
	if n == nil {
		return "", &finalError{errors.New("this is no reference to a parameter of the Parameter Store")}
	}
	name := n.name
	if n.resolve && n.of != nil {
		var err error
		if name, err = r.storedValue(n.of); err != nil {
			return "", err
		}
	} else if n.resolve {
		if value, ok := r.values[n.name]; ok {
			name = value
		}
	}
	if name = strings.TrimSpace(name); !isStoredName(name) {
		return "", &finalError{fmt.Errorf("%s is no name of a parameter of the Parameter Store", quote(name))}
	}
	if r.stored == nil {
		return "", &finalError{errNoStore}
	}
	return r.stored(name)
}

var errNoStore = errors.New("the SSM Parameter Store is not available here")

// storedParameters are the parameters of the Parameter Store that a run has asked for; it asks once for each.
type storedParameters struct {
	store   ParameterStore
	known   map[string]StoredParameter
	secrets *secrets
}

func newStoredParameters(store ParameterStore, known map[string]StoredParameter, s *secrets) *storedParameters {
	p := &storedParameters{store, make(map[string]StoredParameter), s}
	for name, parameter := range known {
		p.learn(name, parameter)
	}
	return p
}

func (p *storedParameters) learn(name string, parameter StoredParameter) {
	if parameter.Type == ParameterSecureString || strings.HasPrefix(name, secretsManagerPrefix) {
		p.secrets.add(parameter.Value)
	}
	p.known[name] = parameter
}

func (p *storedParameters) value(ctx context.Context, name string) (string, error) {
	if known, ok := p.known[name]; ok {
		return known.Value, nil
	}
	if p.store == nil {
		return "", &finalError{errNoStore}
	}
	parameter, err := p.store.Parameter(ctx, name)
	switch {
	case errors.Is(err, ErrNotFound):
		return "", &finalError{fmt.Errorf("the SSM Parameter Store has no parameter %s", quote(name))}
	case err != nil:
		return "", fmt.Errorf("get the parameter %s: %w", quote(name), err)
	case len(parameter.Value) > maxStoredValue:
		return "", &finalError{fmt.Errorf("the parameter %s has more than %s", quote(name), size(maxStoredValue))}
	}
	p.learn(name, parameter)
	return parameter.Value, nil
}
