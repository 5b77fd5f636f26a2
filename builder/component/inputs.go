package component

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Decoder decodes the inputs of a step into a struct and collects what is wrong with them. The struct's fields say what they take:
//
//	type inputs struct {
//		Path     string   `input:"path,required"`
//		Mode     fileMode `input:"permissions"`           // an encoding.TextUnmarshaler
//		Force    bool     `input:"force" default:"true"`
//		Delay    int      `input:"delaySeconds"`
//		Packages []string `input:"include"`
//	}
//
// Fields may also be *[Node], for values of any kind, map[string]string, and embedded structs. A required string or list must not be
// empty. A type with other needs implements [InputsDecoder]; one whose fields depend on each other implements [InputsChecker].
//
// A document is checked before its references have values. Then a scalar with a reference passes as whatever its field wants, and is
// decoded again just before the step runs.
type Decoder struct {
	file     string
	static   bool // references have no values yet
	scans    scans
	problems Problems
}

// InputsDecoder is implemented by pointers to inputs that decode themselves. The node is nil when the step has no inputs.
type InputsDecoder interface {
	DecodeInputs(d *Decoder, node *Node, field string)
}

// InputsChecker is implemented by pointers to inputs whose values must fit together. It is called when every single field is right,
// and reports under the name of an input. What it reports of an input whose value is not known yet is dropped.
type InputsChecker interface {
	CheckInputs(report func(input, message, hint string))
}

// Report adds a problem with a node.
func (d *Decoder) Report(node *Node, field, message, hint string) {
	if len(d.problems) >= maxProblems {
		return
	}
	p := Problem{File: d.file, Field: field, Message: message, Hint: hint}
	if node != nil {
		p.Line, p.Column = node.Line, node.Column
	}
	d.problems = append(d.problems, p)
}

// Deferred tells whether the value of a node, or a part of it, is not known yet.
func (d *Decoder) Deferred(node *Node) bool {
	if !d.static || node == nil {
		return false
	}
	switch node.Kind {
	case Scalar:
		return len(d.scans.of(node.Text)) > 0
	case List:
		return slices.ContainsFunc(node.Items, d.Deferred)
	case Map:
		return slices.ContainsFunc(node.Entries, func(e Entry) bool { return d.Deferred(e.Value) })
	}
	return false
}

func (d *Decoder) decode(fields []inputField, target any, node *Node, field string) {
	if custom, ok := target.(InputsDecoder); ok {
		custom.DecodeInputs(d, node, field)
		return
	}
	if node == nil {
		node = &Node{Kind: Map}
	}
	if node.Kind != Map {
		d.Report(node, field, "must be a map of inputs, not "+node.describe(), "")
		return
	}
	before := len(d.problems)
	d.unknown(fields, node, field)
	value := reflect.ValueOf(target).Elem()
	for _, f := range fields {
		place := value.FieldByIndex(f.index)
		given := node.Get(f.name)
		path := field + "." + f.name
		switch {
		case given != nil && given.Kind != Null:
			d.value(place, given, path, f.required)
		case f.required && given != nil:
			d.Report(given, path, "has no value", "")
		case f.required:
			d.Report(node, path, "is missing", "the action needs it")
		case f.preset != "":
			d.value(place, &Node{Kind: Scalar, Text: f.preset}, path, false)
		}
	}
	checker, ok := target.(InputsChecker)
	if !ok || len(d.problems) > before {
		return
	}
	checker.CheckInputs(func(input, message, hint string) {
		given := node.Get(input)
		if d.Deferred(given) {
			return
		}
		if given == nil {
			given = node
		}
		d.Report(given, field+"."+input, message, hint)
	})
}

func (d *Decoder) unknown(fields []inputField, node *Node, field string) {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	for _, e := range node.Entries {
		if !slices.Contains(names, e.Key) {
			at := &Node{Line: e.Line, Column: e.Column}
			fallback := knownNames("the action knows", names)
			if len(names) == 0 {
				fallback = "the action takes none"
			}
			d.Report(at, field+"."+e.Key, "unknown input "+quote(e.Key), didYouMean(e.Key, names, fallback))
		}
	}
}

// value decodes one input.
func (d *Decoder) value(place reflect.Value, node *Node, field string, required bool) {
	if node.wrong {
		return
	}
	switch place.Interface().(type) {
	case *Node:
		place.Set(reflect.ValueOf(node))
		return
	case []string:
		if node.Kind != List {
			d.Report(node, field, "must be a list, not "+node.describe(), "write every item on a line of its own after \"- \"")
			return
		}
		if required && len(node.Items) == 0 {
			d.Report(node, field, "is an empty list", "")
		}
		items := make([]string, len(node.Items))
		for i, item := range node.Items {
			if len(d.problems) >= maxProblems {
				break
			}
			if item.Kind == Null || item.wrong {
				continue // null is an empty line of a script
			}
			d.scalar(reflect.ValueOf(&items[i]).Elem(), item, fmt.Sprintf("%s[%d]", field, i), false)
		}
		place.Set(reflect.ValueOf(items))
		return
	case map[string]string:
		if node.Kind != Map {
			d.Report(node, field, "must be a map, not "+node.describe(), "")
			return
		}
		entries := make(map[string]string, len(node.Entries))
		for _, e := range node.Entries {
			var text string
			d.scalar(reflect.ValueOf(&text).Elem(), e.Value, field+"."+e.Key, false)
			entries[e.Key] = text
		}
		place.Set(reflect.ValueOf(entries))
		return
	}
	d.scalar(place, node, field, required)
}

func (d *Decoder) scalar(place reflect.Value, node *Node, field string, required bool) {
	if node.Kind != Scalar {
		d.Report(node, field, "must be a single value, not "+node.describe(), node.insteadOfText())
		return
	}
	deferred := d.Deferred(node)
	if required && !deferred && node.Text == "" {
		d.Report(node, field, "is empty", "")
		return
	}
	switch p := place.Addr().Interface().(type) {
	case encoding.TextUnmarshaler:
		if deferred {
			return
		}
		if err := p.UnmarshalText([]byte(node.Text)); err != nil {
			d.Report(node, field, err.Error(), "")
		}
	case *string:
		*p = node.Text
	case *bool:
		if deferred {
			return
		}
		value, ok := parseBool(node.Text)
		if !ok {
			d.Report(node, field, "must be true or false, not "+node.describe(), "")
		}
		*p = value
	case *int:
		if deferred {
			return
		}
		value, err := strconv.Atoi(strings.TrimSpace(node.Text))
		if err != nil {
			d.Report(node, field, "must be a whole number, not "+node.describe(), "")
		}
		*p = value
	default:
		panic(fmt.Sprintf("component: inputs of type %s are not supported", place.Type())) // a mistake of the module's author
	}
}

func parseBool(text string) (value, ok bool) {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "true", "yes", "on":
		return true, true
	case "false", "no", "off":
		return false, true
	}
	return false, false
}

// inputField is what the tags of a field say.
type inputField struct {
	name, preset string
	required     bool
	index        []int
}

// inputFields reads the tags of a struct; a type that is none has its own decoder.
func inputFields(t reflect.Type) []inputField {
	if t.Kind() != reflect.Struct {
		return nil
	}
	var fields []inputField
	for _, f := range reflect.VisibleFields(t) {
		tag, ok := f.Tag.Lookup("input")
		if !ok {
			continue
		}
		name, option, _ := strings.Cut(tag, ",")
		fields = append(fields, inputField{name: name, preset: f.Tag.Get("default"), required: option == "required", index: f.Index})
	}
	return fields
}

// inputType names the type of an input for [InputField].
func inputType(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[*Node]():
		return "any"
	case t == reflect.TypeFor[[]string]():
		return "string list"
	case t == reflect.TypeFor[map[string]string]():
		return "map"
	case reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		return "string"
	case t.Kind() == reflect.Bool:
		return "boolean"
	case t.Kind() == reflect.Int:
		return "integer"
	}
	return "string"
}

// itemField is the path of an item of a list module, or of a map module's inputs.
func itemField(field string, i int, list bool) string {
	if list {
		return fmt.Sprintf("%s[%d]", field, i)
	}
	return field
}
