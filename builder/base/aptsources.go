package base

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"
)

// aptEntry is one archive of apt's sources, for one suite. See sources.list(5).
type aptEntry struct {
	URI        string
	Suite      string
	Components []string
	SignedBy   string   // path of a keyring; empty for apt's trusted keys
	Archs      []string // empty for all
	inlineKey  bool     // Signed-By holds the key itself
}

const (
	maxSourceFile  = 1 << 20
	maxSourceFiles = 256
	maxEntries     = 4096
)

// readAptSources reads /etc/apt/sources.list and sources.list.d of the root file system fsys. What apt would not use (disabled
// stanzas, source packages, files with other extensions) is left out, and so are lines that make no sense to us.
func readAptSources(fsys fs.FS) ([]aptEntry, error) {
	names := []string{"etc/apt/sources.list"}
	dir, err := fs.ReadDir(fsys, "etc/apt/sources.list.d")
	if err != nil && !isNotExist(err) {
		return nil, fmt.Errorf("read apt sources: %w", err)
	}
	for i, e := range dir {
		if i == maxSourceFiles {
			break
		}
		if ext := path.Ext(e.Name()); ext == ".list" || ext == ".sources" {
			names = append(names, "etc/apt/sources.list.d/"+e.Name())
		}
	}
	var all []aptEntry
	for _, name := range names {
		f, err := fsys.Open(name)
		if isNotExist(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read apt sources: %w", err)
		}
		data, err := io.ReadAll(io.LimitReader(f, maxSourceFile))
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("read apt sources: %s: %w", name, err)
		}
		if path.Ext(name) == ".sources" {
			all = append(all, parseDeb822(string(data))...)
		} else {
			all = append(all, parseOneLine(string(data))...)
		}
		if len(all) > maxEntries {
			return all[:maxEntries], nil
		}
	}
	return all, nil
}

// parseOneLine reads the one-line style: "deb [ option=value ... ] uri suite component ...".
func parseOneLine(text string) []aptEntry {
	var out []aptEntry
	sc := bufio.NewScanner(strings.NewReader(text))
	sc.Buffer(nil, maxSourceFile)
	for sc.Scan() && len(out) < maxEntries {
		line, _, _ := strings.Cut(sc.Text(), "#")
		kind, rest, ok := strings.Cut(strings.TrimSpace(strings.ReplaceAll(line, "\t", " ")), " ")
		if !ok || kind != "deb" {
			continue
		}
		var e aptEntry
		rest = strings.TrimSpace(rest)
		if strings.HasPrefix(rest, "[") {
			options, after, ok := strings.Cut(rest[1:], "]")
			if !ok {
				continue
			}
			rest = after
			for _, o := range strings.Fields(options) {
				key, value, _ := strings.Cut(o, "=")
				switch strings.ToLower(strings.TrimRight(key, "+-")) {
				case "arch":
					e.Archs = strings.Split(value, ",")
				case "signed-by":
					e.SignedBy = value
				}
			}
		}
		f := strings.Fields(rest)
		if len(f) < 3 {
			continue
		}
		e.URI, e.Suite, e.Components = f[0], f[1], f[2:]
		out = append(out, e)
	}
	return out
}

// parseDeb822 reads the deb822 style: stanzas of "Field: value", continued by lines that start with a blank.
func parseDeb822(text string) []aptEntry {
	var out []aptEntry
	fields := map[string]string{}
	flush := func() {
		out = append(out, deb822Entries(fields)...)
		fields = map[string]string{}
	}
	last := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			flush()
			last = ""
		case line[0] == ' ' || line[0] == '\t':
			if last != "" {
				fields[last] += "\n" + strings.TrimSpace(line)
			}
		default:
			key, value, ok := strings.Cut(line, ":")
			if last = ""; ok {
				last = strings.ToLower(strings.TrimSpace(key))
				fields[last] = strings.TrimSpace(value)
			}
		}
		if len(out) >= maxEntries {
			return out[:maxEntries]
		}
	}
	flush()
	return out
}

func deb822Entries(f map[string]string) []aptEntry {
	if !slices.Contains(strings.Fields(f["types"]), "deb") {
		return nil
	}
	switch strings.ToLower(f["enabled"]) {
	case "no", "false", "without", "off", "disable":
		return nil
	}
	proto := aptEntry{Components: strings.Fields(f["components"]), Archs: strings.Fields(f["architectures"]), SignedBy: f["signed-by"]}
	if strings.Contains(proto.SignedBy, "-----BEGIN") || strings.Contains(proto.SignedBy, "\n") {
		proto.SignedBy, proto.inlineKey = "", true
	}
	var out []aptEntry
	for _, uri := range strings.Fields(f["uris"]) {
		for _, suite := range strings.Fields(f["suites"]) {
			if len(out) >= maxEntries {
				return out
			}
			e := proto
			e.URI, e.Suite = uri, suite
			out = append(out, e)
		}
	}
	return out
}

// archive is a role that a suite's package sources play.
type archive struct {
	uri      *url.URL
	signedBy string
}

// debianArchives finds, among a Debian machine's sources, those that serve its own release (codename), its updates and its
// security updates. Third-party archives are left out: they sign with keys of their own, have no "main", or are served from
// elsewhere than a ".../debian" path while the release itself is.
func debianArchives(entries []aptEntry, codename, arch string) (release, updates, security *archive) {
	pick := func(suites ...string) *archive {
		var fallback *archive
		for _, e := range entries {
			if !slices.Contains(suites, e.Suite) || !slices.Contains(e.Components, "main") || e.inlineKey ||
				(len(e.Archs) > 0 && !slices.Contains(e.Archs, arch)) {
				continue
			}
			if e.SignedBy != "" && !strings.HasPrefix(path.Base(e.SignedBy), "debian-") {
				continue
			}
			u, err := url.Parse(e.URI)
			if err != nil || u.Scheme == "" || u.Scheme == "cdrom" || strings.ContainsAny(e.URI, "[]\"'") {
				continue
			}
			a := &archive{uri: u, signedBy: e.SignedBy}
			if last := path.Base(strings.TrimRight(u.Path, "/")); strings.HasPrefix(last, "debian") {
				return a
			}
			if fallback == nil {
				fallback = a
			}
		}
		return fallback
	}
	// Only the address matters, the suite is replaced: so a machine that follows "stable" or "testing" will do as well.
	release = pick(codename)
	for _, alias := range []string{"stable", "oldstable", "testing", "sid", "unstable"} {
		if release == nil {
			release, codename = pick(alias), alias
		}
	}
	return release, pick(codename + "-updates"), pick(codename+"-security", codename+"/updates")
}

// sourceLine writes a line of sources.list. Credentials in the URI are left out unless secrets is set.
func (a *archive) sourceLine(suite, arch, signedBy string, secrets bool) string {
	u := *a.uri
	if !secrets {
		u.User = nil
	}
	options := ""
	if signedBy != "" {
		options = fmt.Sprintf("[arch=%s signed-by=%s] ", arch, signedBy)
	}
	return fmt.Sprintf("deb %s%s %s main\n", options, u.String(), suite)
}
