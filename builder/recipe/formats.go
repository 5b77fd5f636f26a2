package recipe

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ingot-image/ingot/disk"
)

// format adds an entry of the list of formats: a name, or a mapping with the name and options.
func (d *Distribution) format(item field) {
	var o mapping
	name := item
	if item.node.Kind == yaml.MappingNode {
		o = item.mapping("", nil)
		var ok bool
		if name, ok = o.require("format", "name one of "+formatNames()); !ok {
			return
		}
	}
	format, ok := word(name, disk.Formats())
	if !ok {
		return
	}
	if slices.Contains(d.Formats, format) {
		item.problem(fmt.Sprintf("%s is named twice", format), "remove one of them")
		return
	}
	d.Formats = append(d.Formats, format)
	var options disk.Options
	for _, key := range o.order {
		if key == "format" {
			continue
		}
		f, known := o.fields[key], disk.OptionKeys(format)
		if !slices.Contains(known, key) {
			hint := didYouMean(key, known)
			if hint == "" && len(known) > 0 {
				hint = "it has " + strings.Join(known, ", ")
			}
			f.problem(fmt.Sprintf("%s has no such option", format), hint)
			continue
		}
		if f.node.Kind != yaml.ScalarNode || f.node.ShortTag() == "!!null" {
			f.wrongType("a string or a number")
		} else if err := options.Set(key, f.node.Value); err != nil {
			f.problem(err.Error(), "")
		}
	}
	if err := options.Check(format); err != nil {
		item.problem(err.Error(), "")
	}
	if options != (disk.Options{}) {
		if d.Options == nil {
			d.Options = map[Format]disk.Options{}
		}
		d.Options[format] = options
	}
}

func formatNames() string {
	var names []string
	for _, f := range disk.Formats() {
		names = append(names, string(f))
	}
	return strings.Join(names, ", ")
}
