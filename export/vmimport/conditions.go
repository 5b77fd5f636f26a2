package vmimport

import (
	"slices"
	"strings"
)

// truth is what is known of a condition.
type truth int

const (
	unmet truth = iota
	unclear
	met
)

// requestContext is what is known of a request when its policies are evaluated: values of condition keys, named in lower case. A key without values is
// known to be absent; one that is not in it may have any value.
type requestContext map[string][]string

// holds tells whether a statement's conditions are met, all of which must be (IAM User Guide, "IAM JSON policy elements: Condition"), and
// which keys leave it open.
func (s policyStatement) holds(c requestContext) (result truth, open []string) {
	result = met
	for operator, keys := range s.Condition {
		for key, values := range keys {
			t := c.test(operator, key, values)
			if t == unclear {
				open = append(open, key)
			}
			result = min(result, t)
		}
	}
	if result != unclear {
		return result, nil
	}
	slices.Sort(open)
	return result, open
}

// test evaluates one condition. Operators for numbers, dates and addresses, those for keys with several values, and policy variables are left open.
func (c requestContext) test(operator, key string, values []string) truth {
	have, known := c[strings.ToLower(key)]
	if !known || len(have) > 1 || strings.Contains(operator, ":") || slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, "${") }) {
		return unclear
	}
	operator = strings.ToLower(operator)
	if operator == "null" {
		return truthOf(slices.Contains(values, "true") == (len(have) == 0))
	}
	base, ifExists := strings.CutSuffix(operator, "ifexists")
	var equal func(pattern, value string) bool
	switch strings.Replace(base, "not", "", 1) {
	case "stringequals":
		equal = func(p, v string) bool { return p == v }
	case "stringequalsignorecase", "bool":
		equal = strings.EqualFold
	case "stringlike", "arnlike", "arnequals":
		equal = wild
	default:
		return unclear
	}
	negated := strings.Contains(base, "not")
	if len(have) == 0 { // a negated operator is met by a key that is absent
		return truthOf(ifExists || negated)
	}
	return truthOf(negated != slices.ContainsFunc(values, func(v string) bool { return equal(v, have[0]) }))
}

func truthOf(b bool) truth {
	if b {
		return met
	}
	return unmet
}
