package preflight

import (
	"context"
	"fmt"
	"strings"
)

// savedEntry follows what GRUB has saved as its default to an entry of the Boot Loader Specification (uapi-group.org).
func savedEntry() Check {
	return Check{
		ID: "C02", Title: "the saved entry of a GRUB with loader entries is one of them, and its files are there", Needs: NeedSystem,
		Looks:     "grubenv, the entries in /boot/loader/entries, and the files that the default one names",
		Levels:    Levels{ImportImage: Fatal, ImportSnapshot: Warning, EBSDirect: Warning},
		Prevents:  "ClientError: BLSC-style GRUB found, but unable to detect default kernel",
		Fix:       "set it: grub2-set-default ENTRY, or grubby --set-default KERNEL",
		Component: readiness,
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			grub := false
			for _, c := range t.Report.Boot.Configs {
				grub = grub || c.Kind == "grub" && t.usesEntries(strings.TrimPrefix(c.Path, "/"))
			}
			for _, c := range t.Report.Boot.Configs {
				if !grub || c.Kind != "bls" {
					continue
				}
				switch {
				case c.Default == "":
					return []Seen{{Where: "grubenv", What: fmt.Sprintf("no saved_entry, and %d entries in %s", c.Entries, c.Path)}}, nil
				case c.Problem != "":
					return []Seen{{Where: "grubenv", What: c.Problem}}, nil
				}
				var seen []Seen
				for _, e := range t.Report.Boot.Entries {
					if e.Config != c.Path || !e.Default {
						continue
					}
					for _, name := range append([]string{e.Kernel}, e.Initrds...) {
						if there, err := t.exists(name); err != nil {
							return nil, err
						} else if !there {
							seen = append(seen, Seen{Where: fmt.Sprintf("%s/%s.conf", c.Path, e.ID), What: name + " does not exist", Fix: "install the kernel again, or remove its entry"})
						}
					}
				}
				return seen, nil
			}
			return nil, meaningless("GRUB has no loader entries")
		},
	}
}
