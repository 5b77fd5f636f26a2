package component

import (
	"fmt"
	"strings"
)

// keep remembers the inputs and outputs of a step if later steps refer to them.
func (x *run) keep(key stepName, c ChainedStep) error {
	s := x.state
	if x.scopes[s.Document].referred[key] == nil {
		return nil
	}
	steps := x.scopes[s.Document].steps
	if before := steps[key]; before != nil {
		x.forget(before)
	}
	c.Document, c.Phase, c.Step = s.Document, key.phase, key.step
	if x.chained+c.size() > maxChained {
		return fmt.Errorf("the inputs and outputs that later steps refer to are larger than %s", size(maxChained))
	}
	x.chained += c.size()
	steps[key] = &c
	s.Chained = append(s.Chained, c)
	return nil
}

// forget removes what an earlier attempt left.
func (x *run) forget(c *ChainedStep) {
	x.chained -= c.size()
	delete(x.scopes[c.Document].steps, stepName{c.Phase, c.Step})
	for i, kept := range x.state.Chained {
		if kept.Document == c.Document && kept.Phase == c.Phase && kept.Step == c.Step {
			x.state.Chained = append(x.state.Chained[:i], x.state.Chained[i+1:]...)
			return
		}
	}
}

// size is about the memory of the step's values, in bytes.
func (c *ChainedStep) size() int {
	total := nodeSize(c.Inputs)
	for _, item := range c.Outputs {
		for _, value := range item {
			total += len(value)
		}
	}
	return total
}

func nodeSize(n *Node) int {
	if n == nil {
		return 0
	}
	total := len(n.Text) + 64
	for _, item := range n.Items {
		total += nodeSize(item)
	}
	for _, e := range n.Entries {
		total += len(e.Key) + nodeSize(e.Value)
	}
	return total
}

// Bounds of [Result].Chaining, in bytes.
const (
	maxChainingText = 16 << 10 // of one value
	maxChaining     = 1 << 20  // of all values
)

// chaining tells what later steps referred to.
func (x *run) chaining() map[string]string {
	all := make(map[string]string)
	left := maxChaining
	tell := func(key, value string) {
		value = cutText(x.session.secrets.clean(value), min(maxChainingText, left))
		left -= len(value)
		all[key] = value
	}
	for _, c := range x.state.Chained {
		name := c.Phase + "." + c.Step
		if len(x.parsed) > 1 {
			name = fmt.Sprintf("%d.%s", c.Document, name)
		}
		items := []*Node{c.Inputs}
		list := c.Inputs != nil && c.Inputs.Kind == List
		if list {
			items = c.Inputs.Items
		}
		for i, item := range items {
			if item == nil {
				continue
			}
			for _, e := range item.Entries {
				tellNode(tell, itemField(name+".inputs", i, list)+"."+e.Key, e.Value)
			}
		}
		for i, item := range c.Outputs {
			for key, value := range item {
				tell(itemField(name+".outputs", i, list)+"."+key, value)
			}
		}
	}
	return all
}

// tellNode tells a text and the items of a list; there are no references to others.
func tellNode(tell func(key, value string), key string, n *Node) {
	switch n.Kind {
	case Scalar:
		tell(key, n.Text)
	case List:
		for i, item := range n.Items {
			if item.Kind == Scalar {
				tell(fmt.Sprintf("%s[%d]", key, i), item.Text)
			}
		}
	}
}

// cutText cuts a text that is longer than most, in bytes, and says so.
func cutText(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:max(most, 0)], "") + cutMark
}
