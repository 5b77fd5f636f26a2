package preflight

import (
	"context"
	"fmt"
	"slices"
)

// freeSpace wants room for the drivers and the agent that AWS installs: as much on each of these as the script that AWS Support hands out asks for.
func freeSpace() Check {
	return Check{
		ID: "B08", Title: "250 MB are free on the root file system, and on /boot, /etc, /tmp, /usr and /var where these are others", Needs: NeedSystem,
		Looks:       "the superblocks of the file systems that /etc/fstab mounts there",
		Levels:      Levels{ImportImage: Fatal, ImportSnapshot: Warning, EBSDirect: Warning},
		Prevents:    "no message of its own: the import fails late, when drivers and the agent are installed",
		Fix:         "remove what is not needed, or make the disk and its file system larger",
		NoComponent: "which files can go, only you know; volumeSize in blockDeviceMappings makes a build's disk larger",
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			const want = 250_000_000
			var seen []Seen
			for _, v := range t.Report.FileSystems {
				if v.Space == nil || v.Space.Free >= want || !slices.Contains([]string{"/", "/boot", "/etc", "/tmp", "/usr", "/var"}, v.MountPoint) {
					continue
				}
				s := Seen{Where: fmt.Sprintf("%s, %s", v.MountPoint, v.Device), What: fmt.Sprintf("%d MB of %d MB are free", v.Space.Free/1_000_000, v.Space.Size/1_000_000)}
				if v.MountPoint != "/" {
					s.Level = Warning
				}
				seen = append(seen, s)
			}
			return seen, nil
		},
	}
}
