package inspect

import (
	"io/fs"
	"path"
	"strings"
	"unicode"
)

// Bounds of the text files that are read.
const (
	maxText    = 4 << 20
	maxMatches = 4096 // of a pattern
)

// printable is text from the disk without what a terminal would take for a command, at most 1000 characters.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if r := []rune(s); len(r) > 1000 {
		s = string(r[:1000]) + "…"
	}
	return strings.TrimSpace(s)
}

// text reads a text file, "" if it is not there.
func text(f fs.FS, name string) string {
	b, err := readFile(f, name, maxText)
	if err != nil {
		return ""
	}
	return string(b)
}

// exists tells whether a name leads to something.
func exists(f fs.StatFS, name string) bool {
	_, err := f.Stat(name)
	return err == nil
}

// lexists tells whether a name is there, wherever it leads.
func lexists(f fs.ReadLinkFS, name string) bool {
	_, err := f.Lstat(name)
	return err == nil
}

// list names what is in a folder that matches a pattern of [path.Match], with the folder.
func list(f fs.ReadDirFS, folder, pattern string) []string {
	entries, err := f.ReadDir(folder)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if ok, _ := path.Match(pattern, e.Name()); ok && len(out) < maxMatches {
			out = append(out, path.Join(folder, e.Name()))
		}
	}
	return out
}

// settings reads lines of KEY=value as os-release(5) has them, in quotes or not.
func settings(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || strings.HasPrefix(key, "#") {
			continue
		}
		value = strings.TrimSpace(value)
		if len(value) >= 2 && (value[0] == '"' || value[0] == '\'') && value[len(value)-1] == value[0] {
			value = value[1 : len(value)-1]
			value = strings.NewReplacer(`\"`, `"`, `\$`, `$`, `\\`, `\`, "\\`", "`").Replace(value)
		}
		if len(out) < 1000 {
			out[strings.TrimSpace(key)] = printable(value)
		}
	}
	return out
}
