package grants

import (
	"maps"
	"strconv"
	"strings"

	"github.com/ingot-image/ingot/builder/component"
)

// objects are what a document may read or write in S3: an object, or with tree also all below it.
type objects struct {
	address pattern
	owner   pattern // of the bucket; empty if the document names none
	write   bool
	tree    bool
	// document is set where the object is a component document, which grants what it names itself.
	document *nested
}

// nested is a document that another one runs.
type nested struct {
	reference  pattern
	parameters values
	depth      int
}

// Bounds of the analysis. maxIterations is of a loop whose values are looked at one by one; of longer ones they may be anything.
const (
	maxIterations = 256
	maxDepth      = 3    // of documents in documents, as package component has it
	maxDocuments  = 1000 // nested ones that are looked at
)

// add grants what the document names, in the phases of the request if it has any.
func (s *set) add(document *component.Document, given values, phases []string, depth int) {
	v := values{}
	for _, p := range document.Parameters {
		if value, ok := given[p.Name]; ok {
			v[p.Name] = value
		} else if p.Default != nil {
			v[p.Name] = literal(*p.Default)
		}
	}
	for _, c := range document.Constants {
		v[c.Name] = literal(c.Value)
	}
	for _, phase := range document.Phases {
		if len(phases) > 0 && !contains(phases, phase.Name) {
			continue
		}
		for _, step := range phase.Steps {
			if step.If != nil {
				s.scan(step.If.Condition, v)
			}
			for _, iteration := range s.iterations(step.Loop, v) {
				s.scan(step.Inputs, iteration)
				s.step(step, iteration, depth)
			}
		}
	}
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if strings.TrimSpace(n) == name {
			return true
		}
	}
	return false
}

// iterations gives the values of every iteration of a step; without a loop there is one.
func (s *set) iterations(loop *component.Loop, v values) []values {
	if loop == nil {
		return []values{v}
	}
	var over []pattern
	switch {
	case loop.For != nil:
		f := *loop.For
		for i := f.Start; len(over) <= maxIterations && (f.UpdateBy > 0 && i <= f.End || f.UpdateBy < 0 && i >= f.End); i += f.UpdateBy {
			over = append(over, literal(strconv.FormatInt(i, 10)))
		}
	case loop.List != nil:
		list := v.expand(loop.List.Text, s.grantParameter)
		if text, ok := list.plain(); ok {
			for item := range strings.SplitSeq(text, loop.Delimiter) {
				over = append(over, literal(item))
			}
		}
	default:
		for _, item := range loop.ForEach {
			over = append(over, v.expand(item.Text, s.grantParameter))
		}
	}
	if len(over) == 0 || len(over) > maxIterations {
		return []values{v.in(loop, anything(), anything())}
	}
	all := make([]values, len(over))
	for i, value := range over {
		all[i] = v.in(loop, literal(strconv.Itoa(i)), value)
	}
	return all
}

// in adds the values that references to a loop have.
func (v values) in(loop *component.Loop, index, value pattern) values {
	more := maps.Clone(v)
	for _, name := range []string{"loop", loop.Name} {
		if name != "" {
			more[name+".index"], more[name+".value"] = index, value
		}
	}
	return more
}

// scan finds the references to stored parameters.
func (s *set) scan(n *component.Node, v values) {
	if n == nil {
		return
	}
	if strings.Contains(n.Text, storedPrefix) {
		v.expand(n.Text, s.grantParameter)
	}
	for _, item := range n.Items {
		s.scan(item, v)
	}
	for _, e := range n.Entries {
		s.scan(e.Value, v)
	}
}

// step grants what the actions that reach S3 and other documents say.
func (s *set) step(step component.Step, v values, depth int) {
	items := []*component.Node{step.Inputs}
	if step.Inputs != nil && step.Inputs.Kind == component.List {
		items = step.Inputs.Items
	}
	for _, in := range items {
		text := func(key string) pattern {
			if n := in.Get(key); n != nil {
				return v.expand(n.Text, func(pattern) {})
			}
			return nil
		}
		switch step.Action {
		case "S3Download":
			s.grantObjects(objects{address: text("source"), owner: text("expectedBucketOwner")})
		case "S3Upload":
			s.grantObjects(objects{address: text("destination"), owner: text("expectedBucketOwner"), write: true, tree: true})
		case "InstallMSI", "UninstallMSI":
			s.grantObjects(objects{address: text("path")})
		case "ExecuteDocument":
			if depth < maxDepth {
				document := &nested{reference: text("document"), parameters: v.parameters(in.Get("parameters")), depth: depth + 1}
				s.grantObjects(objects{address: document.reference, owner: text("document-s3-bucket-owner"), document: document})
				s.grantDocument(document)
			}
		}
	}
}

// parameters reads a list of {name, value}.
func (v values) parameters(list *component.Node) values {
	given := values{}
	if list == nil {
		return given
	}
	for _, item := range list.Items {
		name, value := item.Get("name"), item.Get("value")
		if name == nil || value == nil {
			continue
		}
		if plain, ok := v.expand(name.Text, func(pattern) {}).plain(); ok {
			given[plain] = v.expand(value.Text, func(pattern) {})
		}
	}
	return given
}
