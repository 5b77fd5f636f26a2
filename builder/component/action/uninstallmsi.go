package action

import (
	"context"
	"fmt"

	"github.com/ingot-image/ingot/builder/component"
)

// UninstallMSI removes what a package of Windows Installer installed, with msiexec and without questions. Inputs, signature and the outputs
// logFile, msiExitCode and stdout are those of [InstallMSI]; the exit status 1605 of msiexec, which says that the product is not installed, means success as well.
//
//	steps:
//	  - name: RemoveAgent
//	    action: UninstallMSI
//	    inputs:
//	      path: C:\packages\agent-1.2-x64.msi
//	      reboot: Skip
type UninstallMSI struct{ MSI }

// Run implements [component.Action].
func (in UninstallMSI) Run(ctx context.Context, x *component.Execution) (component.Outcome, error) {
	outcome, err := in.msiexec(ctx, x, "UninstallMSI", "/x", 0, 1605, 1614, 1641, 3010)
	if err != nil {
		return outcome, fmt.Errorf("uninstall MSI %s: %w", in.shortPath(), err)
	}
	return outcome, nil
}
