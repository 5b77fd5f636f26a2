package action

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"

	"github.com/ingot-image/ingot/builder/component"
)

// updateScript asks the Windows Update Agent, which is a COM API made for scripts.
//
//go:embed updateos.ps1
var updateScript string

// update installs the updates that are included, of all if there are none, but not those that are excluded.
func (in UpdateOS) update(ctx context.Context, x *component.Execution, include, exclude []string) (*component.RebootRequest, error) {
	x = x.With("INGOT_INCLUDE="+strings.Join(include, "\n"), "INGOT_EXCLUDE="+strings.Join(exclude, "\n"))
	err := runPowerShell(ctx, x, updateScript)
	if exit, ok := errors.AsType[*component.ExitError](err); ok && exit.Code == rebootExitCode {
		return &component.RebootRequest{Rerun: true}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("update the system by Windows Update: %w", err)
	}
	return nil, nil
}
