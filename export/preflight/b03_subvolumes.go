package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// subvolumes looks for what AWS does not follow in Btrfs.
func subvolumes() Check {
	return Check{
		ID: "B03", Title: "a root file system of Btrfs has no subvolumes", Needs: NeedSystem,
		Looks:       "where in a Btrfs the system is, and the mount options of /etc/fstab",
		Levels:      Levels{ImportImage: Fatal, ImportSnapshot: Warning, EBSDirect: Warning},
		Prevents:    unknownOS,
		Fix:         "import by import-snapshot or ebs-direct, which look at no file system, or move the system to the top subvolume",
		NoComponent: "a system cannot be moved to another file system while it runs from its own",
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			root := t.rootVolume()
			if root == nil || root.Type != "btrfs" {
				return nil, meaningless("the root file system is no Btrfs")
			}
			var seen []Seen
			for _, m := range t.Root.Mounted {
				if m.Subvolume != "" {
					seen = append(seen, Seen{Where: m.Device, What: fmt.Sprintf("%s is the subvolume %s", m.Target, m.Subvolume)})
				}
			}
			if len(seen) > 0 {
				return seen, nil
			}
			for _, m := range t.Report.System.Fstab {
				for option := range strings.SplitSeq(m.Options, ",") {
					if name, value, ok := strings.Cut(option, "="); ok && m.Type == "btrfs" && (name == "subvol" || name == "subvolid") && !slices.Contains([]string{"/", "5", "0"}, value) {
						seen = append(seen, Seen{Where: fmt.Sprintf("/etc/fstab:%d", m.Line), What: fmt.Sprintf("%s is mounted by %s", m.Target, option)})
					}
				}
			}
			return seen, nil
		},
	}
}
