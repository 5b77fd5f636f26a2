package preflight

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// maxRead is how much of a text file of the system is read, in bytes.
const maxRead = 1 << 20

// text reads a text file of the system by its path from /, at most 1 MiB; "" if it is not there. The error is one of reading the disk.
func (t *Target) text(name string) (string, error) {
	f, err := t.Root.Open(strings.TrimPrefix(name, "/"))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return "", err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxRead))
	return string(b), err
}

// matches lists what is in a folder of the system whose name matches a pattern, by paths from /.
func (t *Target) matches(folder, pattern string) ([]string, error) {
	entries, err := t.Root.ReadDir(strings.TrimPrefix(folder, "/"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if ok, _ := path.Match(pattern, e.Name()); ok {
			out = append(out, path.Join(folder, e.Name()))
		}
	}
	return out, nil
}

// anyOf tells whether one of some paths of the system leads to something.
func (t *Target) anyOf(names ...string) (bool, error) {
	for _, name := range names {
		if there, err := t.exists(name); there || err != nil {
			return there, err
		}
	}
	return false, nil
}

// enabled tells whether a unit of one of these names is started with the system, with or without .service.
func (t *Target) enabled(names ...string) bool {
	return slices.ContainsFunc(t.Report.System.Services, func(s string) bool { return slices.Contains(names, strings.TrimSuffix(s, ".service")) })
}

// lines gives the lines of a text that say something, by their numbers from 1: no comments, no blanks around.
func lines(text string) func(yield func(int, string) bool) {
	return func(yield func(int, string) bool) {
		n := 0
		for line := range strings.Lines(text) {
			n++
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' && line[0] != ';' && !yield(n, line) {
				return
			}
		}
	}
}

// some names the first few of a list.
func some(list []string) string {
	if len(list) > 5 {
		return strings.Join(list[:5], ", ") + fmt.Sprintf(" and %d more", len(list)-5)
	}
	return strings.Join(list, ", ")
}
