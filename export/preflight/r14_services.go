package preflight

import "context"

// clockAndAgents is R14, and what AWS's import wants gone: the tools of the hypervisor that the machine comes from.
func clockAndAgents() Check {
	return Check{
		ID: "R14", Title: "a service sets the clock, and no tools of another hypervisor are installed", Needs: NeedSystem,
		Looks:     "the units that are enabled, and the programs of hypervisors' tools",
		Levels:    Levels{ImportImage: Warning, ImportSnapshot: Warning, EBSDirect: Warning},
		Prevents:  "no message: signed requests fail when the clock is wrong, and tools of another hypervisor may hang at the boot",
		Fix:       "install chrony with the server 169.254.169.123, and remove VMware Tools or VirtualBox Guest Additions",
		Component: readiness, Parameter: "TimeServer",
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			var seen []Seen
			if !t.enabled("chrony", "chronyd", "systemd-timesyncd", "ntp", "ntpd", "ntpsec", "openntpd") {
				seen = append(seen, Seen{Where: "/etc/systemd/system", What: "none of chrony, systemd-timesyncd, ntpd is enabled"})
			}
			// open-vm-tools start on VMware only; VMware's own tools, and what VirtualBox compiles, load their modules anywhere.
			for _, tools := range []struct{ name, file string }{
				{"VMware Tools", "/etc/vmware-tools/services.sh"}, {"VirtualBox Guest Additions", "/usr/sbin/VBoxService"}, {"Parallels Tools", "/usr/bin/prltoolsd"},
			} {
				there, err := t.exists(tools.file)
				if err != nil {
					return nil, err
				}
				if there {
					seen = append(seen, Seen{Where: tools.file, What: tools.name + " are installed", Fix: "uninstall them before the import", NoComponent: "their maker's own program uninstalls them"})
				}
			}
			return seen, nil
		},
	}
}
