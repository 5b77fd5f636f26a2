package preflight

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ingot-image/ingot/disk/inspect"
)

// kernelRoot is the part of R4 that is not fstab: where the kernel is told to find its root file system.
func kernelRoot() Check {
	return Check{
		ID: "R04", Title: "the kernel is told its root by UUID or LABEL, and that is on the disk (fstab: E01)", Needs: NeedSystem,
		Looks:     "root= of the default entry, and the UUIDs and labels of the file systems and partitions",
		Levels:    Levels{ImportImage: Fatal, ImportSnapshot: Fatal, EBSDirect: Fatal},
		Prevents:  "no message: the kernel waits for its root device until it panics, and the instance fails its status check",
		Fix:       "write root=UUID= of blkid into the boot loader's configuration, and remove GRUB_DISABLE_LINUX_UUID from /etc/default/grub",
		Component: readiness,
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			e := t.defaultEntry()
			if e == nil {
				return nil, errors.New("no entry of a boot loader could be read")
			}
			root := lastOf(strings.Fields(e.Options), "root")
			kind, value, tagged := strings.Cut(root, "=")
			switch {
			case root == "":
				return nil, meaningless("the command line has no root=: the initramfs knows it")
			case !tagged && strings.HasPrefix(root, "/dev/mapper/") || strings.HasPrefix(root, "/dev/disk/by-uuid/") || strings.HasPrefix(root, "/dev/disk/by-label/"):
				return nil, nil
			case !tagged && deviceName(root):
				return []Seen{{Where: e.Config, What: "root=" + root + ": EC2 has other device names, /dev/nvme0n1p1 or /dev/xvda1"}}, nil
			case tagged && !t.onDisk(kind, strings.Trim(value, `"`)):
				return []Seen{{Where: e.Config, What: fmt.Sprintf("root=%s: no file system of the disk is that", root)}}, nil
			}
			return nil, nil
		},
	}
}

// deviceName tells whether a device has a name that the kernel counts: /dev/sda1, /dev/vda1.
func deviceName(device string) bool {
	return slices.ContainsFunc([]string{"/dev/sd", "/dev/vd", "/dev/hd", "/dev/xvd", "/dev/nvme", "/dev/mmcblk"}, func(p string) bool { return strings.HasPrefix(device, p) })
}

// onDisk tells whether the disk has a file system or partition of a tag: UUID, LABEL, PARTUUID, PARTLABEL. Of other tags it says yes.
func (t *Target) onDisk(kind, value string) bool {
	switch kind {
	case "UUID", "LABEL":
		return slices.ContainsFunc(t.Report.FileSystems, func(v inspect.FileSystem) bool {
			return kind == "UUID" && strings.EqualFold(v.UUID, value) || kind == "LABEL" && v.Label == value
		})
	case "PARTUUID", "PARTLABEL":
		return t.Report.PartitionTable.Kind == "mbr" || slices.ContainsFunc(t.Report.PartitionTable.Partitions, func(p inspect.Partition) bool {
			return kind == "PARTUUID" && strings.EqualFold(p.GUID, value) || kind == "PARTLABEL" && p.Name == value
		})
	}
	return true
}
