package preflight

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
)

// ownIdentity is R9 too: what makes a machine different from others must not be in its image.
func ownIdentity() Check {
	return Check{
		ID: "F01", Title: "the image has no identity of its own: machine-id, host keys, cloud-init's state, seeds, logs (R9)", Needs: NeedSystem,
		Looks:    "/etc/machine-id and its copy, /etc/ssh, /var/lib/cloud, systemd's random seed, /var/log",
		Levels:   Levels{ImportImage: Warning, ImportSnapshot: Warning, EBSDirect: Warning},
		Prevents: "no message: instances share host keys and DHCP identities, and cloud-init takes each for the machine that it has seen",
		Fix:      "cloud-init clean --logs --machine-id --seed, and rm /etc/ssh/ssh_host_*; a build with Ingot does it last of all", Fixable: true,
		NoComponent: "every build does it last of all",
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			s := t.Report.System
			var seen []Seen
			add := func(where, format string, v ...any) {
				seen = append(seen, Seen{Where: where, What: fmt.Sprintf(format, v...)})
			}
			if s.Identity.MachineID == "set" {
				add("/etc/machine-id", "it has an id, which every instance would share")
			}
			if st, err := t.Root.Lstat(dbusID[1:]); err == nil && st.Mode().IsRegular() && st.Size() > 0 {
				add(dbusID, "a copy of the machine's id")
			} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			if len(s.SSH.HostKeys) > 0 {
				add("/etc/ssh", "host keys that every instance would share: %s", some(s.SSH.HostKeys))
			}
			if s.CloudInit.State {
				add("/var/lib/cloud", "cloud-init has run, and its state was not cleaned")
			}
			seeds, err := t.matches("/var/lib/cloud/seed", "*")
			if err != nil {
				return nil, err
			}
			if len(seeds) > 0 {
				add("/var/lib/cloud/seed", "seeds from which cloud-init would start in EC2's place: %s", some(seeds))
			}
			if s.Identity.RandomSeed {
				add(randomSeed, "random numbers that every instance would begin with")
			}
			if s.Identity.Logs > 0 {
				add("/var/log", "%d bytes of logs", s.Identity.Logs)
			}
			return seen, nil
		},
	}
}

const (
	dbusID     = "/var/lib/dbus/machine-id"
	randomSeed = "/var/lib/systemd/random-seed"
)
