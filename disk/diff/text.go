package diff

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// TextOptions are options of [Report.Text].
type TextOptions struct {
	// Files lists every file. Else files of packages are counted for each package, and of a folder that was added or removed with all that is
	// in it only the folder is listed.
	Files bool
}

// Text writes the report for people: a section for each kind of difference, "+" before what was added, "-" removed, "~" changed.
func (r *Report) Text(w io.Writer, o TextOptions) error {
	t := &printer{w: bufio.NewWriter(w)}
	t.packages(&r.Packages)
	t.kernels(&r.Kernels)
	t.services(&r.Services)
	t.ports(&r.Ports)
	t.accounts(r)
	t.files(&r.Files, o.Files)
	t.problems(r.Problems)
	if !r.Different {
		t.line("no differences in %d files", r.Files.Compared)
	}
	if n := r.Files.Ignored; n > 0 {
		t.line("%d volatile files and folders were passed over; --all compares them, too", n)
	}
	return t.w.Flush()
}

type printer struct{ w *bufio.Writer }

// line writes a line. What comes from an image is quoted where it would do something to a terminal.
func (t *printer) line(format string, args ...any) {
	for i, a := range args {
		if s, ok := a.(string); ok {
			args[i] = printable(s)
		}
	}
	fmt.Fprintf(t.w, format+"\n", args...)
}

func printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return r == '\uFFFD' || !strconv.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// title begins a section.
func (t *printer) title(name string, added, removed, changed int) bool {
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{added, "added"}, {removed, "removed"}, {changed, "changed"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	if len(parts) > 0 {
		t.line("%s: %s", name, strings.Join(parts, ", "))
	}
	return len(parts) > 0
}

func (t *printer) packages(p *Packages) {
	t.title("packages", len(p.Added), len(p.Removed), len(p.Changed))
	for _, x := range p.Added {
		t.line("  + %s %s", x.Name, x.Version)
	}
	for _, x := range p.Removed {
		t.line("  - %s %s", x.Name, x.Version)
	}
	for _, x := range p.Changed {
		t.line("  ~ %s %s -> %s", x.Name, x.Before, x.After)
	}
}

func (t *printer) kernels(k *Kernels) {
	t.title("kernels", len(k.Added), len(k.Removed), len(k.Changed))
	describe := func(k Kernel) string {
		var without []string
		if !k.Initrd {
			without = append(without, "initrd")
		}
		if !k.Modules {
			without = append(without, "modules")
		}
		if len(without) > 0 {
			return k.Version + " (without " + strings.Join(without, " and ") + ")"
		}
		return k.Version
	}
	for _, x := range k.Added {
		t.line("  + %s", describe(x))
	}
	for _, x := range k.Removed {
		t.line("  - %s", describe(x))
	}
	for _, x := range k.Changed {
		t.line("  ~ %s -> %s", describe(x.Before), describe(x.After))
	}
}

func (t *printer) services(s *Services) {
	t.title("units", len(s.Added), len(s.Removed), len(s.Changed))
	for _, x := range s.Added {
		t.line("  + %s (%s)", x.Name, x.State)
	}
	for _, x := range s.Removed {
		t.line("  - %s (%s)", x.Name, x.State)
	}
	for _, x := range s.Changed {
		t.line("  ~ %s: %s -> %s", x.Name, x.Before, x.After)
	}
}

func (t *printer) ports(p *Ports) {
	t.title("ports of socket units", len(p.Added), len(p.Removed), len(p.Changed))
	for _, x := range p.Added {
		t.line("  + %s %s:%d by %s (%s)", x.Protocol, x.Address, x.Port, x.Unit, x.State)
	}
	for _, x := range p.Removed {
		t.line("  - %s %s:%d by %s (%s)", x.Protocol, x.Address, x.Port, x.Unit, x.State)
	}
	for _, x := range p.Changed {
		t.line("  ~ %s %s:%d by %s: %s -> %s", x.After.Protocol, x.After.Address, x.After.Port, x.After.Unit, x.Before.State, x.After.State)
	}
}

func (t *printer) accounts(r *Report) {
	u, g := &r.Users, &r.Groups
	describe := func(u User) string {
		s := fmt.Sprintf("uid %s, gid %s, home %s, shell %s, password %s", u.UID, u.GID, u.Home, u.Shell, u.Password)
		if u.AuthorizedKeys > 0 {
			s += fmt.Sprintf(", authorized keys %d", u.AuthorizedKeys)
		}
		return s
	}
	t.title("users", len(u.Added), len(u.Removed), len(u.Changed))
	for _, x := range u.Added {
		t.line("  + %s (%s)", x.Name, describe(x))
	}
	for _, x := range u.Removed {
		t.line("  - %s (%s)", x.Name, describe(x))
	}
	for _, x := range u.Changed {
		t.line("  ~ %s: %s", x.Name, x.describe())
	}
	t.title("groups", len(g.Added), len(g.Removed), len(g.Changed))
	for _, x := range g.Added {
		t.line("  + %s (gid %s%s)", x.Name, x.GID, members(x))
	}
	for _, x := range g.Removed {
		t.line("  - %s (gid %s%s)", x.Name, x.GID, members(x))
	}
	for _, x := range g.Changed {
		t.line("  ~ %s: %s", x.Name, x.describe())
	}
}

// describe says what changed of a user.
func (c *UserChange) describe() string {
	var out []string
	for _, what := range c.What {
		before, after := "", ""
		switch what {
		case "uid":
			before, after = c.Before.UID, c.After.UID
		case "gid":
			before, after = c.Before.GID, c.After.GID
		case "home":
			before, after = c.Before.Home, c.After.Home
		case "shell":
			before, after = c.Before.Shell, c.After.Shell
		case "password":
			before, after = c.Before.Password, c.After.Password
			if before == after {
				out = append(out, "another password ("+after+")")
				continue
			}
		case "authorizedKeys":
			what, before, after = "authorized keys", strconv.Itoa(c.Before.AuthorizedKeys), strconv.Itoa(c.After.AuthorizedKeys)
		}
		out = append(out, fmt.Sprintf("%s %s -> %s", what, before, after))
	}
	return strings.Join(out, ", ")
}

// describe says what changed of a group.
func (c *GroupChange) describe() string {
	var out []string
	if c.Before.GID != c.After.GID {
		out = append(out, fmt.Sprintf("gid %s -> %s", c.Before.GID, c.After.GID))
	}
	for _, m := range c.After.Members {
		if !slices.Contains(c.Before.Members, m) {
			out = append(out, "+ member "+m)
		}
	}
	for _, m := range c.Before.Members {
		if !slices.Contains(c.After.Members, m) {
			out = append(out, "- member "+m)
		}
	}
	return strings.Join(out, ", ")
}

func members(g Group) string {
	if len(g.Members) == 0 {
		return ""
	}
	return ", members " + strings.Join(g.Members, " ")
}

// entry is a line about a file.
type entry struct {
	path, sign, about, owner string
}

func (t *printer) files(f *Files, all bool) {
	if !t.title("files", len(f.Added), len(f.Removed), len(f.Changed)) {
		return
	}
	entries := append(only("+", f.Added, all), only("-", f.Removed, all)...)
	for _, x := range f.Changed {
		entries = append(entries, entry{x.Path, "~", x.describe(), x.Package})
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return strings.Compare(a.path, b.path) })
	counts := map[string]map[string]int{}
	for _, e := range entries {
		if e.owner != "" && !all {
			if counts[e.owner] == nil {
				counts[e.owner] = map[string]int{}
			}
			counts[e.owner][e.sign]++
			continue
		}
		t.line("  %s /%s%s", e.sign, e.path, e.about)
	}
	var owners []string
	for o := range counts {
		owners = append(owners, o)
	}
	slices.Sort(owners)
	if len(owners) > 0 {
		t.line("files of packages (--files lists them):")
	}
	for _, o := range owners {
		var parts []string
		for _, sign := range []string{"+", "-", "~"} {
			if n := counts[o][sign]; n > 0 {
				parts = append(parts, fmt.Sprintf("%s%d", sign, n))
			}
		}
		t.line("  %s: %s", o, strings.Join(parts, " "))
	}
}

// only describes files of one side. A folder that has all that is in it on one side stands for that, unless all are wanted.
func only(sign string, list []File, all bool) []entry {
	var out []entry
	for i := 0; i < len(list); i++ {
		x := list[i]
		owner := x.Package
		if x.Type != "folder" || all || owner != "" {
			out = append(out, entry{x.Path, sign, x.about(), owner})
			continue
		}
		n, bytes, mixed := 0, int64(0), false
		for j := i + 1; j < len(list) && strings.HasPrefix(list[j].Path, x.Path+"/"); j++ {
			n++
			bytes += list[j].Size
			mixed = mixed || list[j].Package != "" || notable(list[j])
		}
		if mixed || n == 0 {
			out = append(out, entry{x.Path + "/", sign, x.about(), owner})
			continue
		}
		out = append(out, entry{x.Path + "/", sign, fmt.Sprintf(" (%d entries, %s)", n, size(bytes)), ""})
		i += n
	}
	return out
}

// notable tells whether a file is to be seen by itself: it runs with the rights of its owner or group, or is a device.
func notable(f File) bool {
	return len(f.Mode) == 4 && f.Mode[0] >= '2' && f.Type == "file" || f.Type == "device"
}

func (f *File) about() string {
	var out []string
	switch f.Type {
	case "file":
		out = append(out, size(f.Size))
	case "link":
		return " -> " + printable(f.Target)
	case "folder":
	default:
		out = append(out, f.Type)
	}
	if notable(*f) {
		out = append(out, "mode "+f.Mode)
	}
	if f.UID > 0 || f.GID > 0 {
		out = append(out, fmt.Sprintf("owner %d:%d", f.UID, f.GID))
	}
	if len(out) == 0 {
		return ""
	}
	return " (" + strings.Join(out, ", ") + ")"
}

// describe says what changed of a file.
func (c *FileChange) describe() string {
	var out []string
	for _, what := range c.What {
		switch what {
		case "type":
			out = append(out, c.Before.Type+" -> "+c.After.Type)
		case "content":
			if c.Before.Size == c.After.Size {
				out = append(out, "other content of "+size(c.After.Size))
			} else {
				out = append(out, size(c.Before.Size)+" -> "+size(c.After.Size))
			}
		case "target":
			out = append(out, printable(c.Before.Target)+" -> "+printable(c.After.Target))
		case "mode":
			out = append(out, "mode "+c.Before.Mode+" -> "+c.After.Mode)
		case "owner":
			out = append(out, fmt.Sprintf("owner %d:%d -> %d:%d", c.Before.UID, c.Before.GID, c.After.UID, c.After.GID))
		}
	}
	return " (" + strings.Join(out, ", ") + ")"
}

func (t *printer) problems(problems []Problem) {
	if len(problems) > 0 {
		t.line("could not be compared: %d", len(problems))
	}
	for _, p := range problems {
		t.line("  ! %s: %s: %s", p.Side, p.Path, p.What)
	}
}

// size writes a number of bytes for people.
func size(n int64) string {
	for _, u := range []struct {
		unit string
		size int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.size {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.size), u.unit)
		}
	}
	return fmt.Sprintf("%d %s", n, cmp.Or(map[bool]string{true: "byte"}[n == 1], "bytes"))
}
