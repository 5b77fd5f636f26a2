package preflight

import (
	"context"
	"errors"
	"fmt"

	"github.com/ingot-image/ingot/disk"
)

// checkedFileSystems is the part of R16 that is not B07: not only marked as clean, but clean.
func checkedFileSystems() Check {
	return Check{
		ID: "R16", Title: "e2fsck finds nothing wrong with the file systems (journals: B07)", Needs: NeedDisk,
		Looks:    "all of ext2, ext3 and ext4 by e2fsck -fn, in raw disks",
		Levels:   Levels{ImportImage: Warning, ImportSnapshot: Warning, EBSDirect: Warning},
		Prevents: "FirstBootFailure",
		Fix:      "let e2fsck -fy repair it, and look at what it says", Fixable: true,
		NoComponent: "a file system cannot be repaired while the system runs from it",
		look: func(ctx context.Context, t *Target) ([]Seen, error) {
			if t.Disk.Info.Format != disk.Raw {
				return nil, meaningless("e2fsck reads raw disks only")
			}
			_, err := disk.CheckClean(ctx, t.File)
			var unclean *disk.UncleanError
			if err == nil || !errors.As(err, &unclean) {
				return nil, err
			}
			for _, v := range t.Report.FileSystems {
				if v.Partition == unclean.Partition && (v.NeedsRecovery || v.Unclean) {
					return nil, meaningless("B07 says that they are not clean")
				}
			}
			return []Seen{{Where: fmt.Sprintf("partition %d", unclean.Partition), What: unclean.Reason}}, nil
		},
	}
}
