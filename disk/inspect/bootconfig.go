package inspect

import (
	"path"
	"slices"
	"strings"
)

// Bounds of what boot loaders are told.
const (
	maxEntries = 512 // of all boot loaders
	maxInitrds = 16  // of an entry
	maxOptions = 8192
)

// bootConfigs reads what boot loaders are told to boot, in the system's tree.
func (r *Root) bootConfigs(b *Boot) {
	env := r.grubEnvironment()
	for _, name := range append([]string{"boot/grub/grub.cfg", "boot/grub2/grub.cfg"}, list(r, "boot/efi/EFI", "*")...) {
		if strings.HasPrefix(name, "boot/efi/") {
			name += "/grub.cfg"
		}
		if exists(r, name) {
			r.grubConfig(b, name, env)
		}
	}
	for _, name := range []string{"boot/grub/menu.lst", "boot/grub/grub.conf"} {
		if st, err := r.Lstat(name); err == nil && st.Mode().IsRegular() {
			r.legacyConfig(b, name)
		}
	}
	for _, name := range []string{"boot/extlinux/extlinux.conf", "boot/extlinux.conf", "boot/syslinux/syslinux.cfg"} {
		if st, err := r.Lstat(name); err == nil && st.Mode().IsRegular() {
			r.syslinuxConfig(b, name)
		}
	}
	for _, folder := range []string{"boot", "boot/efi", "efi"} {
		r.loaderSpecification(b, folder, env)
	}
	// The first configuration with entries decides, as firmware and distributions have it in this order.
	found := false
	for i := range b.Entries {
		if found {
			b.Entries[i].Default = false
		}
		found = found || b.Entries[i].Default
	}
}

// grubEnvironment reads GRUB's environment block: settings that its menu saves (GRUB manual, section 15.2).
func (r *Root) grubEnvironment() map[string]string {
	for _, name := range []string{"boot/grub2/grubenv", "boot/grub/grubenv"} {
		if t := text(r, name); strings.HasPrefix(t, "# GRUB Environment Block") {
			return settings(t)
		}
	}
	return nil
}

// grubConfig reads the menu entries of a grub.cfg that grub-mkconfig wrote. It is a program: what it would compute is not known.
func (r *Root) grubConfig(b *Boot, name string, env map[string]string) {
	t := text(r, name)
	c := BootConfig{Path: "/" + name, Kind: "grub", Size: int64(len(t))}
	var entries []BootEntry
	var open *BootEntry
	depth, inEntry := 0, 0
	var menus grubMenus
	var way []grubPlace
	var ways [][]grubPlace // to the entries
	for line := range strings.Lines(t) {
		line = strings.TrimSpace(line)
		words := quotedWords(line)
		if len(words) == 0 {
			continue
		}
		switch word := words[0]; {
		case word == "menuentry" && len(words) > 1 && len(entries) < maxEntries:
			open, inEntry = &BootEntry{Config: c.Path, Title: printable(words[1])}, depth
			for i, w := range words {
				if (w == "--id" || w == "$menuentry_id_option") && i+1 < len(words) {
					open.ID = printable(words[i+1])
				}
			}
			way = menus.add(open.Title, open.ID)
		case word == "submenu" && len(words) > 1:
			id := ""
			for i, w := range words {
				if (w == "--id" || w == "$menuentry_id_option") && i+1 < len(words) {
					id = printable(words[i+1])
				}
			}
			inner := menus.add(printable(words[1]), id)
			menus.enter(depth, inner[len(inner)-1])
		case open != nil && (word == "linux" || word == "linux16" || word == "linuxefi") && len(words) > 1:
			open.Kernel, open.Options = words[1], grubOptions(words[2:])
		case open != nil && (word == "initrd" || word == "initrd16" || word == "initrdefi"):
			for _, w := range words[1:] {
				open.addInitrd(w)
			}
		case word == "set" && len(words) > 1:
			if v, ok := strings.CutPrefix(words[1], "timeout="); ok && (c.Timeout == "" || depth == 0) {
				c.Timeout = printable(v)
			}
			if v, ok := strings.CutPrefix(words[1], "default="); ok && c.Default == "" && v != "${next_entry}" {
				c.Default = printable(v)
			}
		}
		switch {
		case strings.HasSuffix(line, "{"):
			depth++
		case line == "}":
			depth--
			menus.leave(depth)
			if open != nil && depth <= inEntry {
				if open.Kernel != "" {
					entries, ways = append(entries, *open), append(ways, way)
				}
				open = nil
			}
		}
	}
	if strings.Contains(c.Default, "saved_entry") {
		c.Default = env["saved_entry"]
	}
	r.locate(entries)
	c.Entries = len(entries)
	bls := strings.Contains(t, "\nblscfg") || strings.Contains(t, "insmod blscfg")
	chosen := false
	for i := range entries {
		if leads(c.Default, ways[i]) {
			entries[i].Default, chosen = true, true
			break
		}
	}
	if !chosen {
		choose(&c, entries, bls)
	}
	b.Configs = append(b.Configs, c)
	b.add(entries)
}

// grubOptions are a kernel's options, which GRUB has taken out of quotes.
func grubOptions(words []string) string {
	var out []string
	for _, w := range words {
		out = append(out, withoutSecret(w))
	}
	return printable(strings.Join(out, " "))
}

func (b *Boot) add(entries []BootEntry) {
	b.Entries = append(b.Entries, entries[:min(len(entries), max(maxEntries-len(b.Entries), 0))]...)
}

// choose marks the entry that is started if nobody chooses: by number, title or id, "submenu>entry" by what is behind the last sign.
func choose(c *BootConfig, entries []BootEntry, otherwise bool) {
	if len(entries) == 0 {
		return
	}
	want := c.Default
	if want == "" || want == "0" {
		entries[0].Default = true
		return
	}
	last := want[strings.LastIndex(want, ">")+1:]
	for i := range entries {
		if e := &entries[i]; e.ID == last || e.Title == last || e.ID == want {
			e.Default = true
			return
		}
	}
	if n := strings.TrimLeft(last, "0123456789"); n == "" && !strings.Contains(want, ">") && len(want) < 4 {
		k := 0
		for _, d := range want {
			k = k*10 + int(d-'0')
		}
		if k < len(entries) {
			entries[k].Default = true
			return
		}
	}
	if !otherwise { // GRUB starts the first one then
		c.Problem = "the default entry " + want + " does not exist"
		entries[0].Default = true
	}
}

// legacyConfig reads the menu of GRUB before 2.
func (r *Root) legacyConfig(b *Boot, name string) {
	t := text(r, name)
	c := BootConfig{Path: "/" + name, Kind: "grub-legacy", Size: int64(len(t))}
	var entries []BootEntry
	for line := range strings.Lines(t) {
		words := strings.Fields(strings.Replace(line, "=", " ", 1))
		if len(words) < 2 || strings.HasPrefix(words[0], "#") {
			continue
		}
		rest := strings.Fields(line)
		switch words[0] {
		case "default":
			c.Default = printable(words[1])
		case "timeout":
			c.Timeout = printable(words[1])
		case "title":
			if len(entries) < maxEntries {
				entries = append(entries, BootEntry{Config: c.Path, Title: printable(strings.Join(rest[1:], " "))})
			}
		case "kernel", "initrd":
			if len(entries) == 0 || len(rest) < 2 {
				break
			}
			e := &entries[len(entries)-1]
			if rest[0] == "kernel" {
				e.Kernel, e.Options = rest[1], printable(strings.Join(rest[2:], " "))
			} else {
				e.addInitrd(rest[1])
			}
		}
	}
	entries = slices.DeleteFunc(entries, func(e BootEntry) bool { return e.Kernel == "" })
	r.locate(entries)
	c.Entries = len(entries)
	choose(&c, entries, false)
	b.Configs = append(b.Configs, c)
	b.add(entries)
}

// syslinuxConfig reads the configuration of SYSLINUX and EXTLINUX.
func (r *Root) syslinuxConfig(b *Boot, name string) {
	t := text(r, name)
	c := BootConfig{Path: "/" + name, Kind: "syslinux", Size: int64(len(t))}
	beside := func(file string) string {
		if strings.HasPrefix(file, "/") {
			return file
		}
		return path.Join(path.Dir("/"+name), file)
	}
	var entries []BootEntry
	for line := range strings.Lines(t) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		var e *BootEntry
		if len(entries) > 0 {
			e = &entries[len(entries)-1]
		}
		switch word := strings.ToLower(words[0]); {
		case word == "default":
			c.Default = printable(words[1])
		case word == "timeout":
			c.Timeout = printable(words[1])
		case word == "label" && len(entries) < maxEntries:
			entries = append(entries, BootEntry{Config: c.Path, ID: printable(words[1])})
		case e == nil:
		case word == "menu" && strings.EqualFold(words[1], "label"):
			e.Title = printable(strings.Join(words[2:], " "))
		case word == "linux" || word == "kernel":
			e.Kernel = beside(words[1])
		case word == "initrd":
			e.addInitrd(beside(words[1]))
		case word == "append":
			e.Options = printable(strings.Join(words[1:], " "))
		}
	}
	entries = slices.DeleteFunc(entries, func(e BootEntry) bool { return e.Kernel == "" })
	r.locate(entries)
	c.Entries = len(entries)
	choose(&c, entries, false)
	b.Configs = append(b.Configs, c)
	b.add(entries)
}

// addInitrd adds an initial RAM disk to an entry, if there are not too many already.
func (e *BootEntry) addInitrd(name string) {
	if len(e.Initrds) < maxInitrds {
		e.Initrds = append(e.Initrds, name)
	}
}

// locate finds in the tree what boot loaders are told to load, and hides what is secret in the kernel's command line.
func (r *Root) locate(entries []BootEntry) {
	for i := range entries {
		e := &entries[i]
		e.Options = withoutSecrets(e.Options, ' ', false)
		if e.Kernel != "" {
			e.Kernel = r.bootPath(e.Kernel)
		}
		for k := range e.Initrds {
			e.Initrds[k] = r.bootPath(e.Initrds[k])
		}
	}
}

// bootPath is where a boot loader's path is in the tree: it counts from the file system that /boot is on, which may be mounted there.
func (r *Root) bootPath(name string) string {
	if _, after, ok := strings.Cut(name, ")"); ok && strings.HasPrefix(name, "(") {
		name = after
	}
	name = strings.Trim(path.Clean("/"+printable(name)), "/")
	for _, prefix := range []string{"", "boot", "boot/efi", "efi"} {
		if full := path.Join(prefix, name); full != "." && exists(r, full) {
			return "/" + full
		}
	}
	// A subvolume of Btrfs stands before its paths.
	if _, after, ok := strings.Cut(name, "/"); ok && exists(r, after) {
		return "/" + after
	}
	return "/" + name
}

// quotedWords splits a line of a shell: blanks part, quotes keep together.
func quotedWords(line string) []string {
	var words []string
	var word strings.Builder
	open, quote := false, rune(0)
	for _, c := range line {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '\'' || c == '"':
			quote, open = c, true
		case c == ' ' || c == '\t':
			if open {
				words = append(words, word.String())
			}
			word.Reset()
			open = false
		case c == '#' && !open:
			return words
		default:
			word.WriteRune(c)
			open = true
		}
	}
	if open {
		words = append(words, word.String())
	}
	return words
}
