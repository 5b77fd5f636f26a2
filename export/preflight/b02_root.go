package preflight

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ingot-image/ingot/disk/inspect"
)

const unknownOS = "ClientError: Unknown OS / Missing OS files."

// rootFileSystem looks for the system, in a file system that AWS reads.
func rootFileSystem() Check {
	return Check{
		ID: "B02", Title: "there is a root file system, of a type that AWS reads", Needs: NeedDisk,
		Looks:       "the superblocks of all partitions and logical volumes, and which of them holds /etc/os-release or /etc/fstab; for import-image boot code of Windows and an NTFS are enough",
		Levels:      Levels{ImportImage: Fatal, ImportSnapshot: Warning, EBSDirect: Warning},
		Prevents:    unknownOS,
		Fix:         "install the system in ext2, ext3, ext4, XFS, JFS, or Btrfs without subvolumes, or import by import-snapshot, which looks at none",
		NoComponent: "a system cannot be moved to another file system while it runs from its own",
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			if root := t.rootVolume(); root != nil {
				if !slices.Contains([]string{"ext2", "ext3", "ext4", "xfs", "jfs", "btrfs"}, root.Type) {
					return []Seen{{Where: root.Device, What: "the root file system is of the type " + root.Type}}, nil
				}
				return nil, nil
			}
			if t.windows() && t.Request.Path == ImportImage { // which AWS looks into itself
				return nil, nil
			}
			var there []string
			for _, v := range t.Report.FileSystems {
				if v.FS == nil && (v.Type == "xfs" || v.Type == "btrfs") { // a system may be in it
					return nil, errors.Join(fmt.Errorf("%s (%s) could not be read", v.Device, v.Type), t.RootErr)
				}
				if v.Type != "" {
					there = append(there, fmt.Sprintf("%s is %s", v.Device, v.Type))
				}
			}
			if len(there) == 0 {
				return []Seen{{Where: "the disk", What: "no file system that is known"}}, nil
			}
			return []Seen{{Where: "the disk", What: "no installed system was found: " + strings.Join(there, ", ")}}, nil
		},
	}
}

// windows tells whether boot code of Windows, for BIOS or UEFI, is on a disk with an NTFS.
func (t *Target) windows() bool {
	if t.Report == nil || !slices.ContainsFunc(t.Report.FileSystems, func(v inspect.FileSystem) bool { return v.Type == "ntfs" }) {
		return false
	}
	b := t.Report.Boot
	return b.BIOS != nil && b.BIOS.Second == "windows" || slices.ContainsFunc(b.EFI, func(l inspect.EFILoader) bool { return l.Loader == "windows" })
}

// rootVolume is where the root file system is, nil if none was found.
func (t *Target) rootVolume() *inspect.FileSystem {
	if t.Report == nil || t.Report.System == nil {
		return nil
	}
	for i := range t.Report.FileSystems {
		if v := &t.Report.FileSystems[i]; v.Device == t.Report.System.Root {
			return v
		}
	}
	return nil
}
