package component

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// maxResolved bounds the inputs of a step after their references were replaced, in bytes.
const maxResolved = 16 << 20

// scope holds what references stand for while a document runs.
type scope struct {
	values map[string]string // of parameters and constants
	steps  map[stepName]*ChainedStep
	// referred are the steps whose values later steps want.
	referred map[stepName]map[string]bool
}

// resolver replaces the references of one step.
type resolver struct {
	scope
	iteration *iteration                        // of the step's loop, nil without
	stored    func(name string) (string, error) // values of the Parameter Store
	left      int                               // bytes
}

// resolver returns what resolves the references of the current step.
func (x *run) resolver(ctx context.Context, i *iteration) *resolver {
	stored := func(name string) (string, error) { return x.session.stored.value(ctx, name) }
	return &resolver{x.scopes[x.state.Document], i, stored, maxResolved}
}

// node returns the node with all references replaced by their values, in a single pass. The node itself is not changed.
func (r *resolver) node(n *Node) (*Node, error) {
	if n == nil {
		return nil, nil
	}
	resolved := *n
	var err error
	switch n.Kind {
	case Scalar:
		resolved.Text, err = r.text(n.Text)
	case List:
		resolved.Items = make([]*Node, len(n.Items))
		for i, item := range n.Items {
			if resolved.Items[i], err = r.node(item); err != nil {
				return nil, err
			}
		}
	case Map:
		resolved.Entries = make([]Entry, len(n.Entries))
		for i, e := range n.Entries {
			resolved.Entries[i] = e
			if resolved.Entries[i].Value, err = r.node(e.Value); err != nil {
				return nil, err
			}
		}
	}
	return &resolved, err
}

func (r *resolver) text(text string) (string, error) {
	references := scanReferences(text)
	if len(references) == 0 {
		return text, r.spend(len(text))
	}
	var b strings.Builder
	at := 0
	for _, ref := range references {
		value, replaced, err := r.value(ref)
		if err != nil {
			return "", fmt.Errorf("resolve {{ %s }}: %w", shorten(ref.text), err)
		}
		if !replaced {
			value = text[ref.start:ref.end]
		}
		if err := r.spend(ref.start - at + len(value)); err != nil {
			return "", err
		}
		b.WriteString(text[at:ref.start])
		b.WriteString(value)
		at = ref.end
	}
	b.WriteString(text[at:])
	return b.String(), r.spend(len(text) - at)
}

func (r *resolver) spend(bytes int) error {
	if r.left -= bytes; r.left < 0 {
		return &finalError{fmt.Errorf("resolve references: the inputs of the step become larger than %d MiB", maxResolved>>20)}
	}
	return nil
}

// value returns what a reference stands for; replaced is false for text that stays as it is.
func (r *resolver) value(ref reference) (value string, replaced bool, err error) {
	switch ref.kind {
	case valueReference:
		value, replaced = r.values[ref.name]
		if !replaced && !templateWord.MatchString(ref.name) {
			err = &finalError{errors.New("the parameter has no value")}
		}
		return value, replaced, err
	case chainReference:
		value, err = r.chained(ref)
		return value, true, err
	case loopReference:
		value, replaced = r.iteration.lookup(ref)
		return value, replaced, nil
	case ssmReference:
		value, err = r.storedValue(ref.stored)
		return value, true, err
	}
	return "", false, nil
}

func (r *resolver) chained(ref reference) (string, error) {
	value, err := r.chainedValue(ref)
	if err != nil {
		err = &finalError{err}
	}
	return value, err
}

func (r *resolver) chainedValue(ref reference) (string, error) {
	step, ok := r.steps[stepName{ref.phase, ref.step}]
	switch {
	case !ok:
		return "", fmt.Errorf("the step was not executed in this run; was the phase %s selected?", ref.phase)
	case step.Skipped:
		return "", errors.New("the step was skipped by its if")
	}
	if ref.outputs {
		var values []string
		for i, item := range step.Outputs {
			if value, ok := item[ref.key]; ok && (ref.item < 0 || ref.item == i) {
				values = append(values, value)
			}
		}
		if len(values) == 0 {
			return "", errors.New("the step gave no such output")
		}
		return strings.Join(values, "\n"), nil
	}
	inputs := step.Inputs
	if inputs != nil && inputs.Kind == List {
		i := max(ref.item, 0)
		if i >= len(inputs.Items) {
			return "", errors.New("the inputs of the step have no such item")
		}
		inputs = inputs.Items[i]
	}
	value := inputs.Get(ref.key)
	if value != nil && value.Kind == List {
		return listText(value.Items, ref.index)
	}
	if value == nil || value.Kind != Scalar {
		return "", errors.New("the step sets no such input to a text")
	}
	return value.Text, nil
}

func listText(items []*Node, index int) (string, error) {
	if index >= len(items) {
		return "", errors.New("the input has no such item")
	}
	if index >= 0 {
		items = items[index : index+1]
	}
	texts := make([]string, len(items))
	for i, item := range items {
		if item.Kind != Scalar && item.Kind != Null {
			return "", errors.New("the input is no list of texts")
		}
		texts[i] = item.Text
	}
	return strings.Join(texts, "\n"), nil
}

// finalError is an error that another attempt would not mend.
type finalError struct{ err error }

func (e *finalError) Error() string { return e.err.Error() }
func (e *finalError) Unwrap() error { return e.err }
