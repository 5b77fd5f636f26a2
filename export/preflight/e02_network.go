package preflight

import (
	"context"
	"path"
	"regexp"
	"slices"
	"strings"
)

// slotName is a predictable interface name of one slot of one machine: systemd.net-naming-scheme(7).
var slotName = regexp.MustCompile(`\b(en[ops]\d[a-z0-9]*|enx[0-9a-f]{12})\b`)

// networkAnywhere is R8 too: an instance has another MAC address, other interface names and another network.
func networkAnywhere() Check {
	return Check{
		ID: "E02", Title: "the network is set up by DHCP, whatever the interface and its MAC address (R8)", Needs: NeedSystem,
		Looks:    "the files of netplan, systemd-networkd, NetworkManager, ifupdown and ifcfg, and udev's rules",
		Levels:   Levels{ImportImage: Warning, ImportSnapshot: Fatal, EBSDirect: Fatal},
		Prevents: "FirstBootFailure: This import request failed because the instance failed to boot and establish network connectivity.",
		Fix:      "let every interface ask for DHCP, and remove addresses, MAC addresses and udev rules made for one machine", Fixable: true,
		Component: readiness, Parameter: "Network",
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			n, c := t.Report.System.Network, t.Report.System.CloudInit
			var seen []Seen
			// What cloud-init wrote for the last machine, it writes anew for the next one.
			add := func(file, what string, level Level) {
				if c.Enabled && strings.Contains(path.Base(file), "cloud-init") {
					level = Warning
				}
				seen = append(seen, Seen{Where: file, What: what, Level: level, NotFixable: !persistentRules(file)})
			}
			for _, file := range n.MACBound {
				what := "it names the MAC address of one machine"
				if persistentRules(file) {
					what = "udev gives interface names by the MAC addresses of one machine"
				}
				add(file, what, None)
			}
			for _, file := range n.Static {
				if slices.Contains(n.DHCP, file) {
					add(file, "a fixed address beside DHCP", Warning)
				} else {
					add(file, "a fixed address, and no DHCP", None)
				}
			}
			for _, file := range n.DHCP {
				text, err := t.text(file)
				if err != nil {
					return nil, err
				}
				if name := slotName.FindString(text); name != "" && !slices.Contains(n.MACBound, file) {
					level := None
					if c.Enabled {
						level = Warning // it configures the interface that there is
					}
					add(file, "DHCP for the interface "+name+" only: EC2's is ens5, eth0 or enX0", level)
				}
			}
			if len(n.DHCP) == 0 && len(n.Static) == 0 && !c.Enabled && !slices.Contains(n.Managers, "NetworkManager") { // which asks for DHCP by itself
				seen = append(seen, Seen{Where: "/etc", What: "no interface asks for DHCP, and there is no cloud-init that would have it do so", NotFixable: true})
			}
			return seen, nil
		},
	}
}

// persistentRules tells whether a file are udev's rules that once gave interfaces their names: 70-persistent-net.rules.
func persistentRules(file string) bool {
	return strings.HasPrefix(file, "/etc/udev/rules.d/") && strings.Contains(path.Base(file), "persistent-net")
}
