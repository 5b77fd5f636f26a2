package component

import (
	"context"
	"fmt"
	"slices"
)

// Branch is what a step's if says is to be done.
type Branch string

const (
	// Execute runs the step. It is the default when the condition is true.
	Execute Branch = "Execute"
	// Skip goes on with the next step; the skipped one counts as a success. It is the default when the condition is false.
	Skip Branch = "Skip"
	// AbortStep fails the step; then its onFailure counts.
	AbortStep Branch = "Abort"
)

// If is the condition of a step. It is evaluated once a step, before its first attempt.
type If struct {
	// Condition is the operator with its value or path as written, with references: the inputs of a [Condition].
	Condition    *Node
	Then, Else   Branch
	Line, Column int

	field string // below the step: if or if[0]
}

// condition reads the if of a step. The service shows it as a map and as a list of one map.
func (p *parser) condition(step *Node, field string) *If {
	n := step.Get("if")
	if n == nil {
		return nil
	}
	i := &If{Then: Execute, Else: Skip, Line: n.Line, Column: n.Column, field: "if"}
	if n.Kind == List {
		if len(n.Items) != 1 {
			p.at(n, join(field, "if"), fmt.Sprintf("must be one condition, not a list of %d", len(n.Items)), "combine several by and, or, not")
			return nil
		}
		n, i.field = n.Items[0], "if[0]"
	}
	field = join(field, i.field)
	if n.Kind != Map {
		p.at(n, field, "must be a condition, not "+n.describe(), conditionHint)
		return nil
	}
	i.Condition = &Node{Kind: Map, Line: n.Line, Column: n.Column}
	for _, e := range n.Entries {
		switch near := nearest(e.Key, append(operatorNames(), "value", "path", "then", "else")); {
		case e.Key == "then":
			i.Then = p.branch(e.Value, join(field, e.Key), Execute)
		case e.Key == "else":
			i.Else = p.branch(e.Value, join(field, e.Key), Skip)
		case near == "then" || near == "else":
			p.at(&Node{Line: e.Line, Column: e.Column}, join(field, e.Key), "unknown field "+quote(e.Key), "did you mean "+quote(near)+"?")
		default:
			i.Condition.Entries = append(i.Condition.Entries, e)
		}
	}
	d := Decoder{file: p.file, static: true, scans: p.scans}
	new(Condition).DecodeInputs(&d, i.Condition, field)
	p.take(&d)
	return i
}

func (p *parser) branch(n *Node, field string, preset Branch) Branch {
	names := []string{string(Execute), string(Skip), string(AbortStep)}
	switch {
	case n.Kind == Null:
		return preset
	case n.Kind != Scalar:
		p.at(n, field, "must be a single value, not "+n.describe(), knownNames("known are", names))
	case !slices.Contains(names, n.Text):
		p.at(n, field, "unknown value "+quote(n.Text), didYouMean(n.Text, names, knownNames("known are", names)))
	default:
		return Branch(n.Text)
	}
	return preset
}

// decide evaluates the condition and returns what is to be done, and why. An error is final when asking again would not help.
func (x *run) decide(ctx context.Context, i *If, execution *Execution) (branch Branch, why string, err error) {
	resolved, err := x.resolver(ctx, nil).node(i.Condition)
	if err != nil {
		return "", "", err
	}
	var condition Condition
	var d Decoder
	condition.DecodeInputs(&d, resolved, "if")
	if len(d.problems) > 0 {
		return "", "", &inputsError{d.problems}
	}
	ok, err := attend(ctx, x.attendant(), func() (bool, error) { return condition.Evaluate(ctx, execution) })
	if err != nil {
		return "", "", err
	}
	branch = i.Else
	if ok {
		branch = i.Then
	}
	return branch, fmt.Sprintf("the condition is %t: %s", ok, condition.String()), nil
}
