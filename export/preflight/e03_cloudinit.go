package preflight

import (
	"context"
	"slices"
	"strings"
)

// cloudInit is R6 too: it brings the key, the user data and the size of the root file system.
func cloudInit() Check {
	return Check{
		ID: "E03", Title: "cloud-init is installed and enabled, and may use EC2's metadata (R6)", Needs: NeedSystem,
		Looks:     "cloud-init's program and units, /etc/cloud/cloud.cfg and cloud.cfg.d, ds-identify.cfg, the kernel's command line",
		Levels:    Levels{ImportImage: Warning, ImportSnapshot: Warning, EBSDirect: Warning},
		Prevents:  "no message: the instance has no key, no user data and no larger root file system",
		Fix:       "install cloud-init: apt-get install -y cloud-init, or dnf install -y cloud-init",
		Component: readiness,
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			c := t.Report.System.CloudInit
			switch {
			case !c.Installed:
				return []Seen{{Where: "/usr/bin/cloud-init", What: "cloud-init is not installed"}}, nil
			case c.DisabledBy != "":
				return []Seen{{Where: c.DisabledBy, What: "cloud-init is disabled by it", Fix: "remove it"}}, nil
			case !c.Enabled:
				return []Seen{{Where: "/etc/systemd/system", What: "cloud-init is installed and not enabled", Fix: "systemctl enable cloud-init-local cloud-init cloud-config cloud-final"}}, nil
			}
			var seen []Seen
			if len(c.Datasources) > 0 && !slices.Contains(c.Datasources, "Ec2") {
				seen = append(seen, Seen{Where: "/etc/cloud", What: "datasource_list has no Ec2: " + some(c.Datasources), Fix: "add Ec2 to datasource_list, or remove the list"})
			}
			// ds-identify(8) reads it before cloud-init is started.
			text, err := t.text("/etc/cloud/ds-identify.cfg")
			if err != nil {
				return nil, err
			}
			for _, line := range lines(text) {
				key, value, _ := strings.Cut(line, ":")
				value = strings.Trim(value, " \t\"'")
				switch {
				case key == "policy" && strings.HasPrefix(value, "disabled"):
					seen = append(seen, Seen{Where: "/etc/cloud/ds-identify.cfg", What: "policy: " + value + " keeps cloud-init from starting", Fix: "remove the line"})
				case key == "datasource" && value != "Ec2":
					seen = append(seen, Seen{Where: "/etc/cloud/ds-identify.cfg", What: "datasource: " + value + " leaves out Ec2", Fix: "remove the line"})
				}
			}
			return seen, nil
		},
	}
}
