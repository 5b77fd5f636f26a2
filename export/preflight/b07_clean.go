package preflight

import "context"

// cleanFileSystems wants a system that was shut down: what waits in a journal is replayed at the first boot at best, and AWS mounts before that.
func cleanFileSystems() Check {
	return Check{
		ID: "B07", Title: "file systems were unmounted cleanly", Needs: NeedDisk,
		Looks:    "the superblocks of ext2, ext3, ext4 and Btrfs, and the last record in the log of XFS",
		Levels:   Levels{ImportImage: Warning, ImportSnapshot: Warning, EBSDirect: Warning},
		Prevents: "FirstBootFailure",
		Fix:      "shut the machine down and export it again; or replay the journal: e2fsck -fy, or mount and unmount it", Fixable: true,
		NoComponent: "every build ends with all file systems unmounted",
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			var seen []Seen
			for _, v := range t.Report.FileSystems {
				ext := v.Type == "ext2" || v.Type == "ext3" || v.Type == "ext4"
				switch {
				case v.NeedsRecovery:
					seen = append(seen, Seen{Where: v.Device, What: "the journal of " + v.Type + " waits to be replayed", NotFixable: !ext})
				case v.Unclean:
					seen = append(seen, Seen{Where: v.Device, What: v.Type + " was not cleanly unmounted, or has recorded errors", NotFixable: !ext})
				}
			}
			return seen, nil
		},
	}
}
