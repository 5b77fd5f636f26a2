package preflight

import (
	"context"
	"fmt"

	"github.com/ingot-image/ingot/disk"
)

func rawLength() Check {
	return Check{
		ID: "A05", Title: "the disk's size is one that EC2 takes", Needs: NeedDisk,
		Levels:   Levels{ImportImage: Fatal, ImportSnapshot: Fatal, EBSDirect: Fatal},
		Prevents: "ClientError: Disk validation failed",
		Fix:      "pad the file to a multiple of 512 bytes", Fixable: true,
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			if t.Disk.Info.Format == disk.Raw && t.Disk.FileSize%512 != 0 {
				return []Seen{{Where: "the file's length", What: fmt.Sprintf("%d bytes are no multiple of 512", t.Disk.FileSize)}}, nil
			}
			return nil, nil
		},
	}
}
