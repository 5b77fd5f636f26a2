package preflight

import (
	"context"
	"fmt"
)

// rootLast wants nothing behind the root partition: growpart makes it larger only into the space that follows.
func rootLast() Check {
	return Check{
		ID: "B09", Title: "the root partition is the last on the disk, so that it grows to a larger volume", Needs: NeedSystem,
		Looks:       "the partition table",
		Levels:      Levels{ImportImage: Warning, ImportSnapshot: Warning, EBSDirect: Warning},
		Prevents:    "no message: the root file system stays as small as the image, however large the volume",
		Fix:         "move the partitions behind it before it, or leave out what is only swap space",
		NoComponent: "partitions cannot be moved while the system runs from them",
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			root := t.rootVolume()
			if root == nil || root.Partition == 0 {
				return nil, meaningless("the root file system is in no partition")
			}
			var seen []Seen
			for _, p := range t.Report.PartitionTable.Partitions {
				if p.Index != root.Partition && p.Start > root.Start {
					seen = append(seen, Seen{Where: fmt.Sprintf("partition %d", p.Index), What: fmt.Sprintf("it begins at %d, behind the root partition %d at %d", p.Start, root.Partition, root.Start)})
				}
			}
			return seen, nil
		},
	}
}
