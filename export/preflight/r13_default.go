package preflight

import (
	"context"
	"fmt"
	"strings"
)

// newestByDefault is the part of R13 that is not C03's or C04's: an update that is never booted, and a menu that waits for a key that nobody presses.
func newestByDefault() Check {
	return Check{
		ID: "R13", Title: "the newest kernel is booted by default, and no menu waits for a key (its files: C04)", Needs: NeedSystem,
		Looks:     "the versions of the kernels, and the boot loader's default and time-out",
		Levels:    Levels{ImportImage: Warning, ImportSnapshot: Warning, EBSDirect: Warning},
		Prevents:  "no message: instances run an old kernel, or stop at the menu",
		Fix:       "set GRUB_DEFAULT=0 and GRUB_TIMEOUT=1 in /etc/default/grub and run update-grub, or grubby --set-default of the newest kernel",
		Component: readiness,
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			var seen []Seen
			if kernels, k := t.Report.System.Kernels, t.kernel(); k != nil && kernels[0].Version != "" && k.Version != "" && kernels[0].Version != k.Version {
				seen = append(seen, Seen{Where: k.Path, What: fmt.Sprintf("kernel %s is the default, and %s is newer", k.Version, kernels[0].Version)})
			}
			for _, c := range t.Report.Boot.Configs {
				if c.Entries > 0 && (strings.HasPrefix(c.Timeout, "-") || c.Timeout == "menu-force") {
					seen = append(seen, Seen{Where: c.Path, What: "the time-out is " + c.Timeout + ": the menu waits for ever"})
				}
			}
			return seen, nil
		},
	}
}
