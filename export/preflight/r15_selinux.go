package preflight

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// securityLabels is R15. Files have no label if they were written where SELinux was off: by most tools that make images outside of a machine.
func securityLabels() Check {
	return Check{
		ID: "R15", Title: "if SELinux enforces, its policy is there and files are labelled", Needs: NeedSystem,
		Looks:     "/etc/selinux, /.autorelabel, and the labels of some files in ext2, ext3 and ext4",
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
			return t.unlabelled()
		},
	}
}

// labelled are files that every system with SELinux has some of, and needs to have a label: without it systemd, sshd and logins are refused what they need.
var labelled = []string{"usr/lib/systemd/systemd", "usr/sbin/sshd", "usr/bin/bash", "usr/bin/login", "etc/passwd", "etc/shadow", "etc/ssh/sshd_config", "usr/lib/os-release"}

// unlabelled looks for the labels of some files.
func (t *Target) unlabelled() ([]Seen, error) {
	var without []string
	read := 0
	for _, name := range labelled {
		label, err := t.Root.Xattr(name, "security.selinux")
		switch {
		case errors.Is(err, errors.ErrUnsupported):
			return nil, errors.New("SELinux enforces, and labels are read in ext2, ext3 and ext4 only")
		case err == nil:
			// What a kernel takes for unlabelled; file_t is its old name.
			if kind := string(label); strings.Contains(kind, ":unlabeled_t:") || strings.Contains(kind, ":file_t:") {
				without = append(without, "/"+name)
			}
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		default:
			if _, err := t.Root.Lstat(name); err != nil { // it is the file that is not there
				continue
			}
			without = append(without, "/"+name)
		}
		read++
	}
	switch {
	case read == 0:
		return nil, errors.New("SELinux enforces, and none of the files is there whose labels are looked at")
	case len(without) > 0:
		return []Seen{{Where: without[0], What: fmt.Sprintf("SELinux enforces, and %d of %d files that were looked at have no label", len(without), read)}}, nil
	}
	return nil, nil
}
