package component

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// maxLogicalDepth is how deep logical operators may be nested.
const maxLogicalDepth = 4

// Condition is an expression that is true or false: a comparison such as
//
//	stringEquals: "{{ build.Version.outputs.stdout }}"
//	value: "1.2"
//
// or a logical operator: and and or before a list of conditions, not before one condition or a list of one. It is what the action Assert
// takes as its inputs.
type Condition struct {
	operator        string
	operand, second string // of comparisons
	parts           []*Condition
}

const conditionHint = "such as stringEquals with value, or and, or, not"

// DecodeInputs implements [InputsDecoder].
func (c *Condition) DecodeInputs(d *Decoder, node *Node, field string) {
	c.decode(d, node, field, 0)
}

// decode reads a condition below depth logical operators.
func (c *Condition) decode(d *Decoder, node *Node, field string, depth int) {
	if node == nil || node.Kind != Map || len(node.Entries) == 0 {
		message := "must be a condition"
		if node != nil {
			message += ", not " + node.describe()
		}
		d.Report(node, field, message, conditionHint)
		return
	}
	var found []Entry
	for _, e := range node.Entries {
		if e.Key != "value" && e.Key != "path" {
			found = append(found, e)
		}
	}
	if len(found) != 1 {
		for _, e := range found { // one of them may be misspelt
			if !slices.Contains(operatorNames(), canonicalOperator(e.Key)) {
				c.unknown(d, e, field)
				return
			}
		}
		d.Report(node, field, fmt.Sprintf("has %s", plural(len(found), "operator")), "a condition has one; combine several by and, or, not")
		return
	}
	e := found[0]
	at := &Node{Line: e.Line, Column: e.Column}
	c.operator = e.Key
	if logical(e.Key) {
		c.refuseSecond(d, node, field, "")
		if depth == maxLogicalDepth {
			d.Report(at, field+"."+e.Key, fmt.Sprintf("logical operators are nested more than %d levels deep", maxLogicalDepth), "")
			return
		}
		c.decodeParts(d, e.Value, field+"."+e.Key, depth)
		return
	}
	comparison, ok := comparisons()[canonicalOperator(e.Key)]
	if !ok {
		c.unknown(d, e, field)
		return
	}
	c.operator = canonicalOperator(e.Key)
	c.operand = c.text(d, e.Value, field+"."+e.Key)
	if comparison.second != "" {
		value := node.Get(comparison.second)
		if value == nil {
			d.Report(node, field+"."+comparison.second, "is missing", fmt.Sprintf("%s compares with it", c.operator))
		} else {
			c.second = c.text(d, value, field+"."+comparison.second)
		}
	}
	c.refuseSecond(d, node, field, comparison.second)
	if c.operator == "patternMatches" && !d.Deferred(e.Value) {
		if _, err := compilePattern(c.operand); err != nil {
			d.Report(e.Value, field+"."+e.Key, err.Error(), "patterns are those of Go's regexp package (RE2)")
		}
	}
}

func (c *Condition) unknown(d *Decoder, e Entry, field string) {
	names := append(operatorNames(), "value", "path")
	d.Report(&Node{Line: e.Line, Column: e.Column}, field+"."+e.Key, "unknown operator "+quote(e.Key),
		didYouMean(e.Key, names, knownNames("known are", operatorNames())))
}

// refuseSecond reports value and path where the operator does not take them.
func (c *Condition) refuseSecond(d *Decoder, node *Node, field, allowed string) {
	for _, e := range node.Entries {
		if (e.Key == "value" || e.Key == "path") && e.Key != allowed {
			at := &Node{Line: e.Line, Column: e.Column}
			d.Report(at, field+"."+e.Key, fmt.Sprintf("the operator %s takes no %s", c.operator, e.Key), "")
		}
	}
}

func (c *Condition) decodeParts(d *Decoder, node *Node, field string, depth int) {
	switch {
	case node.Kind == List && len(node.Items) == 0:
		d.Report(node, field, "is an empty list", "")
	case node.Kind == List && c.operator == "not" && len(node.Items) != 1:
		d.Report(node, field, "not takes one condition", "combine several by and, or")
	case node.Kind == List:
		for i, item := range node.Items {
			part := new(Condition)
			part.decode(d, item, fmt.Sprintf("%s[%d]", field, i), depth+1)
			c.parts = append(c.parts, part)
		}
	case c.operator == "not":
		part := new(Condition)
		part.decode(d, node, field, depth+1)
		c.parts = append(c.parts, part)
	default:
		d.Report(node, field, "must be a list of conditions, not "+node.describe(), "")
	}
}

func (c *Condition) text(d *Decoder, node *Node, field string) string {
	switch node.Kind {
	case Scalar:
		return node.Text
	case Null:
		return ""
	}
	if !node.wrong {
		d.Report(node, field, "must be a single value, not "+node.describe(), node.insteadOfText())
	}
	return ""
}

// Evaluate tells whether the condition is true on the machine of x. And and or look at no more conditions than they need.
func (c *Condition) Evaluate(ctx context.Context, x *Execution) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, context.Cause(ctx)
	}
	switch c.operator {
	case "and", "or":
		enough := c.operator == "or"
		for _, part := range c.parts {
			if ok, err := part.Evaluate(ctx, x); err != nil || ok == enough {
				return ok, err
			}
		}
		return !enough, nil
	case "not":
		ok, err := c.parts[0].Evaluate(ctx, x)
		return !ok && err == nil, err
	}
	ok, err := comparisons()[c.operator].holds(ctx, x, c.operand, c.second)
	if err != nil {
		return false, fmt.Errorf("evaluate %s: %w", c.operator, err)
	}
	return ok, nil
}

// String writes the condition for messages, such as: stringEquals "a" (value "b").
func (c *Condition) String() string {
	if logical(c.operator) {
		parts := make([]string, len(c.parts))
		for i, part := range c.parts {
			parts[i] = part.String()
		}
		return c.operator + "(" + strings.Join(parts, ", ") + ")"
	}
	text := c.operator + " " + quote(c.operand)
	if second := comparisons()[c.operator].second; second != "" {
		text += fmt.Sprintf(" (%s %s)", second, quote(c.second))
	}
	return text
}

func logical(operator string) bool {
	return operator == "and" || operator == "or" || operator == "not"
}
