package action

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/ingot-image/ingot/builder/component"
)

// UpdateOS installs the updates of the distribution's packages, by apt-get, dnf or yum, whichever is there first. Packages are updated, and
// new ones installed where updates need them, but none is removed; changed configuration files are kept as they are.
//
//	steps:
//	  - name: Update
//	    action: UpdateOS
//	    inputs:
//	      exclude: [nginx]
type UpdateOS struct {
	// Include are the packages to update. Default: all.
	Include []string `input:"include"`
	// Exclude are packages to leave alone, even if they are included.
	Exclude []string `input:"exclude"`
}

// packageName is what a package may be called. It keeps options (-o) and apt's install and remove marks (name-) out of command lines.
var packageName = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9.+:~*_-]*[A-Za-z0-9.+*_])?$`)

// CheckInputs implements [component.InputsChecker].
func (in *UpdateOS) CheckInputs(report func(input, message, hint string)) {
	for input, names := range map[string][]string{"include": in.Include, "exclude": in.Exclude} {
		for _, name := range names {
			if !packageName.MatchString(name) {
				report(input, fmt.Sprintf("%q is no name of a package", name), "")
			}
		}
	}
}

// Run implements [component.Action].
func (in UpdateOS) Run(ctx context.Context, x *component.Execution) (component.Outcome, error) {
	return component.Outcome{}, in.update(ctx, x)
}

func (in UpdateOS) update(ctx context.Context, x *component.Execution) error {
	wanted := slices.DeleteFunc(slices.Clone(in.Include), func(name string) bool { return slices.Contains(in.Exclude, name) })
	if len(in.Include) > 0 && len(wanted) == 0 {
		x.Notice("every package to update is excluded as well; nothing to do")
		return nil
	}
	managers := []struct {
		program string
		update  func(ctx context.Context, x *component.Execution, include, exclude []string) error
	}{
		{"apt-get", updateByApt},
		{"dnf", updateByRPM("dnf")},
		{"yum", updateByRPM("yum")},
	}
	for _, manager := range managers {
		if _, err := x.LookPath(manager.program); err == nil {
			if err := manager.update(ctx, x, wanted, in.Exclude); err != nil {
				return fmt.Errorf("update the system by %s: %w", manager.program, err)
			}
			return nil
		}
	}
	return errors.New("update the system: none of apt-get, dnf and yum is on this machine")
}

func updateByRPM(program string) func(ctx context.Context, x *component.Execution, include, exclude []string) error {
	return func(ctx context.Context, x *component.Execution, include, exclude []string) error {
		args := []string{"-y", "update"}
		for _, name := range exclude {
			args = append(args, "--exclude="+name)
		}
		return x.Run(ctx, program, append(args, include...)...)
	}
}
