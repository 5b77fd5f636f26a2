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

// checkPattern checks a path of a file, or of several by a wildcard.
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

// checkFolderPattern does the same for a folder, which may end in a slash.
func checkFolderPattern(path string) error {
	for len(path) > 1 && isFolder(path) {
		path = path[:len(path)-1]
	}
	if path == "/" {
		return nil
	}
	return checkPattern(path)
}

// checkPlainFolder is for folders that cannot be several.
func checkPlainFolder(path string, report func(input, message, hint string)) {
	if hasWildcard(path) {
		report("path", "must not contain *", "name a single folder")
	}
}

// matchFiles returns the files that a path with wildcards means, in the order of their names; folders do not match. A path without
// wildcards is returned as it is, whether there is such a file or not.
func matchFiles(path string) ([]string, error) {
	return matchEntries(path, func(entry os.DirEntry) bool { return !entry.IsDir() })
}

// matchFolders does the same for folders; links to folders do not match.
func matchFolders(path string) ([]string, error) { return matchEntries(path, os.DirEntry.IsDir) }

func matchEntries(path string, wanted func(os.DirEntry) bool) ([]string, error) {
	dir, last := filepath.Split(path)
	if !hasWildcard(last) {
		return []string{path}, nil
	}
	matches := matcher(last)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, entry := range entries {
		if wanted(entry) && matches(entry.Name()) {
			found = append(found, filepath.Join(dir, entry.Name()))
		}
	}
	return found, nil
}

// matcher returns a function that tells whether a name is one that a pattern means. On Windows the case of letters does not matter.
func matcher(pattern string) func(name string) bool {
	parts := strings.Split(pattern, "*")
	for i, part := range parts {
		parts[i] = regexp.QuoteMeta(part)
	}
	flags := "(?s)"
	if runtime.GOOS == "windows" {
		flags = "(?si)"
	}
	return regexp.MustCompile(flags + "^" + strings.Join(parts, ".*") + "$").MatchString
}
