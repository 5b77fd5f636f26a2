package action

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/ingot-image/ingot/builder/component"
)

// spelledError is an error that names a path as the document does.
type spelledError struct {
	error
	text string
}

func (e spelledError) Error() string { return e.text }
func (e spelledError) Unwrap() error { return e.error }

// spelled makes an error of the system name a path as the document spells it. Cleaning a path changes a secret that is a part of it, so that
// nobody would know it for one.
func spelled(err error, x *component.Execution, document string) error {
	if err == nil || x.Path(document) == document {
		return err
	}
	paths := pathsOf(err)
	slices.SortFunc(paths, func(a, b string) int { return len(b) - len(a) }) // of a folder and a file in it the file is to be found
	var pairs []string
	for _, path := range paths {
		if len(path) > 1 {
			pairs = append(pairs, path, document)
		}
	}
	return spelledError{err, strings.NewReplacer(pairs...).Replace(err.Error())}
}

// pathsOf are the paths that the errors of the system in an error tell of.
func pathsOf(err error) []string {
	switch err := err.(type) {
	case *fs.PathError:
		return []string{err.Path}
	case *os.LinkError:
		return []string{err.Old, err.New}
	case interface{ Unwrap() []error }:
		var paths []string
		for _, e := range err.Unwrap() {
			paths = append(paths, pathsOf(e)...)
		}
		return paths
	}
	if inner := errors.Unwrap(err); inner != nil {
		return pathsOf(inner)
	}
	return nil
}
