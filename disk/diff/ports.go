package diff

import (
	"cmp"
	"context"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Port is one that systemd listens on for a socket unit, if the unit is started: systemd.socket(5).
type Port struct {
	Port     int    `json:"port"`
	Protocol string `json:"protocol"` // "tcp", "udp", "vsock"
	Address  string `json:"address"`  // that it is bound to; "*" for all
	Unit     string `json:"unit"`
	State    string `json:"state"` // of the unit, as in Unit
}

// PortChange is a port whose unit is in another state.
type PortChange struct {
	Before Port `json:"before"`
	After  Port `json:"after"`
}

// Ports is what changed of them.
type Ports struct {
	Added   []Port       `json:"added"`
	Removed []Port       `json:"removed"`
	Changed []PortChange `json:"changed"`
}

func (p *Ports) empty() bool { return len(p.Added)+len(p.Removed)+len(p.Changed) == 0 }

// readPorts finds the ports of socket units, of which templates have none.
func (s *side) readPorts(ctx context.Context) error {
	for name, u := range s.units {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if path.Ext(name) != ".socket" || strings.HasSuffix(name, "@.socket") {
			continue
		}
		settings := s.settings(u.Path)
		if u.instance != "" {
			settings = append(settings, s.dropIns(u.instance)...)
		}
		var found []Port
		for _, x := range append(settings, s.dropIns(name)...) {
			if x.section != "Socket" || x.name != "ListenStream" && x.name != "ListenDatagram" {
				continue
			}
			if x.value == "" { // takes back all that was said before
				found = nil
				continue
			}
			if p, ok := port(x.value, x.name == "ListenDatagram"); ok && len(found) < 1000 {
				p.Unit, p.State = name, u.State
				found = append(found, p)
			}
		}
		s.ports = append(s.ports, found...)
	}
	slices.SortFunc(s.ports, comparePorts)
	return nil
}

// port reads an address of a socket unit: 22, 127.0.0.1:80, [::]:80, vsock:CID:PORT. Paths and names of UNIX sockets are no ports.
func port(value string, datagram bool) (Port, bool) {
	p := Port{Protocol: "tcp", Address: "*"}
	if datagram {
		p.Protocol = "udp"
	}
	number := value
	switch {
	case strings.HasPrefix(value, "/"), strings.HasPrefix(value, "@"):
		return p, false
	case strings.HasPrefix(value, "vsock:"):
		p.Protocol = "vsock"
		p.Address, number, _ = strings.Cut(strings.TrimPrefix(value, "vsock:"), ":")
		p.Address = cmp.Or(p.Address, "*")
	case strings.Contains(value, ":"):
		host, n, err := net.SplitHostPort(value)
		if err != nil {
			return p, false
		}
		p.Address, number = cmp.Or(host, "*"), n
	}
	n, err := strconv.ParseUint(number, 10, 32)
	p.Port = int(n)
	return p, err == nil && (n < 1<<16 || p.Protocol == "vsock")
}

func comparePorts(a, b Port) int {
	return cmp.Or(cmp.Compare(a.Port, b.Port), strings.Compare(a.Protocol, b.Protocol), strings.Compare(a.Address, b.Address), strings.Compare(a.Unit, b.Unit))
}

func diffPorts(before, after []Port) Ports {
	d := Ports{Added: []Port{}, Removed: []Port{}, Changed: []PortChange{}}
	for len(before) > 0 || len(after) > 0 {
		order := 0
		switch {
		case len(before) == 0:
			order = 1
		case len(after) == 0:
			order = -1
		default:
			order = comparePorts(before[0], after[0])
		}
		switch {
		case order < 0:
			d.Removed, before = append(d.Removed, before[0]), before[1:]
		case order > 0:
			d.Added, after = append(d.Added, after[0]), after[1:]
		default:
			if before[0].State != after[0].State {
				d.Changed = append(d.Changed, PortChange{before[0], after[0]})
			}
			before, after = before[1:], after[1:]
		}
	}
	return d
}
