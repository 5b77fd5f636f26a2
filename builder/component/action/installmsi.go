package action

import (
	"context"
	"fmt"

	"github.com/ingot-image/ingot/builder/component"
)

// InstallMSI installs a package of Windows Installer with msiexec, without questions. The exit statuses 0, 1614, 1641 and 3010 of msiexec
// mean success; the reboot that the last two ask for is made as the input reboot says, and the run goes on with the next step.
//
// The package's Authenticode signature must be valid, unless allowUnsignedInstaller or ignoreAuthenticodeSignatureErrors is true.
//
// The outputs are logFile, the path of the log, msiExitCode, the exit status of msiexec, and stdout, what it printed.
//
//	steps:
//	  - name: InstallAgent
//	    action: InstallMSI
//	    inputs:
//	      path: https://example.com/agent-1.2-x64.msi
//	      logFile: C:\logs\agent.log
//	      properties:
//	        INSTALLDIR: C:\Program Files\Example Agent
type InstallMSI struct{ MSI }

// Run implements [component.Action].
func (in InstallMSI) Run(ctx context.Context, x *component.Execution) (component.Outcome, error) {
	outcome, err := in.msiexec(ctx, x, "InstallMSI", "/i", 0, 1614, 1641, 3010)
	if err != nil {
		return outcome, fmt.Errorf("install MSI %s: %w", in.shortPath(), err)
	}
	return outcome, nil
}
