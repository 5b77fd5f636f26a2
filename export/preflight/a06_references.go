package preflight

import (
	"context"
	"fmt"
	"slices"

	"github.com/ingot-image/ingot/disk"
)

// selfContained wants all of the disk in the file: AWS has no others.
func selfContained() Check {
	return Check{
		ID: "A06", Title: "the file holds the whole disk: it has no backing file, and is no delta or snapshot", Needs: NeedFile,
		Looks:       "the backing file, parent and extents that the file's header or descriptor names",
		Levels:      Levels{ImportImage: Fatal, ImportSnapshot: Fatal, EBSDirect: Fatal},
		Prevents:    "ClientError: Disk validation failed",
		Fix:         "merge it into one file where the others are: qemu-img convert -O raw FILE disk.raw",
		NoComponent: "the rest of the disk is in other files, which are not here",
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			var seen []Seen
			for _, r := range t.Info.References {
				seen = append(seen, Seen{Where: "the header", What: fmt.Sprintf("needs the %s", r)})
			}
			// Snapshots of VMware's and disks of an ESX host's devices: "Virtual Disk Format 5.0", section "The Header".
			deltas := []string{"seSparse", "vmfsSparse", "vmfsRaw", "vmfsRawDeviceMap", "vmfsPassthroughRawDeviceMap", "fullDevice", "partitionedDevice"}
			if t.Info.Format == disk.VMDK && slices.Contains(deltas, t.Info.Variant) {
				seen = append(seen, Seen{Where: "the descriptor", What: fmt.Sprintf("createType %q, whose content is elsewhere", t.Info.Variant),
					Fix: "consolidate the VM's snapshots and export it again, to OVF"})
			}
			return seen, nil
		},
	}
}
