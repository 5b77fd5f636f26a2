package preflight

import (
	"context"
	"regexp"
)

var growpartOff = regexp.MustCompile(`(?m)^growpart:\s*\n(?:[ \t].*\n)*?[ \t]+mode:\s*['"]?(off|false)\b`)

// growsRoot is R7 as far as it is not B09: a volume is often larger than its image.
func growsRoot() Check {
	return Check{
		ID: "E05", Title: "the root partition and its file system are made larger at the first boot (R7)", Needs: NeedSystem,
		Looks:     "growpart or systemd-repart, the tool that grows the root file system, cloud-init's growpart",
		Levels:    Levels{ImportImage: Warning, ImportSnapshot: Warning, EBSDirect: Warning},
		Prevents:  "no message: the root file system stays as small as the image, however large the volume",
		Fix:       "install cloud-guest-utils or cloud-utils-growpart, and the tools of the file system",
		Component: readiness,
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			var seen []Seen
			if !t.Report.System.Growpart {
				seen = append(seen, Seen{Where: "/usr/bin/growpart", What: "neither growpart nor systemd-repart is installed"})
			}
			if root := t.rootVolume(); root != nil {
				name := map[string]string{"ext2": "resize2fs", "ext3": "resize2fs", "ext4": "resize2fs", "xfs": "xfs_growfs", "btrfs": "btrfs"}[root.Type]
				there, err := t.anyOf("/usr/sbin/"+name, "/sbin/"+name, "/usr/bin/"+name)
				if err != nil {
					return nil, err
				}
				if name != "" && !there {
					seen = append(seen, Seen{Where: "/usr/sbin/" + name, What: "the tool that makes " + root.Type + " larger is not installed"})
				}
			}
			files, err := t.matches("/etc/cloud/cloud.cfg.d", "*.cfg")
			if err != nil {
				return nil, err
			}
			for _, file := range append([]string{"/etc/cloud/cloud.cfg"}, files...) {
				text, err := t.text(file)
				if err != nil {
					return nil, err
				}
				if growpartOff.MatchString(text) {
					seen = append(seen, Seen{Where: file, What: "growpart has the mode off", Fix: "set growpart's mode to auto"})
				}
			}
			return seen, nil
		},
	}
}
