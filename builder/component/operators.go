package component

import (
	"maps"
	"slices"
)

// Operator describes an operator of a [Condition], for documentation and schemas.
type Operator struct {
	Name string
	// Second is the other key that the operator takes: value, path, or none.
	Second string
	// Logical operators take conditions: and and or a list of them, not one or a list of one.
	Logical bool
}

// MaxLogicalDepth is how deep logical operators may be nested.
const MaxLogicalDepth = maxLogicalDepth

// Operators returns all operators of conditions: the comparisons by name, then and, or and not.
func Operators() []Operator {
	all := comparisons()
	var operators []Operator
	for _, name := range slices.Sorted(maps.Keys(all)) {
		operators = append(operators, Operator{Name: name, Second: all[name].second})
	}
	for _, name := range []string{"and", "or", "not"} {
		operators = append(operators, Operator{Name: name, Logical: true})
	}
	return operators
}
