package preflight

import (
	"context"
	"regexp"
	"slices"
	"strings"
)

var serialTerminal = regexp.MustCompile(`(?m)^\s*(terminal|terminal_output|terminal_input)\b.*\b(serial|console)`)

// serialConsole is the part of R5 that is not the kernel's command line.
func serialConsole() Check {
	return Check{
		ID: "R05", Title: "GRUB and a login are on EC2's serial console (the kernel's messages: D04)", Needs: NeedSystem,
		Looks:     "grub.cfg, and the gettys that systemd starts",
		Levels:    Levels{ImportImage: Warning, ImportSnapshot: Warning, EBSDirect: Warning},
		Prevents:  "no message: EC2's serial console shows no menu and takes no login",
		Fix:       `set GRUB_TERMINAL="console serial" in /etc/default/grub and run update-grub; systemctl enable serial-getty@ttyS0`,
		Component: readiness,
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			var seen []Seen
			for _, c := range t.Report.Boot.Configs {
				if c.Kind != "grub" || c.Entries == 0 {
					continue
				}
				text, err := t.text(c.Path)
				if err != nil {
					return nil, err
				}
				serial := slices.ContainsFunc(serialTerminal.FindAllString(text, -1), func(line string) bool { return strings.Contains(line, "serial") })
				if !serial {
					seen = append(seen, Seen{Where: c.Path, What: "GRUB uses no serial terminal"})
				}
			}
			// systemd starts one on each console of the kernel by itself: systemd-getty-generator(8).
			onConsole := false
			if e := t.defaultEntry(); e != nil {
				onConsole = strings.HasPrefix(lastOf(strings.Fields(e.Options), "console"), "ttyS0")
			}
			generator, err := t.anyOf("/usr/lib/systemd/system-generators/systemd-getty-generator", "/lib/systemd/system-generators/systemd-getty-generator")
			if err != nil {
				return nil, err
			}
			if !t.enabled("serial-getty@ttyS0") && !(onConsole && generator) {
				seen = append(seen, Seen{Where: "/etc/systemd/system/getty.target.wants", What: "no serial-getty@ttyS0, and systemd has no cause to start one", Fix: "systemctl enable serial-getty@ttyS0"})
			}
			return seen, nil
		},
	}
}
