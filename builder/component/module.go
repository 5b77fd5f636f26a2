package component

import (
	"context"
	"reflect"
	"slices"
	"strings"
)

// Modules are the actions a document may use, by their name in documents.
type Modules map[string]Module

// For returns the modules as they are on an operating system, by its name in Go: those that do not run there stay known, but a document
// that uses one is wrong. A [Runner] does this itself for the system it runs on.
func (ms Modules) For(goos string) Modules {
	platform := goos
	if goos == "darwin" {
		platform = "macOS"
	}
	narrowed := make(Modules, len(ms))
	for name, m := range ms {
		if !slices.Contains(m.platforms(), platform) {
			m.elsewhere = strings.Join(m.platforms(), ", ")
		}
		narrowed[name] = m
	}
	return narrowed
}

// Module is an action: the declaration of its inputs and outputs, and the code that does it. [MapModule] and [ListModule]
// make one of an [Action].
type Module struct {
	Spec
	inputs    reflect.Type
	list      bool
	elsewhere string // the platforms it runs on, when the one that documents are read for is none of them
	check     func(node *Node, d *Decoder, field string)
	run       func(ctx context.Context, x *Execution, inputs *Node) (itemOutcomes, error)
}

// Spec declares what cannot be read off a module's inputs.
type Spec struct {
	// Outputs are the names that later steps may refer to.
	Outputs []string
	// InputsOptional allows steps without inputs.
	InputsOptional bool
	// Platforms are those the action runs on: linux, windows, macOS. Empty means all three.
	Platforms []string
	// Unlimited means that its steps have no timeout and one attempt, and must not say otherwise.
	Unlimited bool
	// Rewrite gives inputs that are in another accepted spelling the standard one, and returns any other as they are. It must not change
	// the node it gets. May be nil.
	Rewrite func(inputs *Node) *Node
}

func (s Spec) platforms() []string {
	if len(s.Platforms) == 0 {
		return []string{"linux", "windows", "macOS"}
	}
	return s.Platforms
}

// Shapes of the inputs of a [Module].
const (
	ShapeMap  = "map"  // one map
	ShapeList = "list" // a list of maps
)

// Shape tells whether the inputs are one map or a list of maps: [ShapeMap] or [ShapeList].
func (m Module) Shape() string {
	if m.list {
		return ShapeList
	}
	return ShapeMap
}

// InputField describes one input of a [Module].
type InputField struct {
	// Name is that of documents, GoField that of the field of the action's struct.
	Name, GoField string
	// Type is string, boolean, integer, string list, map (of strings) or any.
	Type string
	// Default is what an input that is not given counts as. Empty when there is none.
	Default  string
	Required bool
}

// InputFields returns the inputs in the order of their declaration. There are none for actions that decode their inputs themselves.
func (m Module) InputFields() []InputField {
	if reflect.PointerTo(m.inputs).Implements(reflect.TypeFor[InputsDecoder]()) {
		return nil
	}
	var fields []InputField
	for _, f := range inputFields(m.inputs) {
		field := m.inputs.FieldByIndex(f.index)
		fields = append(fields, InputField{
			Name: f.name, GoField: field.Name, Type: inputType(field.Type), Default: f.preset, Required: f.required,
		})
	}
	return fields
}

// Inputs is the type of the action's struct.
func (m Module) Inputs() reflect.Type { return m.inputs }

// Outcome is what an action gives back when it succeeds.
type Outcome struct {
	// Outputs are values for later steps, by the names of [Spec].
	Outputs map[string]string
	// Reboot asks for a reboot.
	Reboot *RebootRequest
}

// RebootRequest asks for a reboot of the machine.
type RebootRequest struct {
	DelaySeconds int
	// Rerun runs the same step again after the reboot, otherwise the run goes on with the next one.
	Rerun bool
}

// itemOutcomes holds the outcome of every item of a list module; a map module has one.
type itemOutcomes struct {
	outputs []map[string]string
	reboot  *RebootRequest
}

// Action is the inputs of a step together with what to do with them. A struct whose fields carry the tags that [Decoder] describes, or an
// [InputsDecoder].
type Action interface {
	Run(ctx context.Context, x *Execution) (Outcome, error)
}

// MapModule returns a module whose inputs are one map, decoded into a T.
func MapModule[T Action](spec Spec) Module { return newModule[T](spec, false) }

// ListModule returns a module whose inputs are a list of maps, each decoded into a T. They run one after the other; the first error ends
// the step.
func ListModule[T Action](spec Spec) Module { return newModule[T](spec, true) }

func newModule[T Action](spec Spec, list bool) Module {
	m := Module{Spec: spec, list: list, inputs: reflect.TypeFor[T]()}
	fields := inputFields(m.inputs)
	m.check = func(node *Node, d *Decoder, field string) {
		d.decode(fields, new(T), node, field)
	}
	m.run = func(ctx context.Context, x *Execution, inputs *Node) (itemOutcomes, error) {
		items := []*Node{inputs}
		if list {
			items = inputs.Items
		}
		decoded := make([]T, len(items))
		var d Decoder
		for i, item := range items {
			d.decode(fields, &decoded[i], item, itemField("inputs", i, list))
		}
		if err := d.problems.Err(); err != nil {
			return itemOutcomes{}, &inputsError{d.problems}
		}
		var all itemOutcomes
		for _, in := range decoded {
			if err := ctx.Err(); err != nil {
				return all, context.Cause(ctx)
			}
			outcome, err := in.Run(ctx, x)
			all.outputs = append(all.outputs, outcome.Outputs)
			if outcome.Reboot != nil {
				all.reboot = outcome.Reboot
			}
			if err != nil {
				return all, err
			}
		}
		return all, nil
	}
	return m
}

// inputsError says that the inputs of a step make no sense after their references were resolved. Another attempt would not help.
type inputsError struct{ problems Problems }

func (e *inputsError) Error() string {
	var messages []string
	for _, p := range e.problems {
		p.Line, p.Column = 0, 0 // of the reference's node, which says nothing about its value
		messages = append(messages, p.String())
	}
	return strings.Join(messages, "; ")
}
