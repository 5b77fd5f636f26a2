package component

import (
	"fmt"
	"maps"
	"slices"
)

// referenceChecker finds references to what is not there, as far as that can be known before the document runs.
type referenceChecker struct {
	*parser
	document *Document
	locator  *locator
	names    []string              // of parameters and constants
	steps    map[stepName]position // where every step is
	here     position              // of the step that is being checked
	checked  map[string]mistake    // references of that step, by their text
}

type position struct{ phase, step int }

// mistake is what is wrong with a reference. The message is empty when nothing is.
type mistake struct{ message, hint string }

func (p *parser) references(d *Document, l *locator) {
	c := &referenceChecker{parser: p, document: d, locator: l, steps: make(map[stepName]position)}
	for _, parameter := range d.Parameters {
		c.names = append(c.names, parameter.Name)
	}
	for _, constant := range d.Constants {
		c.names = append(c.names, constant.Name)
	}
	for i, phase := range d.Phases {
		for j, step := range phase.Steps {
			if _, twice := c.steps[stepName{phase.Name, step.Name}]; !twice {
				c.steps[stepName{phase.Name, step.Name}] = position{i, j}
			}
		}
	}
	for i, phase := range d.Phases {
		for j, step := range phase.Steps {
			c.here, c.checked = position{i, j}, make(map[string]mistake)
			c.step(step, fmt.Sprintf("phases[%d].steps[%d]", i, j))
		}
	}
}

// step checks the places of a step where references may be.
func (c *referenceChecker) step(s Step, field string) {
	if s.If != nil {
		c.node(s.If.Condition, join(field, s.If.field))
	}
	if s.Loop != nil {
		for i, item := range s.Loop.ForEach {
			c.node(item, fmt.Sprintf("%s.loop.forEach[%d]", field, i))
		}
		c.node(s.Loop.List, field+".loop.forEach.list")
	}
	c.node(s.Inputs, field+".inputs")
}

func (c *referenceChecker) node(n *Node, field string) {
	if n == nil || c.full() {
		return
	}
	for i, item := range n.Items {
		c.node(item, fmt.Sprintf("%s[%d]", field, i))
	}
	for _, e := range n.Entries {
		c.node(e.Value, field+"."+e.Key)
	}
	if n.Kind != Scalar {
		return
	}
	references := c.scans.of(n.Text)
	if !slices.ContainsFunc(references, func(r reference) bool { return c.mistake(r).message != "" }) {
		return // where they stand is costly to find
	}
	offset := c.locator.offset(n)
	for _, r := range references {
		if c.full() {
			return
		}
		at := Node{Line: n.Line, Column: n.Column}
		offset = c.locator.find(n.Text[r.start:r.end], offset)
		if m := c.mistake(r); m.message != "" {
			if offset >= 0 {
				at.Line, at.Column = c.locator.position(offset)
			}
			c.at(&at, field, "{{ "+shorten(r.text)+" }}: "+m.message, m.hint)
		}
		if offset >= 0 {
			offset += r.end - r.start
		}
	}
}

func shorten(text string) string {
	const most = 120
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}

func (c *referenceChecker) mistake(r reference) mistake {
	m, known := c.checked[r.text]
	if !known {
		m.message, m.hint = c.check(r)
		c.checked[r.text] = m
	}
	return m
}

// check returns what is wrong with a reference, "" if nothing is.
func (c *referenceChecker) check(r reference) (message, hint string) {
	switch r.kind {
	case ssmReference:
		if r.stored == nil {
			return "this is no reference to a parameter of the Parameter Store", "write aws:ssm:NAME, aws:ssm:resolve(NAME) or aws:ssm:resolve(aws:ssm:NAME)"
		}
		return "", ""
	case loopReference:
		return "", "" // left as it is outside of loops
	case valueReference:
		if slices.Contains(c.names, r.name) || templateWord.MatchString(r.name) {
			return "", ""
		}
		return "no parameter or constant has this name", didYouMean(r.name, c.names,
			"define it; if the text is meant literally, write its braces with the help of a constant whose value is '{{'")
	}
	return c.checkChain(r)
}

func (c *referenceChecker) checkChain(r reference) (message, hint string) {
	key := stepName{r.phase, r.step}
	at, ok := c.steps[key]
	if !ok {
		return c.noStep(key)
	}
	if at.phase > c.here.phase || at.phase == c.here.phase && at.step >= c.here.step {
		return "the step does not run before this one", "a step may refer to earlier steps only"
	}
	step := c.document.Phases[at.phase].Steps[at.step]
	module, known := c.modules[step.Action]
	if !known || step.Inputs == nil && !r.outputs && !module.InputsOptional {
		return "", "" // reported where the step is
	}
	if r.item >= 0 {
		items := 1
		if module.list && step.Inputs != nil {
			items = len(step.Inputs.Items)
		}
		if r.item >= items {
			return fmt.Sprintf("the inputs of the step have %s only", plural(items, "item")), "indices start at 0"
		}
	}
	if r.outputs {
		return c.checkOutput(r, step.Action, module)
	}
	return c.checkInput(r, module, step)
}

func (c *referenceChecker) noStep(key stepName) (message, hint string) {
	phases := make(map[string][]string)
	for _, phase := range c.document.Phases {
		phases[phase.Name] = []string{}
		for _, step := range phase.Steps {
			phases[phase.Name] = append(phases[phase.Name], step.Name)
		}
	}
	steps, ok := phases[key.phase]
	if !ok {
		names := slices.Sorted(maps.Keys(phases))
		return fmt.Sprintf("the document has no phase %s", quote(key.phase)), didYouMean(key.phase, names, knownNames("it has", names))
	}
	return fmt.Sprintf("the phase %s has no step %s", key.phase, quote(key.step)), didYouMean(key.step, steps, knownNames("it has", steps))
}

func (c *referenceChecker) checkOutput(r reference, action string, module Module) (message, hint string) {
	switch {
	case len(module.Outputs) == 0:
		return fmt.Sprintf("the action %s has no outputs", action), ""
	case !slices.Contains(module.Outputs, r.key):
		return fmt.Sprintf("the action %s has no output %s", action, quote(r.key)),
			didYouMean(r.key, module.Outputs, knownNames("it has", module.Outputs))
	case r.index >= 0:
		return fmt.Sprintf("the output %s is a text and has no items", r.key), "leave the index after it out"
	}
	return "", ""
}

func (c *referenceChecker) checkInput(r reference, module Module, step Step) (message, hint string) {
	inputs := step.Inputs
	if module.list {
		if inputs.Kind != List || len(inputs.Items) == 0 {
			return "", "" // reported where the step is
		}
		if r.item < 0 && len(inputs.Items) > 1 {
			return fmt.Sprintf("the inputs of the step have %s", plural(len(inputs.Items), "item")), "say which one, as in inputs[0]"
		}
		inputs = inputs.Items[max(r.item, 0)]
	}
	value := inputs.Get(r.key)
	if value == nil {
		var names []string
		if inputs != nil {
			for _, e := range inputs.Entries {
				names = append(names, e.Key)
			}
		}
		return fmt.Sprintf("the step does not set the input %s", quote(r.key)), didYouMean(r.key, names, knownNames("it sets", names))
	}
	if r.index >= 0 && value.Kind != List {
		return fmt.Sprintf("the input %s is no list", r.key), "leave the index after it out"
	}
	if r.index >= 0 && r.index >= len(value.Items) {
		return fmt.Sprintf("the input %s has %s only", r.key, plural(len(value.Items), "item")), "indices start at 0"
	}
	return "", ""
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
