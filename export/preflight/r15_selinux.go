package preflight

import (
	"context"
	"errors"
)

// securityLabels is R15. Labels are extended attributes, which are not read here: they can be wrong only if somebody wrote files while SELinux was off.
func securityLabels() Check {
	return Check{
		ID: "R15", Title: "if SELinux enforces, its policy is there and files are labelled", Needs: NeedSystem,
		Looks:     "/etc/selinux and /.autorelabel",
		Levels:    Levels{ImportImage: Warning, ImportSnapshot: Warning, EBSDirect: Warning},
		Prevents:  "no message: services may not start, and nobody can log in",
		Fix:       "touch /.autorelabel: the first boot labels all files, once and slowly",
		Component: readiness,
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			if t.Report.System.SELinux != "enforcing" {
				return nil, meaningless("SELinux does not enforce")
			}
			policy, err := t.anyOf("/etc/selinux/targeted/policy", "/etc/selinux/default/policy", "/etc/selinux/mls/policy", "/etc/selinux/minimum/policy")
			if err != nil {
				return nil, err
			}
			if !policy {
				return []Seen{{Where: "/etc/selinux", What: "SELINUX=enforcing, and no policy is installed", Prevents: "no message: systemd stops the boot, since it cannot load a policy",
					Fix: "install selinux-policy-targeted, or set SELINUX=permissive", Level: Fatal,
					NoComponent: "such a system does not start in a build either"}}, nil
			}
			relabel, err := t.exists("/.autorelabel")
			switch {
			case err != nil:
				return nil, err
			case relabel:
				return []Seen{{Where: "/.autorelabel", What: "the first boot labels all files, which takes minutes, and boots again", Prevents: "no message: the first boot of each instance is slow",
					Fix: "boot it once in a build, so that the labels are in the image"}}, nil
			}
			return nil, errors.New("SELinux enforces, and labels are not read offline")
		},
	}
}
