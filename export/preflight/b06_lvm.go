package preflight

import (
	"context"
	"fmt"

	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/disk/image"
	"github.com/ingot-image/ingot/disk/lvm"
)

// wholeGroups wants all physical volumes of LVM on this disk: a volume group with a missing one is not activated.
func wholeGroups() Check {
	return Check{
		ID: "B06", Title: "volume groups of LVM have all their physical volumes on the disk", Needs: NeedDisk,
		Looks:       "the labels and metadata of LVM's physical volumes",
		Levels:      Levels{ImportImage: Fatal, ImportSnapshot: Warning, EBSDirect: Warning},
		Prevents:    "ClientError: Unsupported configuration - Logical volume group activation failed",
		Fix:         "move all to this disk and take the others out of the group: pvmove, vgreduce; or import the other disks, too",
		NoComponent: "what is missing is on other disks",
		look: func(ctx context.Context, t *Target) ([]Seen, error) {
			here := map[string]bool{}
			for _, v := range t.Report.FileSystems {
				here[v.UUID] = here[v.UUID] || v.Type == "LVM2_member"
			}
			var seen []Seen
			found := false
			for _, v := range t.Report.FileSystems {
				if v.Type != "LVM2_member" {
					continue
				}
				found = true
				volumes, err := lvm.Volumes(ctx, image.Section(t.Disk, disk.Extent{Start: v.Start, Size: v.Capacity}))
				if err != nil {
					seen = append(seen, Seen{Where: v.Device, What: err.Error()})
				}
				for _, l := range volumes {
					if l.Missing != "" && !here[l.Missing] {
						seen = append(seen, Seen{Where: l.Group + "/" + l.Name, What: fmt.Sprintf("a part of it lies on the physical volume %s, which is not on the disk", l.Missing)})
					}
				}
			}
			if !found {
				return nil, meaningless("there is no LVM on the disk")
			}
			return seen, nil
		},
	}
}
