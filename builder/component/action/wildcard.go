package action

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// Sources may contain * in the last part of their path, for any number of characters. Other characters have no special meaning.

func hasWildcard(path string) bool { return strings.Contains(path, "*") }

func isSeparator(c byte) bool { return c == '/' || c == '\\' && runtime.GOOS == "windows" }

// isFolder tells whether a destination is a folder by the way it is written.
func isFolder(path string) bool { return path != "" && isSeparator(path[len(path)-1]) }

func checkPattern(path string) error {
	last := path
	for i := len(path) - 1; i >= 0; i-- {
		if isSeparator(path[i]) {
			last = path[i+1:]
			break
		}
	}
	if strings.Count(path, "*") != strings.Count(last, "*") {
		return errors.New("* is allowed in the last part of the path only")
	}
	if last == "" {
		return errors.New("names a folder where a file is needed")
	}
	return nil
}

// matchFiles returns the files that a path with wildcards means, in the order of their names; folders do not match. A path without
// wildcards is returned as it is, whether there is such a file or not.
func matchFiles(path string) ([]string, error) {
	dir, last := filepath.Split(path)
	if !hasWildcard(last) {
		return []string{path}, nil
	}
	parts := strings.Split(last, "*")
	for i, part := range parts {
		parts[i] = regexp.QuoteMeta(part)
	}
	pattern, err := regexp.Compile("(?s)^" + strings.Join(parts, ".*") + "$")
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, entry := range entries {
		if !entry.IsDir() && pattern.MatchString(entry.Name()) {
			found = append(found, filepath.Join(dir, entry.Name()))
		}
	}
	return found, nil
}
