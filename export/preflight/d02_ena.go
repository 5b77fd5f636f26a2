package preflight

import (
	"context"
	"errors"
)

// enaDriver is R2 too: network adapters of instances on Nitro are ENA's.
func enaDriver() Check {
	return Check{
		ID: "D02", Title: "the default kernel has the network driver ena (R2)", Needs: NeedSystem,
		Looks:     "modules.dep and modules.builtin of the default kernel",
		Levels:    Levels{ImportImage: Warning, ImportSnapshot: Fatal, EBSDirect: Fatal},
		Prevents:  "no message: the instance has no network",
		Fix:       "install the kernel's full set of modules (linux-modules-extra, kernel-modules), or a kernel of 4.9 or later",
		Component: readiness, Parameter: "Drivers",
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			k := t.kernel()
			if k == nil {
				return nil, errors.New("the default kernel is not known")
			}
			d := driver(k, "ena")
			switch {
			case d.Kernel != "" || d.Initrd:
				return nil, nil
			case !k.Modules && k.Initrd != nil && k.Initrd.Problem != "":
				return nil, unreadable(k)
			case !k.Modules && k.Initrd == nil:
				return nil, errors.New("no modules of kernel " + k.Version + ": what is built into it is not known")
			}
			return []Seen{{Where: "/lib/modules/" + k.Version, What: "no module ena, nor is it built in"}}, nil
		},
	}
}
