package reference

import (
	"fmt"
	"maps"

	"github.com/ingot-image/ingot/builder/component"
)

// conditions defines a condition for every depth, and the if of a step.
func conditions() object {
	definitions := make(object)
	for depth := range component.MaxLogicalDepth + 1 {
		definitions[fmt.Sprintf("condition.%d", depth)] = condition(depth, nil)
	}
	branch := func(when, otherwise string) object {
		return object{
			"description": "What to do when the condition is " + when + ". The default is " + otherwise + ".",
			"enum":        []any{component.Execute, component.Skip, component.AbortStep}, "default": otherwise,
		}
	}
	one := condition(0, object{"then": branch("true", "Execute"), "else": branch("false", "Skip")})
	definitions["if.condition"] = one
	definitions["if"] = object{"anyOf": []any{
		ref("if.condition"),
		object{"type": "array", "minItems": 1, "maxItems": 1, "items": ref("if.condition")},
	}}
	return definitions
}

// spellings are other names of operators, which the samples of the service have.
var spellings = map[string]string{
	"stringLessThan": "stringlessThan", "stringLessThanEquals": "stringlessThanEquals",
}

// condition defines a condition below depth logical operators: one operator, with the second key that it takes.
func condition(depth int, more object) object {
	properties := object{
		"value": described(ref("text"), "What is compared: the comparison reads value OPERATOR operand."),
		"path":  described(ref("full"), "The file whose hash is compared."),
	}
	maps.Copy(properties, more)
	needs := make(object)
	var one []any
	for _, o := range component.Operators() {
		if o.Logical && depth == component.MaxLogicalDepth {
			continue
		}
		names := []string{o.Name}
		if other, ok := spellings[o.Name]; ok {
			names = append(names, other)
		}
		for _, name := range names {
			one = append(one, object{"required": []string{name}})
			properties[name] = operand(o, depth)
			needs[name] = second(o)
		}
	}
	c := closed(properties)
	c["oneOf"], c["dependencies"] = one, needs
	return c
}

func operand(o component.Operator, depth int) object {
	if !o.Logical {
		return ref("text")
	}
	below := ref(fmt.Sprintf("condition.%d", depth+1))
	if o.Name == "not" {
		return object{"anyOf": []any{below, object{"type": "array", "minItems": 1, "maxItems": 1, "items": below}}}
	}
	return object{"type": "array", "minItems": 1, "items": below}
}

// second says which of value and path must stand beside an operator, and which must not.
func second(o component.Operator) object {
	absent := func(key string) object { return object{"not": object{"required": []string{key}}} }
	switch o.Second {
	case "value":
		return object{"required": []string{"value"}, "allOf": []any{absent("path")}}
	case "path":
		return object{"required": []string{"path"}, "allOf": []any{absent("value")}}
	}
	return object{"allOf": []any{absent("value"), absent("path")}}
}

// loops defines the loop of a step.
func loops() object {
	whole := object{"anyOf": []any{object{"type": "integer"}, object{"type": "string", "pattern": `^\s*[-+]?[0-9]+\s*$`}}}
	loop := closed(object{
		"name": object{"type": "string", "pattern": "^[A-Za-z0-9_-]{1,128}$",
			"description": "A name, so that {{ NAME.index }} and {{ NAME.value }} stand for those of the iteration."},
		"for": described(closed(object{
			"start":    described(whole, "The first number."),
			"end":      described(whole, "The last number."),
			"updateBy": described(object{"allOf": []any{whole, object{"not": object{"enum": []any{0, "0"}}}}}, "What is added each time, not 0."),
		}, "start", "end", "updateBy"), "Counts."),
		"forEach": object{
			"description": "Goes over a list, or over a text that is taken apart.",
			"anyOf": []any{
				object{"type": "array", "minItems": 1, "maxItems": component.MaxIterations, "items": ref("text")},
				closed(object{
					"list": described(ref("full"), "The text."),
					"delimiter": object{"description": "Where the text is taken apart.", "default": ",",
						"enum": []any{".", ",", ";", ":", "\n", "\t", `\n`, `\t`, " ", "-", "_"}},
				}, "list"),
			},
		},
	})
	loop["oneOf"] = []any{object{"required": []string{"for"}}, object{"required": []string{"forEach"}}}
	return object{"loop": loop}
}
