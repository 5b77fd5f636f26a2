package component

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

func standardPhases() []string {
	return []string{PhaseBuild, PhaseValidate, PhaseTest, PhaseContainerHostTest}
}

func (p *parser) phases(d *Document, root *Node) {
	items := p.list(root, "", "phases", true)
	seen := make(map[string]int)
	standard := false
	for i, n := range items {
		if p.full() {
			break
		}
		field := fmt.Sprintf("phases[%d]", i)
		if n.Kind != Map {
			p.at(n, field, "must be a map with name and steps, not "+n.describe(), "")
			continue
		}
		phase := Phase{Line: n.Line, Column: n.Column}
		p.known(n, field, []string{"name", "steps"}, nil)
		var named bool
		if phase.Name, named = p.text(n, field, "name", true); named {
			p.unique(n, field, phase.Name, "phase", seen)
			p.phaseName(n.Get("name"), field+".name", phase.Name)
			standard = standard || slices.Contains(standardPhases(), phase.Name)
		}
		p.steps(&phase, n, field)
		d.Phases = append(d.Phases, phase)
	}
	if len(items) > 0 && !standard && len(p.problems) == 0 {
		p.at(root.Get("phases"), "phases", "none of the phases is one that the service runs", knownNames("at least one must be", standardPhases()))
	}
}

// phaseName reports names that were probably meant to be one of the four.
func (p *parser) phaseName(n *Node, field, name string) {
	if slices.Contains(standardPhases(), name) {
		return
	}
	if near := nearest(name, standardPhases()); near != "" {
		p.at(n, field, "unknown phase "+quote(name), "did you mean "+quote(near)+"?")
	}
}

func (p *parser) unique(n *Node, field, name, what string, seen map[string]int) {
	value := n.Get("name")
	if line, ok := seen[name]; ok {
		p.at(value, field+".name", fmt.Sprintf("the %s %s is here twice", what, quote(name)), fmt.Sprintf("the first one is on line %d", line))
		return
	}
	seen[name] = value.Line
}

var stepFields = []string{"name", "action", "timeoutSeconds", "onFailure", "maxAttempts", "inputs", "if", "loop"}

func (p *parser) steps(phase *Phase, n *Node, field string) {
	seen, loops := make(map[string]int), make(map[string]int)
	for i, item := range p.list(n, field, "steps", true) {
		if p.full() {
			break
		}
		at := fmt.Sprintf("%s.steps[%d]", field, i)
		if item.Kind != Map {
			p.at(item, at, "must be a map with name, action and inputs, not "+item.describe(), "")
			continue
		}
		p.known(item, at, stepFields, nil)
		item = p.rewritten(item)
		step := Step{Line: item.Line, Column: item.Column, Inputs: item.Get("inputs")}
		if step.Inputs != nil && step.Inputs.Kind == Null {
			step.Inputs = nil // not given
		}
		var named bool
		if step.Name, named = p.text(item, at, "name", true); named {
			p.unique(item, at, step.Name, "step", seen)
		}
		step.Timeout = p.timeout(item, at)
		step.MaxAttempts = p.attempts(item, at)
		step.OnFailure = p.onFailure(item, at)
		step.If = p.condition(item, at)
		step.Loop = p.loop(item, at, loops)
		step.Action = p.action(item, at)
		if p.modules[step.Action].Unlimited {
			p.unlimited(&step, item, at)
		}
		phase.Steps = append(phase.Steps, step)
	}
}

func (p *parser) timeout(n *Node, field string) time.Duration {
	const key, most = "timeoutSeconds", int(1<<63-1) / int(time.Second)
	text, ok := p.text(n, field, key, false)
	if !ok {
		return DefaultTimeout
	}
	seconds, err := strconv.Atoi(strings.TrimSpace(text))
	switch {
	case err != nil:
		p.at(n.Get(key), join(field, key), "must be a whole number of seconds, not "+quote(text), p.noReference(text))
	case seconds == -1:
		return 0
	case seconds < 1 || seconds > most:
		p.at(n.Get(key), join(field, key), "must be at least 1, or -1 for no limit, not "+quote(text), "")
	default:
		return time.Duration(seconds) * time.Second
	}
	return DefaultTimeout
}

// unlimited reports limits of a step whose action has none.
func (p *parser) unlimited(step *Step, n *Node, field string) {
	if value := n.Get("timeoutSeconds"); value != nil && value.Kind != Null && step.Timeout != 0 {
		p.at(value, join(field, "timeoutSeconds"), fmt.Sprintf("the action %s has no timeout", step.Action), "leave it out, or say -1; the steps inside have timeouts")
	}
	if value := n.Get("maxAttempts"); value != nil && value.Kind != Null && step.MaxAttempts != 1 {
		p.at(value, join(field, "maxAttempts"), fmt.Sprintf("the action %s has one attempt", step.Action), "leave it out; the steps inside may have more")
	}
	step.Timeout, step.MaxAttempts = 0, 1
}

func (p *parser) attempts(n *Node, field string) int {
	const key = "maxAttempts"
	text, ok := p.text(n, field, key, false)
	if !ok {
		return DefaultAttempt
	}
	attempts, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || attempts < 1 {
		p.at(n.Get(key), join(field, key), "must be a whole number of at least 1, not "+quote(text), p.noReference(text))
		return DefaultAttempt
	}
	return attempts
}

func (p *parser) onFailure(n *Node, field string) OnFailure {
	const key = "onFailure"
	text, ok := p.text(n, field, key, false)
	if !ok {
		return Abort
	}
	switch value := OnFailure(text); value {
	case Abort, Continue, Ignore:
		return value
	}
	names := []string{string(Abort), string(Continue), string(Ignore)}
	p.at(n.Get(key), join(field, key), "unknown value "+quote(text), didYouMean(text, names, knownNames("known are", names)))
	return Abort
}

func (p *parser) noReference(text string) string {
	if strings.Contains(text, "{{") {
		return "references are for inputs only"
	}
	return ""
}

// rewritten returns a step whose inputs are in the standard spelling of its action.
func (p *parser) rewritten(step *Node) *Node {
	action, inputs := step.Get("action"), step.Get("inputs")
	if action == nil || inputs == nil {
		return step
	}
	rewrite := p.modules[action.Text].Rewrite
	if rewrite == nil {
		return step
	}
	changed := *step
	changed.Entries = slices.Clone(step.Entries)
	for i, e := range changed.Entries {
		if e.Key == "inputs" {
			changed.Entries[i].Value = rewrite(inputs)
		}
	}
	return &changed
}

// action returns the name of a known action whose inputs are right as far as can be told now.
func (p *parser) action(n *Node, field string) string {
	name, ok := p.text(n, field, "action", true)
	if !ok {
		return ""
	}
	if p.outline {
		return name
	}
	at, path := n.Get("action"), field+".action"
	module, known := p.modules[name]
	switch {
	case known && module.elsewhere != "":
		p.at(at, path, fmt.Sprintf("the action %s runs on %s only", name, module.elsewhere), "")
		return name
	case known:
	default:
		names := slices.Sorted(maps.Keys(p.modules))
		p.at(at, path, "unknown action "+quote(name), didYouMean(name, names, knownNames("known are", names)))
		return name
	}
	inputs := n.Get("inputs")
	if inputs != nil && inputs.Kind == Null {
		inputs = nil
	}
	d := Decoder{file: p.file, static: true, scans: p.scans}
	defer func() { p.take(&d) }()
	path = field + ".inputs"
	switch {
	case inputs == nil && module.InputsOptional:
		module.check(nil, &d, path)
	case inputs == nil:
		p.at(n, path, "is missing", fmt.Sprintf("the action %s needs inputs", name))
	case !module.list:
		if inputs.Kind == List {
			p.at(inputs, path, "must be a map, not a list", fmt.Sprintf("%s takes its inputs once, without \"- \"", name))
			return name
		}
		module.check(inputs, &d, path)
	case inputs.Kind != List:
		p.at(inputs, path, "must be a list, not "+inputs.describe(), fmt.Sprintf("%s takes any number of items, each after \"- \"", name))
	case len(inputs.Items) == 0:
		p.at(inputs, path, "is an empty list", fmt.Sprintf("the action %s needs inputs", name))
	default:
		for i, item := range inputs.Items {
			if len(d.problems) >= maxProblems {
				break
			}
			module.check(item, &d, itemField(path, i, true))
		}
	}
	return name
}
