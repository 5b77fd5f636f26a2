package preflight

import (
	"context"
	"fmt"

	"github.com/ingot-image/ingot/disk"
)

const tib = 1 << 40

// diskSize compares the disk with what each path takes, and with what an MBR can tell.
func diskSize() Check {
	return Check{
		ID: "A05", Title: "the disk's size is one that the path takes, and that its partition table can hold", Needs: NeedFile,
		Looks:    "the file's length, the disk's size, and the kind of partition table",
		Levels:   Levels{ImportImage: Fatal, ImportSnapshot: Fatal, EBSDirect: Fatal},
		Prevents: "ClientError: Disk validation failed",
		Fix:      "pad the file to a multiple of 512 bytes: truncate -s %512 FILE", Fixable: true,
		NoComponent: "a build makes its disk itself, of the volumeSize in blockDeviceMappings",
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			var seen []Seen
			if t.Info.Format == disk.Raw && t.Info.FileSize%512 != 0 {
				seen = append(seen, Seen{Where: "the file's length", What: fmt.Sprintf("%d bytes are no multiple of 512: the file may be cut off", t.Info.FileSize)})
			}
			size := t.Info.VirtualSize
			if t.Disk != nil {
				size = t.Disk.Size()
			}
			limit, exclusive := int64(16*tib), t.Request.Path != EBSDirect
			if t.Request.Path == ImportImage {
				limit = 8 * tib
			}
			if size > limit || exclusive && size == limit {
				seen = append(seen, Seen{Where: "the disk's size", What: fmt.Sprintf("%d bytes, and %s takes less than %d TiB", size, t.Request.Path, limit/tib), NotFixable: true,
					Fix: "make the disk smaller: shrink its last file system and partition, then cut the disk off behind it"})
			}
			if t.Report != nil && t.Report.PartitionTable.Kind == "mbr" && size > 2*tib {
				seen = append(seen, Seen{Where: "the partition table", What: fmt.Sprintf("an MBR on a disk of %d bytes: it cannot tell what lies beyond 2 TiB", size), NotFixable: true,
					Fix: "turn the MBR into a GPT (sgdisk --mbrtogpt, and install the boot loader again), or make the disk smaller"})
			}
			return seen, nil
		},
	}
}
