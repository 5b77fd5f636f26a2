package component

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// MaxIterations is how many iterations a loop may have. The service tells of no limit.
const MaxIterations = 10_000

// Loop runs a step once for every value of a list. One of For, ForEach and List is set.
type Loop struct {
	// Name lets the step say {{ Name.index }} and {{ Name.value }} besides {{ loop.index }} and {{ loop.value }}. May be empty.
	Name string
	// For counts.
	For *LoopFor
	// ForEach are the values, with their references.
	ForEach []*Node
	// List is a text, with its references, that Delimiter takes apart into the values.
	List         *Node
	Delimiter    string
	Line, Column int
}

// LoopFor is a loop over numbers: Start, Start + UpdateBy and so on, not beyond End.
type LoopFor struct{ Start, End, UpdateBy int64 }

// iterations returns how many numbers there are. UpdateBy must lead from Start to End.
func (f LoopFor) iterations() uint64 {
	distance, stride := uint64(f.End)-uint64(f.Start), uint64(f.UpdateBy) // in two's complement, so that nothing overflows
	if f.UpdateBy < 0 {
		distance, stride = -distance, -stride
	}
	if n := distance / stride; n < 1<<63 {
		return n + 1
	}
	return 1 << 63
}

var loopName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// loop reads the loop of a step. The map holds the lines of the names that loops of the phase have.
func (p *parser) loop(step *Node, field string, seen map[string]int) *Loop {
	n := step.Get("loop")
	if n == nil {
		return nil
	}
	field = join(field, "loop")
	if n.Kind != Map {
		p.at(n, field, "must be a map with for or forEach, not "+n.describe(), "")
		return nil
	}
	p.known(n, field, []string{"name", "for", "forEach"}, nil)
	l := &Loop{Line: n.Line, Column: n.Column}
	var named bool
	if l.Name, named = p.text(n, field, "name", false); named {
		if !loopName.MatchString(l.Name) {
			p.at(n.Get("name"), join(field, "name"), fmt.Sprintf("the name %s is not allowed", quote(l.Name)), "names have 1 to 128 letters, digits, - and _")
		}
		p.unique(n, field, l.Name, "loop", seen)
	}
	counted, each := n.Get("for"), n.Get("forEach")
	switch {
	case counted != nil && each != nil:
		p.at(n, field, "has both for and forEach", "a loop has one of them")
	case counted != nil:
		l.For = p.loopFor(counted, join(field, "for"))
	case each != nil:
		p.forEach(l, each, join(field, "forEach"))
	default:
		p.at(n, field, "has neither for nor forEach", "")
	}
	return l
}

func (p *parser) loopFor(n *Node, field string) *LoopFor {
	if n.Kind != Map {
		p.at(n, field, "must be a map with start, end and updateBy, not "+n.describe(), "")
		return nil
	}
	p.known(n, field, []string{"start", "end", "updateBy"}, nil)
	var f LoopFor
	start := p.integer(n, field, "start", &f.Start)
	end := p.integer(n, field, "end", &f.End)
	update := p.integer(n, field, "updateBy", &f.UpdateBy)
	if !start || !end || !update {
		return nil
	}
	switch by := n.Get("updateBy"); {
	case f.UpdateBy == 0:
		p.at(by, join(field, "updateBy"), "is 0, so that the loop would never end", "")
	case f.Start < f.End && f.UpdateBy < 0, f.Start > f.End && f.UpdateBy > 0:
		p.at(by, join(field, "updateBy"), fmt.Sprintf("leads from %d away from %d, so that the loop would never end", f.Start, f.End), "give it the other sign")
	case f.iterations() > MaxIterations:
		p.at(n, field, fmt.Sprintf("has %d iterations, more than %d", f.iterations(), MaxIterations), "")
	default:
		return &f
	}
	return nil
}

func (p *parser) integer(n *Node, field, key string, value *int64) bool {
	text, ok := p.text(n, field, key, true)
	if !ok {
		return false
	}
	var err error
	if *value, err = strconv.ParseInt(strings.TrimSpace(text), 10, 64); err != nil {
		p.at(n.Get(key), join(field, key), "must be a whole number, not "+quote(text), p.noReference(text))
	}
	return err == nil
}

// delimiters are those of the service.
func delimiters() []string { return []string{".", ",", ";", ":", "\n", "\t", " ", "-", "_"} }

func (p *parser) forEach(l *Loop, n *Node, field string) {
	switch n.Kind {
	case List:
		switch {
		case len(n.Items) == 0:
			p.at(n, field, "is an empty list", "")
		case len(n.Items) > MaxIterations:
			p.at(n, field, fmt.Sprintf("has more than %d items", MaxIterations), "")
		}
		for i, item := range n.Items {
			if item.Kind != Scalar {
				p.at(item, fmt.Sprintf("%s[%d]", field, i), "must be a text, not "+item.describe(), "")
			}
		}
		l.ForEach = n.Items
	case Map:
		p.known(n, field, []string{"list", "delimiter"}, nil)
		if _, ok := p.text(n, field, "list", true); ok {
			l.List = n.Get("list")
		}
		l.Delimiter = ","
		if text, ok := p.text(n, field, "delimiter", false); ok {
			l.Delimiter = p.delimiter(n.Get("delimiter"), join(field, "delimiter"), text)
		}
	default:
		p.at(n, field, "must be a list, or a map with list and delimiter, not "+n.describe(), "")
	}
}

func (p *parser) delimiter(n *Node, field, text string) string {
	text = strings.NewReplacer(`\n`, "\n", `\t`, "\t").Replace(text) // in single quotes YAML leaves them as they are
	if !slices.Contains(delimiters(), text) {
		p.at(n, field, "unknown delimiter "+quote(text), `it is one of . , ; : \n \t space - _`)
	}
	return text
}

// iteration is one pass of a loop.
type iteration struct {
	name  string
	index int
	value string
}

// lookup returns what {{ loop.index }} and the like stand for.
func (i *iteration) lookup(ref reference) (value string, ok bool) {
	if i == nil || ref.name != "loop" && ref.name != i.name {
		return "", false
	}
	if strings.HasSuffix(ref.text, ".index") {
		return strconv.Itoa(i.index), true
	}
	return i.value, true
}

// values returns what the loop runs over. An empty list has no values.
func (l *Loop) values(r *resolver) ([]string, error) {
	var values []string
	switch {
	case l.For != nil:
		for i := range l.For.iterations() {
			values = append(values, strconv.FormatInt(l.For.Start+int64(i)*l.For.UpdateBy, 10))
		}
	case l.List != nil:
		text, err := r.text(l.List.Text)
		if err != nil {
			return nil, err
		}
		if text != "" {
			values = strings.Split(text, l.Delimiter)
		}
	default:
		for _, n := range l.ForEach {
			text, err := r.text(n.Text)
			if err != nil {
				return nil, err
			}
			values = append(values, text)
		}
	}
	if len(values) > MaxIterations {
		return nil, &finalError{fmt.Errorf("the loop has %d values, more than %d", len(values), MaxIterations)}
	}
	return values, nil
}

// loop runs the iterations of an attempt that are still to do.
func (a *attempt) loop(ctx context.Context) ended {
	s := a.state
	values, err := a.step.Loop.values(a.resolver(ctx, nil))
	if err != nil {
		return ended{err: fmt.Errorf("values of the loop: %w", err)}
	}
	s.Iterations = len(values)
	if len(values) == 0 {
		a.output.notice("the list of the loop is empty; nothing is done")
	}
	last := ended{inputs: a.step.Inputs}
	for s.Iteration < len(values) {
		a.output.next()
		last = a.once(ctx, &iteration{a.step.Loop.Name, s.Iteration, values[s.Iteration]})
		if last.err != nil {
			last.err = iterationError(ctx, s.Iteration, last.err)
			failed := s.Iteration
			s.FailedIteration = &failed
			break
		}
		if last.stays {
			return last
		}
		a.merge(last.outputs)
		s.Iteration++
		s.Reboots = 0
		if last.reboot != nil && s.Iteration < len(values) {
			last.stays = true
			return last
		}
	}
	last.outputs = s.merged()
	return last
}

func iterationError(ctx context.Context, index int, err error) error {
	if _, stuck := errors.AsType[*stuckError](err); stuck {
		return fmt.Errorf("iteration %d of the loop: %w", index, err)
	}
	if timeout, ok := errors.AsType[*timeoutError](context.Cause(ctx)); ok {
		return fmt.Errorf("the loop %w", timeout)
	}
	return fmt.Errorf("iteration %d of the loop failed: %w", index, err)
}

// merge adds the outputs of an iteration to those of the ones before.
func (a *attempt) merge(outputs []map[string]string) {
	s := a.state
	for i, item := range outputs {
		if i == len(s.LoopOutputs) {
			s.LoopOutputs = append(s.LoopOutputs, make(map[string][]string))
		}
		for key, value := range item {
			if room := MaxCaptured - s.LoopOutputSize; len(value) > room {
				if room > 0 {
					a.output.notice(fmt.Sprintf("the outputs of the loop end after %s", size(MaxCaptured)))
				}
				whole := []byte(value[:max(room, 0)])
				value = value[:a.secrets.cut(whole[:len(whole)-unfinishedRune(whole)])]
				s.LoopOutputSize = MaxCaptured
			}
			s.LoopOutputSize += len(value) + 1
			s.LoopOutputs[i][key] = append(s.LoopOutputs[i][key], value)
		}
	}
}

// merged returns the outputs of the successful iterations, joined by line feeds.
func (s *StepProgress) merged() []map[string]string {
	merged := make([]map[string]string, len(s.LoopOutputs))
	for i, item := range s.LoopOutputs {
		merged[i] = make(map[string]string, len(item))
		for key, values := range item {
			merged[i][key] = strings.Join(values, "\n")
		}
	}
	return merged
}
