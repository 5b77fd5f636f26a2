package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ingot-image/ingot/disk/inspect"
)

// networkTypes are file systems in fstab that need a network, and those that AWS drops: import-modify-vm.
var networkTypes = []string{"nfs", "nfs4", "cifs", "smbfs", "smb3", "ceph", "glusterfs", "fuse.sshfs", "sshfs", "9p", "virtiofs", "vboxsf", "fuse.vmhgfs-fuse", "vmhgfs"}

// fstab compares /etc/fstab with what is on the disk: R4 as far as it is there.
func fstab() Check {
	return Check{
		ID: "E01", Title: "what fstab mounts is on the disk, by UUID or LABEL, and what may be missing has nofail (R4)", Needs: NeedSystem,
		Looks:    "/etc/fstab, and the UUIDs and labels of the file systems and partitions",
		Levels:   Levels{ImportImage: Warning, ImportSnapshot: Warning, EBSDirect: Warning},
		Prevents: "no message: the boot stops in emergency mode, where nobody can log in",
		Fix:      "write UUID= of blkid in the device's place, and add nofail to what is not part of the system", Fixable: true,
		Component: readiness,
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			none := Seen{Where: "/etc/fstab", What: "no line for the root file system", Prevents: "ClientError: Unable to find an etc directory with fstab.", Fix: "write /etc/fstab with a line for /", NotFixable: true}
			if t.Request.Path == ImportImage {
				none.Level = Fatal
			}
			root := false
			var seen []Seen
			for _, m := range t.Report.System.Fstab {
				root = root || m.Target == "/"
				seen = append(seen, fstabLine(m)...)
			}
			if !root {
				seen = append(seen, none)
			}
			return seen, nil
		},
	}
}

// fstabLine looks at one line.
func fstabLine(m inspect.Mount) []Seen {
	options := strings.Split(m.Options, ",")
	optional := slices.Contains(options, "nofail") || slices.Contains(options, "noauto")
	where := fmt.Sprintf("/etc/fstab:%d", m.Line)
	source := fmt.Sprintf("%s on %s", m.Source, m.Target)
	level := None
	if m.Target == "/" {
		level = Fatal
	}
	switch {
	case slices.Contains(networkTypes, m.Type):
		if !optional {
			return []Seen{{Where: where, What: source + " is on the network or the host, and has no nofail"}}
		}
	case m.ByName && m.Device != "":
		return []Seen{{Where: where, What: source + ": EC2 has other device names, /dev/nvme0n1p1 or /dev/xvda1"}}
	case !ofDisk(m):
	case m.Device == "" && m.Target == "/":
		return []Seen{{Where: where, What: source + ": no file system of the disk is that", Level: level, NotFixable: true}}
	case m.Device == "" && !optional:
		return []Seen{{Where: where, What: source + ": no file system of the disk is that, and there is no nofail"}}
	}
	return nil
}

// ofDisk tells whether a line of fstab is one of a disk's, and not of tmpfs, a file or another folder.
func ofDisk(m inspect.Mount) bool {
	if m.ByName || strings.HasPrefix(m.Source, "/dev/") {
		return true
	}
	kind, _, ok := strings.Cut(m.Source, "=")
	return ok && slices.Contains([]string{"UUID", "LABEL", "PARTUUID", "PARTLABEL"}, kind)
}
