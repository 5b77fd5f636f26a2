//go:build !windows

package action

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/ingot-image/ingot/builder/component"
)

// packageName is what a package may be called. It keeps options (-o) and apt's install and remove marks (name-) out of command lines.
var packageName = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9.+:~*_-]*[A-Za-z0-9.+*_])?$`)

// update installs the updates that are included, of all if there are none, but not those that are excluded.
func (in UpdateOS) update(ctx context.Context, x *component.Execution, include, exclude []string) (*component.RebootRequest, error) {
	for _, name := range slices.Concat(in.Include, in.Exclude) {
		if !packageName.MatchString(name) {
			return nil, fmt.Errorf("update the system: %q is no name of a package", name)
		}
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
			if err := manager.update(ctx, x, include, exclude); err != nil {
				return nil, fmt.Errorf("update the system by %s: %w", manager.program, err)
			}
			return nil, nil
		}
	}
	return nil, errors.New("update the system: none of apt-get, dnf and yum is on this machine")
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
