package action

import (
	"slices"

	"github.com/ingot-image/ingot/builder/component"
)

// Samples of loops in the user guide of the service spell the inputs of two actions otherwise than the reference of these actions does.
// Documents may have been copied from there.

// sampleExecuteBinary accepts commands: {path, args}, also as the only item of a list, for path and arguments; and args for arguments.
func sampleExecuteBinary(inputs *component.Node) *component.Node {
	if commands := onlyEntry(inputs, "commands"); commands != nil {
		if commands.Kind == component.List && len(commands.Items) == 1 {
			commands = commands.Items[0]
		}
		if commands.Get("path") == nil {
			return inputs
		}
		inputs = commands
	}
	if inputs.Get("args") == nil || inputs.Get("arguments") != nil {
		return inputs
	}
	renamed := *inputs
	renamed.Entries = slices.Clone(inputs.Entries)
	for i, e := range renamed.Entries {
		if e.Key == "args" {
			renamed.Entries[i].Key = "arguments"
		}
	}
	return &renamed
}

// sampleS3Upload accepts commands: [{source, destination}] for the list itself.
func sampleS3Upload(inputs *component.Node) *component.Node {
	if commands := onlyEntry(inputs, "commands"); commands != nil && commands.Kind == component.List {
		return commands
	}
	return inputs
}

// onlyEntry returns the value of a map that has this key and no other.
func onlyEntry(n *component.Node, key string) *component.Node {
	if n.Kind != component.Map || len(n.Entries) != 1 {
		return nil
	}
	return n.Get(key)
}
