package inspect

import (
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// CloudInit is whether and how cloud-init will run.
type CloudInit struct {
	Installed   bool     `json:"installed"`
	Enabled     bool     `json:"enabled"`
	DisabledBy  string   `json:"disabledBy,omitempty"`  // file that disables it
	Datasources []string `json:"datasources,omitempty"` // datasource_list, as the last file in order has it; empty for the default
	// State: it has run and was not cleaned, so that it takes a copy for the same instance.
	State bool `json:"state,omitempty"`
}

// SSH is the OpenSSH server.
type SSH struct {
	Installed bool     `json:"installed"`
	Enabled   bool     `json:"enabled"`
	HostKeys  []string `json:"hostKeys,omitempty"` // files of private keys
	// PasswordAuthentication and PermitRootLogin are the first values in its configuration, "" for the default.
	PasswordAuthentication string `json:"passwordAuthentication,omitempty"`
	PermitRootLogin        string `json:"permitRootLogin,omitempty"`
}

// Network is how the network is configured, by file.
type Network struct {
	Managers []string `json:"managers,omitempty"` // "systemd-networkd", "netplan", "ifupdown", "NetworkManager", "ifcfg", "wicked"; enabled or with files
	DHCP     []string `json:"dhcp,omitempty"`     // files that ask for DHCP
	Static   []string `json:"static,omitempty"`   // files with fixed addresses
	MACBound []string `json:"macBound,omitempty"` // files that name a MAC address, which another machine does not have
	// PredictableNames: interfaces are renamed, as ens5; false with net.ifnames=0 or 80-net-setup-link.rules masked.
	PredictableNames bool `json:"predictableNames"`
}

// Identity is what makes a machine different from its copies.
type Identity struct {
	MachineID  string   `json:"machineId"`            // "missing", "empty", "uninitialized" or "set"
	RandomSeed bool     `json:"randomSeed,omitempty"` // systemd's seed is there
	Histories  []string `json:"histories,omitempty"`  // of shells
	Logs       int64    `json:"logs"`                 // bytes in /var/log
}

// enabledFor are the folders in which a link enables a unit of systemd: systemd.unit(5).
var enabledFor = []string{"multi-user.target.wants", "sysinit.target.wants", "basic.target.wants", "sockets.target.wants", "timers.target.wants", "network-online.target.wants",
	"cloud-init.target.wants", "cloud-config.target.wants", "graphical.target.wants", "default.target.wants", "local-fs.target.wants", "network.target.wants", "paths.target.wants", "getty.target.wants"}

// services lists the units that are enabled for systemd, by the administrator or the distribution, sorted.
func (r *Root) services() []string {
	set := map[string]bool{}
	for _, base := range []string{"etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"} {
		for _, wants := range enabledFor {
			for _, name := range list(r, path.Join(base, wants), "*") {
				set[printable(path.Base(name))] = true
			}
		}
	}
	for _, name := range list(r, "etc/runlevels/default", "*") { // OpenRC
		set[printable(path.Base(name))] = true
	}
	for name := range set {
		if target, err := r.ReadLink(path.Join("etc/systemd/system", name)); err == nil && target == "/dev/null" { // masked
			delete(set, name)
		}
	}
	out := make([]string, 0, len(set))
	for name := range set {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func (r *Root) anyOf(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return lexists(r, name) })
}

var datasourceList = regexp.MustCompile(`(?m)^\s*datasource_list:\s*\[([^\]\n]*)\]`)

func (r *Root) cloudInit(services []string, options string) CloudInit {
	c := CloudInit{Installed: r.anyOf("usr/bin/cloud-init", "usr/local/bin/cloud-init"), State: len(list(r, "var/lib/cloud/instances", "*")) > 0}
	if !c.Installed {
		return c
	}
	// A generator enables it at each boot unless something says no: cloud-init, "Disable cloud-init".
	c.Enabled = r.anyOf("usr/lib/systemd/system-generators/cloud-init-generator", "lib/systemd/system-generators/cloud-init-generator") ||
		slices.ContainsFunc(services, func(s string) bool { return strings.HasPrefix(s, "cloud-init") })
	if lexists(r, "etc/cloud/cloud-init.disabled") {
		c.Enabled, c.DisabledBy = false, "/etc/cloud/cloud-init.disabled"
	}
	if slices.Contains(strings.Fields(options), "cloud-init=disabled") {
		c.Enabled, c.DisabledBy = false, "the kernel's command line"
	}
	for _, name := range append([]string{"etc/cloud/cloud.cfg"}, list(r, "etc/cloud/cloud.cfg.d", "*.cfg")...) {
		if m := datasourceList.FindStringSubmatch(text(r, name)); m != nil {
			c.Datasources = nil
			for d := range strings.SplitSeq(m[1], ",") {
				if d = strings.Trim(printable(d), ` "'`); d != "" {
					c.Datasources = append(c.Datasources, d)
				}
			}
		}
	}
	return c
}

func (r *Root) ssh(services []string) SSH {
	s := SSH{Installed: r.anyOf("usr/sbin/sshd", "usr/bin/sshd", "sbin/sshd")}
	for _, unit := range []string{"ssh.service", "sshd.service", "ssh.socket", "sshd.socket", "sshd"} {
		s.Enabled = s.Enabled || slices.Contains(services, unit)
	}
	s.Enabled = s.Enabled && s.Installed
	for _, name := range list(r, "etc/ssh", "ssh_host_*_key") {
		s.HostKeys = append(s.HostKeys, "/"+printable(name))
	}
	// Of each setting the first one holds; the folder is included at the top of the file by every distribution that has it.
	for _, name := range append(list(r, "etc/ssh/sshd_config.d", "*.conf"), "etc/ssh/sshd_config") {
		for line := range strings.Lines(text(r, name)) {
			words := strings.Fields(line)
			if len(words) < 2 {
				continue
			}
			if strings.EqualFold(words[0], "Match") {
				break
			}
			value := strings.ToLower(printable(words[1]))
			switch {
			case strings.EqualFold(words[0], "PasswordAuthentication") && s.PasswordAuthentication == "":
				s.PasswordAuthentication = value
			case strings.EqualFold(words[0], "PermitRootLogin") && s.PermitRootLogin == "":
				s.PermitRootLogin = value
			}
		}
	}
	return s
}

var (
	macAddress  = regexp.MustCompile(`(?i)\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b`)
	asksForDHCP = regexp.MustCompile(`(?im)^\s*(DHCP\s*=\s*(yes|ipv4|true|both)|dhcp4\s*:\s*(true|yes)|iface\s+\S+\s+inet\s+dhcp|BOOTPROTO\s*=\s*['"]?dhcp|method\s*=\s*auto)`)
	hasAddress  = regexp.MustCompile(`(?im)^\s*(Address\s*=\s*[0-9]|addresses\s*:|iface\s+\S+\s+inet\s+static|IPADDR\w*\s*=|method\s*=\s*manual|address[0-9]+\s*=)`)
)

func (r *Root) network(services []string, options string) Network {
	n := Network{PredictableNames: true}
	manager := func(name string) {
		if !slices.Contains(n.Managers, name) {
			n.Managers = append(n.Managers, name)
		}
	}
	for unit, name := range map[string]string{"systemd-networkd.service": "systemd-networkd", "NetworkManager.service": "NetworkManager", "wicked.service": "wicked", "networking.service": "ifupdown", "networking": "ifupdown"} {
		if slices.Contains(services, unit) {
			manager(name)
		}
	}
	look := func(name, by string) {
		t := withoutComments(text(r, name))
		name = "/" + printable(name)
		if asksForDHCP.MatchString(t) {
			n.DHCP = append(n.DHCP, name)
		}
		if hasAddress.MatchString(t) {
			n.Static = append(n.Static, name)
		}
		if macAddress.MatchString(t) {
			n.MACBound = append(n.MACBound, name)
		}
		if by != "" && strings.TrimSpace(t) != "" {
			manager(by)
		}
	}
	for _, place := range []struct{ folder, pattern, by string }{
		{"etc/netplan", "*.y*ml", "netplan"}, {"etc/systemd/network", "*.network", "systemd-networkd"}, {"etc/systemd/network", "*.link", ""},
		{"etc/network/interfaces.d", "*", "ifupdown"}, {"etc/NetworkManager/system-connections", "*", "NetworkManager"},
		{"etc/sysconfig/network-scripts", "ifcfg-*", "ifcfg"}, {"etc/sysconfig/network", "ifcfg-*", "wicked"}, {"etc/udev/rules.d", "*net*.rules", ""},
	} {
		for _, name := range list(r, place.folder, place.pattern) {
			if base := path.Base(name); base != "ifcfg-lo" && base != "ifcfg.template" {
				look(name, place.by)
			}
		}
	}
	if lexists(r, "etc/network/interfaces") {
		look("etc/network/interfaces", "")
	}
	if slices.Contains(strings.Fields(options), "net.ifnames=0") {
		n.PredictableNames = false
	}
	for _, name := range []string{"etc/udev/rules.d/80-net-setup-link.rules", "etc/systemd/network/99-default.link"} {
		if target, err := r.ReadLink(name); err == nil && target == "/dev/null" {
			n.PredictableNames = false
		}
	}
	slices.Sort(n.Managers)
	return n
}

func withoutComments(t string) string {
	var b strings.Builder
	for line := range strings.Lines(t) {
		if l := strings.TrimSpace(line); !strings.HasPrefix(l, "#") && !strings.HasPrefix(l, ";") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func (r *Root) identity(accounts []Account) Identity {
	i := Identity{MachineID: "missing", RandomSeed: lexists(r, "var/lib/systemd/random-seed")}
	if b, err := readFile(r, "etc/machine-id", 4096); err == nil {
		switch strings.TrimSpace(string(b)) {
		case "":
			i.MachineID = "empty"
		case "uninitialized":
			i.MachineID = "uninitialized"
		default:
			i.MachineID = "set"
		}
	}
	for _, a := range accounts {
		home := strings.Trim(path.Clean("/"+a.Home), "/")
		for _, name := range []string{".bash_history", ".zsh_history", ".ash_history", ".sh_history"} {
			if st, err := r.Lstat(path.Join(home, name)); home != "" && err == nil && st.Size() > 0 {
				i.Histories = append(i.Histories, "/"+path.Join(home, name))
			}
		}
	}
	n := 0
	_ = fs.WalkDir(r, "var/log", func(name string, d fs.DirEntry, err error) error {
		if n++; err != nil || n > 20000 || strings.Count(name, "/") > 16 {
			return fs.SkipDir
		}
		if st, err := d.Info(); err == nil && st.Mode().IsRegular() {
			i.Logs += max(st.Size(), 0)
		}
		return nil
	})
	return i
}
