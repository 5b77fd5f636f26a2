package reference

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/ingot-image/ingot/builder/component"
)

// object is a part of the schema. JSON sorts its keys, so that it comes out the same every time.
type object = map[string]any

// Draft 7 is what the YAML language server, and with it most editors, understands in full.
const draft = "http://json-schema.org/draft-07/schema#"

// Bounds of the service that documents must keep to. A test holds them against the parser.
const (
	namePattern    = "^[A-Za-z0-9_-]{3,128}$" // of parameters and constants
	maxParameters  = 25
	maxValueLength = 1024
)

func encode(o object) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(o)
	return b.Bytes(), err
}

// schema describes component documents that use the given actions.
func schema(modules component.Modules, c *comments) object {
	definitions := scalars()
	maps.Copy(definitions, conditions())
	maps.Copy(definitions, loops())
	definitions["step"] = step(modules, c)
	for name, m := range modules {
		definitions["inputs."+name] = inputs(newPage(name, m, c))
	}
	document := closed(object{
		"name":          described(ref("text"), "A name for people. It is not that of the component."),
		"description":   described(ref("text"), "What the document does."),
		"schemaVersion": object{"description": "The version of the language: 1.0.", "enum": []any{1.0, "1.0"}},
		"parameters": object{
			"description": "Values that the caller may give.", "type": "array", "maxItems": maxParameters,
			"items": named(closed(object{
				"type":        object{"description": "The only type is string.", "const": "string"},
				"default":     described(ref("value"), "The value if the caller gives none. Without it the caller must give one."),
				"description": described(ref("text"), "What the parameter is for."),
			}, "type")),
		},
		"constants": object{
			"description": "Values that the caller cannot change.", "type": "array",
			"items": named(closed(object{
				"type":  object{"description": "The only type is string.", "const": "string"},
				"value": described(ref("value"), "The value."),
			}, "type", "value")),
		},
		"phases": object{
			"description": "The phases, in the order in which they run.", "type": "array", "minItems": 1,
			"items": closed(object{
				"name": object{
					"description": "build and validate run while an image is built, test while it is tested. Other names are tolerated.",
					"anyOf": []any{
						object{"enum": []any{component.PhaseBuild, component.PhaseValidate, component.PhaseTest, component.PhaseContainerHostTest}},
						object{"type": "string", "minLength": 1},
					},
				},
				"steps": object{"description": "The steps, in the order in which they run.", "type": "array", "minItems": 1, "items": ref("step")},
			}, "name", "steps"),
		},
	}, "schemaVersion", "phases")
	document["$schema"] = draft
	document["title"] = "Component document"
	document["description"] = "A component document of EC2 Image Builder (AWSTOE), schemaVersion 1.0, as Ingot reads it."
	document["definitions"] = definitions
	return document
}

// closed is a map that has no other keys than these.
func closed(properties object, required ...string) object {
	o := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		o["required"] = required
	}
	return o
}

// named is a map with a single key, a name.
func named(value object) object {
	return object{
		"type": "object", "minProperties": 1, "maxProperties": 1,
		"propertyNames": object{"pattern": namePattern}, "additionalProperties": value,
	}
}

func ref(definition string) object { return object{"$ref": "#/definitions/" + definition} }

// described adds a description. Draft 7 ignores what stands beside a $ref.
func described(o object, text string) object {
	if _, ok := o["$ref"]; ok {
		return object{"description": text, "allOf": []any{o}}
	}
	described := maps.Clone(o)
	described["description"] = text
	return described
}

// scalars defines the single values. A text may be written as a number or a boolean; whatever may have references may be a text with one.
func scalars() object {
	reference := object{"type": "string", "pattern": `\{\{[\s\S]*\}\}`}
	return object{
		"text":      object{"type": []any{"string", "number", "boolean"}},
		"full":      object{"type": []any{"string", "number", "boolean"}, "minLength": 1},
		"value":     object{"type": []any{"string", "number", "boolean"}, "maxLength": maxValueLength},
		"reference": reference,
		"boolean": object{"anyOf": []any{
			object{"type": "boolean"},
			object{"type": "string", "pattern": `^\s*([Tt][Rr][Uu][Ee]|[Yy][Ee][Ss]|[Oo][Nn]|[Ff][Aa][Ll][Ss][Ee]|[Nn][Oo]|[Oo][Ff][Ff])\s*$`},
			ref("reference"),
		}},
		"integer": object{"anyOf": []any{
			object{"type": "integer"}, object{"type": "string", "pattern": `^\s*[-+]?[0-9]+\s*$`}, ref("reference"),
		}},
	}
}

// step defines a step; what its inputs are depends on its action.
func step(modules component.Modules, c *comments) object {
	names := slices.Sorted(maps.Keys(modules))
	summaries := make([]string, len(names))
	rules := make([]any, 0, len(names))
	for i, name := range names {
		m := modules[name]
		summaries[i] = newPage(name, m, c).summary()
		then := object{"properties": object{"inputs": ref("inputs." + name)}}
		if !m.InputsOptional {
			then["required"] = []string{"inputs"}
		}
		if m.Unlimited {
			then["properties"].(object)["timeoutSeconds"] = object{"enum": []any{-1, "-1"}}
			then["properties"].(object)["maxAttempts"] = object{"enum": []any{1, "1"}}
		}
		rules = append(rules, object{
			"if":   object{"properties": object{"action": object{"const": name}}, "required": []string{"action"}},
			"then": then,
		})
	}
	o := closed(object{
		"name":   described(ref("full"), "The name, which no other step of the phase has."),
		"action": object{"description": "What the step does.", "enum": names, "enumDescriptions": summaries}, // the latter for editors
		"timeoutSeconds": object{
			"description": "How long an attempt may take, in seconds; -1 for no limit.", "default": int(component.DefaultTimeout.Seconds()),
			"anyOf": []any{object{"const": -1}, object{"type": "integer", "minimum": 1}, object{"type": "string", "pattern": `^(-1|\+?0*[1-9][0-9]*)$`}},
		},
		"maxAttempts": object{
			"description": "How often the step is tried.", "default": component.DefaultAttempt,
			"anyOf": []any{object{"type": "integer", "minimum": 1}, object{"type": "string", "pattern": `^\+?0*[1-9][0-9]*$`}},
		},
		"onFailure": object{
			"description": "What happens after the last attempt has failed: Abort ends the run, Continue goes on with the next step, " +
				"Ignore does so and fails nothing.",
			"enum": []any{component.Abort, component.Continue, component.Ignore}, "default": component.Abort,
		},
		"if":     described(ref("if"), "A condition that decides whether the step runs. It is evaluated once."),
		"loop":   described(ref("loop"), "Runs the step several times."),
		"inputs": object{"description": "What the action is to work with."},
	}, "name", "action")
	o["allOf"] = rules
	return o
}

// inputs defines what an action takes.
func inputs(p page) object {
	m := p.module
	item := ref("condition.0") // the one action that decodes its inputs itself
	if fields := m.InputFields(); len(fields) > 0 {
		properties := make(object)
		var required []string
		for _, f := range fields {
			if f.Required {
				required = append(required, f.Name)
			}
			properties[f.Name] = described(input(f), p.field(f))
		}
		item = closed(properties, required...)
	}
	if m.Shape() == component.ShapeList {
		item = object{"type": "array", "minItems": 1, "items": item}
	}
	if m.InputsOptional {
		item = object{"anyOf": []any{item, object{"type": "null"}}}
	}
	return item
}

func input(f component.InputField) object {
	var o object
	switch f.Type {
	case "boolean", "integer":
		o = ref(f.Type)
	case "string list":
		o = object{"type": "array", "items": ref("text")}
		if f.Required {
			o["minItems"] = 1
		}
	case "map":
		o = object{"type": "object", "additionalProperties": ref("text")}
	case "string":
		o = ref("text")
		if f.Required {
			o = ref("full")
		}
	case "any":
		o = object{"not": object{"type": "null"}}
	default:
		panic(fmt.Sprintf("reference: inputs of type %s are not in the schema", f.Type))
	}
	if !f.Required {
		o = object{"anyOf": []any{o, object{"type": "null"}}} // counts as not given
	}
	if f.Default != "" {
		o["default"] = f.Default
	}
	return o
}
