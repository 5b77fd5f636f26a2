package preflight

import (
	"context"
	"regexp"
	"strings"
)

// login looks for a way in: a server, a firewall that lets it be reached, and somebody who may log in.
func login() Check {
	return Check{
		ID: "E04", Title: "sshd is enabled, the firewall lets it be reached, and there is a user to log in as", Needs: NeedSystem,
		Looks:     "the units that are enabled, users with keys or passwords, the rules of iptables, nftables and ufw",
		Levels:    Levels{ImportImage: Warning, ImportSnapshot: Warning, EBSDirect: Warning},
		Prevents:  "no message: nobody can log in to the instance; VM Import makes no ec2-user",
		Fix:       "install openssh-server, and cloud-init with a default user",
		Component: readiness,
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			s := t.Report.System
			var seen []Seen
			switch {
			case !s.SSH.Installed:
				seen = append(seen, Seen{Where: "/usr/sbin/sshd", What: "no SSH server is installed"})
			case !s.SSH.Enabled:
				seen = append(seen, Seen{Where: "/etc/systemd/system", What: "the SSH server is not enabled", Fix: "systemctl enable ssh, or sshd"})
			}
			way := s.CloudInit.Enabled // it makes its default user, with the instance's key
			for _, a := range s.Accounts {
				way = way || a.AuthorizedKeys > 0 && a.UID != 0 || a.Password == "set" && a.UID != 0 && s.SSH.PasswordAuthentication != "no"
			}
			if !way {
				seen = append(seen, Seen{Where: "/etc/passwd", What: "no user has a key or a password, and there is no cloud-init that would make one"})
			}
			firewall, err := t.firewalls()
			return append(seen, firewall...), err
		},
	}
}

// A rule set that refuses what it does not name, and one that names SSH.
var (
	refuses  = regexp.MustCompile(`(?m)^\s*(:INPUT\s+DROP|-P\s+INPUT\s+DROP|-A\s+INPUT\s+.*-j\s+(DROP|REJECT))|hook\s+input[^}]*policy\s+drop`)
	namesSSH = regexp.MustCompile(`(?m)dports?\s+(\S*[\s{,:])*(22|ssh)\b|tcp\s+22\b`)
)

// firewalls finds firewalls that are started with the system and do not name port 22.
func (t *Target) firewalls() ([]Seen, error) {
	var seen []Seen
	for _, f := range []struct {
		file  string
		units []string
	}{
		{"/etc/iptables/rules.v4", []string{"netfilter-persistent", "iptables-persistent"}},
		{"/etc/sysconfig/iptables", []string{"iptables"}},
		{"/etc/nftables.conf", []string{"nftables"}},
		{"/etc/sysconfig/nftables.conf", []string{"nftables"}},
	} {
		text, err := t.text(f.file)
		if err != nil {
			return nil, err
		}
		if t.enabled(f.units...) && refuses.MatchString(text) && !namesSSH.MatchString(text) {
			seen = append(seen, Seen{Where: f.file, What: "the firewall drops what it does not name, and does not name port 22", Fix: "let port 22 in; security groups are EC2's firewall",
				NoComponent: "rules that are written by hand are not changed"})
		}
	}
	conf, err := t.text("/etc/ufw/ufw.conf")
	if err != nil {
		return nil, err
	}
	rules, err := t.text("/etc/ufw/user.rules")
	if err != nil {
		return nil, err
	}
	if t.enabled("ufw") && strings.Contains(strings.ToLower(conf), "\nenabled=yes") && !namesSSH.MatchString(rules) {
		seen = append(seen, Seen{Where: "/etc/ufw/user.rules", What: "ufw is enabled, and does not let port 22 in", Fix: "ufw allow ssh"})
	}
	return seen, nil
}
