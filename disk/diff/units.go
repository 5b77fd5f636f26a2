package diff

import (
	"context"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// Unit is a unit of systemd with an enablement: a service, socket, timer, path, mount or target.
type Unit struct {
	Name string `json:"name"`
	// State is what systemctl is-enabled says: "enabled", "disabled", "masked", "static" for a unit that only others start.
	State string `json:"state"`
	Path  string `json:"path,omitempty"` // of its file

	instance string // name of the template that it is of
}

// UnitChange is a unit in another state.
type UnitChange struct {
	Name   string `json:"name"`
	Before string `json:"before"`
	After  string `json:"after"`
}

// Services is what changed of units.
type Services struct {
	Added   []Unit       `json:"added"`
	Removed []Unit       `json:"removed"`
	Changed []UnitChange `json:"changed"`
}

func (s *Services) empty() bool { return len(s.Added)+len(s.Removed)+len(s.Changed) == 0 }

// unitFolders are those of systemd.unit(5), the one that counts first.
func unitFolders() []string {
	return []string{"etc/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"}
}

const (
	maxUnits    = 1 << 16
	maxSettings = 1 << 14 // of one file
)

// readUnits finds the units and which of them are enabled: systemctl(1), "is-enabled".
func (s *side) readUnits(ctx context.Context) error {
	s.units = map[string]Unit{}
	wanted := map[string]bool{} // and whether an administrator wants it, which makes it enabled
	masked := map[string]bool{}
	for _, folder := range unitFolders() {
		entries, err := s.tree.ReadDir(folder)
		if err != nil {
			s.problem(folder, err)
			continue
		}
		for _, e := range entries {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			name, at := e.Name(), path.Join(folder, e.Name())
			if ext := path.Ext(name); (ext == ".wants" || ext == ".requires" || ext == ".upholds") && e.IsDir() {
				s.wanted(at, wanted, strings.HasPrefix(folder, "etc/"))
				continue
			}
			if !isUnit(name) || len(s.units) > maxUnits {
				continue
			}
			if target, err := s.tree.ReadLink(at); err == nil {
				switch real := path.Base(target); {
				case target == "/dev/null":
					masked[name] = true
				case real != name && isUnit(real): // an alias, by which the unit is enabled where an administrator made it
					if strings.HasPrefix(folder, "etc/") {
						wanted[real] = true
					}
					continue
				}
			}
			if _, known := s.units[name]; !known {
				s.units[name] = Unit{Name: name, Path: at}
			}
		}
	}
	for name := range wanted { // instances of templates have no file of their own
		if template := templateOf(name); template != "" {
			if u, ok := s.units[template]; ok && s.units[name].Name == "" {
				s.units[name] = Unit{Name: name, Path: u.Path, instance: template}
			}
		}
	}
	for name, u := range s.units {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		switch {
		case masked[name]:
			u.State = "masked"
		case wanted[name]:
			u.State = "enabled"
		default:
			u.State = "static"
			if s.installs(u.Path) {
				u.State = "disabled"
			}
		}
		s.units[name] = u
	}
	return s.readPorts(ctx)
}

// wanted takes the links in a folder such as multi-user.target.wants. Those beside a vendor's units start them, too, but enable nothing:
// unit_file_lookup_state of systemd's install.c.
func (s *side) wanted(folder string, into map[string]bool, enables bool) {
	entries, err := s.tree.ReadDir(folder)
	if err != nil {
		s.problem(folder, err)
		return
	}
	for _, e := range entries {
		if isUnit(e.Name()) && len(into) < maxUnits {
			into[e.Name()] = into[e.Name()] || enables
		}
	}
}

func isUnit(name string) bool {
	switch path.Ext(name) {
	case ".service", ".socket", ".timer", ".path", ".mount", ".automount", ".swap", ".target", ".slice":
		return true
	}
	return false
}

// templateOf gives getty@.service of getty@tty1.service.
func templateOf(name string) string {
	ext := path.Ext(name)
	prefix, instance, found := strings.Cut(strings.TrimSuffix(name, ext), "@")
	if !found || instance == "" {
		return ""
	}
	return prefix + "@" + ext
}

// installs tells whether a unit's file says how to enable it.
func (s *side) installs(file string) bool {
	return slices.ContainsFunc(s.settings(file), func(x setting) bool { return x.section == "Install" })
}

// setting is a line of a unit's file: systemd.syntax(7).
type setting struct{ section, name, value string }

func (s *side) settings(file string) []setting {
	if info, err := s.tree.Stat(file); err != nil || !info.Mode().IsRegular() { // a link to nowhere, or to a device
		return nil
	}
	var out []setting
	section := ""
	text := strings.ReplaceAll(s.text(file), "\\\n", " ")
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[' && strings.HasSuffix(line, "]"):
			section = line[1 : len(line)-1]
		default:
			if name, value, ok := strings.Cut(line, "="); ok && len(out) < maxSettings {
				out = append(out, setting{section, strings.TrimSpace(name), strings.TrimSpace(value)})
			}
		}
	}
	return out
}

// dropIns gives the settings of NAME.d/*.conf, a file in a folder that counts more in place of one of its name elsewhere.
func (s *side) dropIns(unit string) []setting {
	files := map[string]string{}
	for _, folder := range unitFolders() {
		matches, _ := fs.Glob(s.tree, path.Join(folder, unit+".d", "*.conf"))
		for _, m := range matches {
			if _, known := files[path.Base(m)]; !known {
				files[path.Base(m)] = m
			}
		}
	}
	var out []setting
	for _, name := range slices.Sorted(maps.Keys(files)) {
		out = append(out, s.settings(files[name])...)
	}
	return out
}

func diffServices(before, after map[string]Unit) Services {
	d := Services{Added: []Unit{}, Removed: []Unit{}, Changed: []UnitChange{}}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		was := before[name]
		is, ok := after[name]
		switch {
		case !ok:
			d.Removed = append(d.Removed, was)
		case was.State != is.State:
			d.Changed = append(d.Changed, UnitChange{name, was.State, is.State})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if _, ok := before[name]; !ok {
			d.Added = append(d.Added, after[name])
		}
	}
	return d
}
