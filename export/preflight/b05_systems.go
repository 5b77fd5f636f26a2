package preflight

import (
	"context"
	"fmt"
	"strings"
)

// oneSystem wants one system on the disk: AWS looks for /etc in all file systems.
func oneSystem() Check {
	return Check{
		ID: "B05", Title: "there is one operating system on the disk", Needs: NeedDisk,
		Looks:       "os-release in all file systems, and boot loaders of Windows on the EFI system partition",
		Levels:      Levels{ImportImage: Fatal, ImportSnapshot: Warning, EBSDirect: Warning},
		Prevents:    "ClientError: Unsupported configuration - Multiple directories found",
		Fix:         "remove the partitions of the systems that are not to be booted",
		NoComponent: "which of the systems is wanted, only you know",
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			var where, what []string
			for _, v := range t.Report.FileSystems {
				if v.OS != "" {
					where, what = append(where, v.Device), append(what, fmt.Sprintf("%s in %s", v.OS, v.Device))
				}
			}
			for _, l := range t.Report.Boot.EFI {
				if l.Loader == "windows" {
					where, what = append(where, fmt.Sprintf("partition %d, %s", l.Partition, l.Path)), append(what, "the boot loader of Windows")
					break
				}
			}
			if len(what) < 2 {
				return nil, nil
			}
			return []Seen{{Where: strings.Join(where, ", "), What: strings.Join(what, ", ")}}, nil
		},
	}
}
