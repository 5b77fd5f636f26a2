package action

import (
	"context"
	"fmt"

	"github.com/ingot-image/ingot/builder/component"
)

// Reboot reboots the machine and goes on with the next step.
//
//	steps:
//	  - name: Restart
//	    action: Reboot
//	    inputs:
//	      delaySeconds: 10
type Reboot struct {
	// DelaySeconds is how long to wait before the reboot.
	DelaySeconds int `input:"delaySeconds" default:"0"`
}

// CheckInputs implements [component.InputsChecker].
func (in *Reboot) CheckInputs(report func(input, message, hint string)) {
	const day = 24 * 60 * 60
	if in.DelaySeconds < 0 || in.DelaySeconds > day {
		report("delaySeconds", fmt.Sprintf("must be between 0 and %d", day), "")
	}
}

// Run implements [component.Action].
func (in Reboot) Run(context.Context, *component.Execution) (component.Outcome, error) {
	return component.Outcome{Reboot: &component.RebootRequest{DelaySeconds: in.DelaySeconds}}, nil
}
