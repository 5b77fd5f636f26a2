package inspect

import (
	"path"
	"slices"
	"strings"
)

// loaderSpecification reads entries after the Boot Loader Specification (uapi-group.org) in loader/entries of a folder, and the settings of
// systemd-boot beside them.
func (r *Root) loaderSpecification(b *Boot, folder string, env map[string]string) {
	dir := path.Join(folder, "loader/entries")
	names := list(r, dir, "*.conf")
	if len(names) == 0 {
		return
	}
	for _, c := range b.Configs { // /efi may be /boot/efi
		if c.Path == "/"+dir {
			return
		}
	}
	c := BootConfig{Path: "/" + dir, Kind: "bls", Entries: len(names), Default: env["saved_entry"]}
	if t := text(r, path.Join(folder, "loader/loader.conf")); t != "" {
		c.Kind = "systemd-boot"
		for line := range strings.Lines(t) {
			if words := strings.Fields(line); len(words) > 1 {
				switch words[0] {
				case "default":
					c.Default = strings.TrimSuffix(printable(words[1]), ".conf")
				case "timeout":
					c.Timeout = printable(words[1])
				}
			}
		}
	}
	type versioned struct {
		BootEntry
		version string
	}
	var entries []versioned
	for _, name := range names[:min(len(names), maxEntries)] {
		e := versioned{BootEntry: BootEntry{Config: c.Path, ID: printable(strings.TrimSuffix(path.Base(name), ".conf"))}}
		t := text(r, name)
		c.Size += int64(len(t))
		for line := range strings.Lines(t) {
			key, value, ok := strings.Cut(strings.TrimSpace(line), " ")
			value = printable(value)
			if !ok || value == "" {
				continue
			}
			switch key {
			case "title":
				e.Title = value
			case "version":
				e.version = value
			case "linux", "efi", "uki":
				e.Kernel = value
			case "initrd":
				for _, w := range strings.Fields(value) {
					if !strings.HasPrefix(w, "$") {
						e.addInitrd(w)
					}
				}
			case "options":
				if len(e.Options) > maxOptions {
					break
				}
				e.Options = strings.TrimSpace(e.Options + " " + expand(value, env))
			}
		}
		entries = append(entries, e)
	}
	slices.SortStableFunc(entries, func(a, b versioned) int {
		if n := compareVersions(b.version, a.version); n != 0 {
			return n
		}
		return strings.Compare(b.ID, a.ID)
	})
	var out []BootEntry
	for _, e := range entries {
		out = append(out, e.BootEntry)
	}
	r.locate(out)
	if strings.ContainsAny(c.Default, "*?[") { // loader.conf(5): a pattern
		for _, e := range out {
			if ok, _ := path.Match(c.Default, e.ID); ok {
				c.Default = e.ID
				break
			}
		}
	}
	choose(&c, out, false)
	b.Configs = append(b.Configs, c)
	b.add(out)
}

// expand puts GRUB's environment into options such as "$kernelopts".
func expand(options string, env map[string]string) string {
	words := strings.Fields(options)
	for i, w := range words {
		name, ok := strings.CutPrefix(w, "$")
		if value, known := env[strings.Trim(name, "{}")]; ok && known {
			words[i] = value
		} else if ok && strings.HasPrefix(name, "tuned") {
			words[i] = ""
		}
	}
	return printable(strings.Join(strings.Fields(strings.Join(words, " ")), " "))
}

// compareVersions orders versions as people mean them: numbers by value.
func compareVersions(a, b string) int {
	number := func(s string) (string, string) {
		n := len(s) - len(strings.TrimLeft(s, "0123456789"))
		return strings.TrimLeft(s[:n], "0"), s[n:]
	}
	for a != "" && b != "" {
		if isDigit(a[0]) && isDigit(b[0]) {
			var x, y string
			x, a = number(a)
			y, b = number(b)
			if len(x) != len(y) {
				return len(x) - len(y)
			}
			if n := strings.Compare(x, y); n != 0 {
				return n
			}
			continue
		}
		if a[0] != b[0] {
			return int(a[0]) - int(b[0])
		}
		a, b = a[1:], b[1:]
	}
	return len(a) - len(b)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
