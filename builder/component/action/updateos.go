package action

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ingot-image/ingot/builder/component"
)

// UpdateOS installs the updates of the operating system.
//
// On Linux these are those of the distribution's packages, by apt-get, dnf or yum, whichever is there first. Packages are updated, and new
// ones installed where updates need them, but none is removed; changed configuration files are kept as they are.
//
// On Windows these are those that Windows Update finds, optional ones only if they are included by name. When they need it the machine
// reboots, then the step runs again, for updates that only others have made possible.
//
//	steps:
//	  - name: Update
//	    action: UpdateOS
//	    inputs:
//	      exclude: [nginx]
type UpdateOS struct {
	// Include are the packages to update. On Windows the updates to install: KB4012212 or 4012212, or a title, in which * stands for any
	// characters. Default: all.
	Include []string `input:"include"`
	// Exclude are packages or updates to leave alone, even if they are included.
	Exclude []string `input:"exclude"`
}

// CheckInputs implements [component.InputsChecker]. It reports what is a name on no platform: a document for Windows may be checked on Linux.
func (in *UpdateOS) CheckInputs(report func(input, message, hint string)) {
	for input, names := range map[string][]string{"include": in.Include, "exclude": in.Exclude} {
		for _, name := range names {
			if err := checkUpdateName(name); err != nil {
				report(input, err.Error(), "")
			}
		}
	}
}

func checkUpdateName(name string) error {
	if strings.TrimSpace(name) == "" || strings.ContainsAny(name, "\r\n\x00") || strings.HasPrefix(name, "-") {
		return fmt.Errorf("%q is no name of a package", name)
	}
	return nil
}

// Run implements [component.Action].
func (in UpdateOS) Run(ctx context.Context, x *component.Execution) (component.Outcome, error) {
	wanted := slices.DeleteFunc(slices.Clone(in.Include), func(name string) bool { return slices.Contains(in.Exclude, name) })
	if len(in.Include) > 0 && len(wanted) == 0 {
		x.Notice("everything to update is excluded as well; nothing to do")
		return component.Outcome{}, nil
	}
	reboot, err := in.update(ctx, x, wanted, in.Exclude)
	return component.Outcome{Reboot: reboot}, err
}
