package preflight

import (
	"context"
	"errors"
)

// xenDrivers looks for what instance types before Nitro need: t2, m4 and their generation.
func xenDrivers() Check {
	return Check{
		ID: "D03", Title: "the default kernel has Xen's drivers, for instance types before Nitro (R1)", Needs: NeedSystem,
		Looks:     "modules.dep and modules.builtin of the default kernel, and the files in its initramfs",
		Levels:    Levels{ImportImage: Warning, ImportSnapshot: Warning, EBSDirect: Warning},
		Prevents:  "no message: instances of Xen types (t2, m4, c4, …) do not boot, or have no network",
		Fix:       "add xen-blkfront to the initramfs and xen-netfront to the modules, or launch the AMI on Nitro types only",
		Component: readiness, Parameter: "Drivers",
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			if t.architecture() == arm64 {
				return nil, meaningless("instance types of arm64 are all Nitro's")
			}
			k := t.kernel()
			if k == nil || !k.Modules && k.Initrd == nil {
				return nil, errors.New("the drivers of the default kernel are not known")
			}
			var seen []Seen
			if d := driver(k, "xen_blkfront"); d.Kernel != "builtin" && !d.Initrd {
				if k.Initrd != nil && k.Initrd.Problem != "" {
					return nil, unreadable(k)
				}
				where := k.Path
				if k.Initrd != nil {
					where = k.Initrd.Path
				}
				seen = append(seen, Seen{Where: where, What: "xen-blkfront is neither in the initramfs nor built in"})
			}
			if d := driver(k, "xen_netfront"); d.Kernel == "" && !d.Initrd {
				seen = append(seen, Seen{Where: "/lib/modules/" + k.Version, What: "no module xen-netfront, nor is it built in"})
			}
			return seen, nil
		},
	}
}
