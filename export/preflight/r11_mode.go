package preflight

import "context"

// bootModeOfAMI is the part of R11 that is not on the disk: which boot modes AWS takes. Whether the disk can, C03 says.
func bootModeOfAMI() Check {
	const where = "the boot mode that was asked for"
	return Check{
		ID: "R11", Title: "the boot mode that was asked for is one of the path and the architecture (the disk's part: C03)", Needs: NeedDisk,
		Looks:       "what was asked for: --boot-mode and --architecture",
		Levels:      Levels{ImportImage: Fatal, ImportSnapshot: Fatal, EBSDirect: Fatal},
		Prevents:    "InvalidParameterValue: the boot mode is not supported",
		Fix:         "ask for legacy-bios, uefi or uefi-preferred as the disk can: --boot-mode",
		NoComponent: "it is about what was asked for, not about what is in the image",
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			mode := t.Request.BootMode
			switch {
			case mode == "":
				return nil, nil
			case mode != "legacy-bios" && mode != "uefi" && mode != "uefi-preferred":
				return []Seen{{Where: where, What: mode + " is no boot mode"}}, nil
			case mode == "uefi-preferred" && t.Request.Path == ImportImage:
				return []Seen{{Where: where, What: "uefi-preferred, which import-image does not take", Fix: "ask for legacy-bios or uefi, or import by import-snapshot"}}, nil
			case mode != "uefi" && t.architecture() == arm64:
				return []Seen{{Where: where, What: mode + " for arm64, whose instances boot by UEFI only", Fix: "ask for uefi"}}, nil
			}
			return nil, nil
		},
	}
}
