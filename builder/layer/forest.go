package layer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// forest is what the store holds at a moment. The names of the folders alone tell what stands on what, so that records are read only of those
// layers that are asked for.
type forest struct {
	s      *Store
	above  map[string][]string // IDs of the layers that stand on one; of roots under rootName
	layers map[string]*Layer   // those whose records were read
	junk   []string            // names of folders that nobody can use: leftovers, damaged records, lost parents
}

// rootName stands for the parent in the names of roots' folders.
const rootName = "root"

// folder is the name of the folder of a layer: that of the layer below, and its own.
func folder(parentID, id string) string {
	if parentID == "" {
		parentID = rootName
	}
	return parentID + "-" + id
}

// parseFolder takes the name of a folder apart; ok is false if it is not a layer's. parentID is rootName of a root.
func parseFolder(name string) (parentID, id string, ok bool) {
	parentID, id, ok = strings.Cut(name, "-")
	return parentID, id, ok && layerID.MatchString(id) && (parentID == rootName || layerID.MatchString(parentID))
}

// path is a layer's folder, or a file in it.
func (s *Store) path(l *Layer, name ...string) string {
	return filepath.Join(append([]string{s.dir, folder(l.ParentID, l.ID)}, name...)...)
}

// scan reads the names of the folders.
func (s *Store) scan() (*forest, error) {
	dir, err := os.Open(s.dir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	f := &forest{s: s, above: map[string][]string{}, layers: map[string]*Layer{}}
	for _, name := range names {
		if leftover(name) {
			f.junk = append(f.junk, name)
		} else if parent, id, ok := parseFolder(name); ok {
			f.above[parent] = append(f.above[parent], id)
		}
	}
	return f, nil
}

// on gives the layers that stand on one, roots if it is nil. Their own records are whole, and fit the one below. What is unfit becomes junk with
// all that stands on it; what cannot be read at the moment is passed over.
func (f *forest) on(below *Layer) []*Layer {
	parentID := ""
	if below != nil {
		parentID = below.ID
	}
	var layers []*Layer
	for _, id := range f.ids(parentID) {
		l, err := f.s.readLayer(parentID, id)
		if err == nil && below != nil && (l.Depth != below.Depth+1 || l.Position != below.Position+len(l.Steps) || l.Root.Disk != below.Root.Disk) {
			err = errInvalid
		}
		switch {
		case err == nil:
			f.layers[id] = l
			layers = append(layers, l)
		case errors.Is(err, errInvalid) || errors.Is(err, os.ErrNotExist):
			f.junk = append(f.junk, folder(parentID, id))
		}
	}
	return layers
}

func (f *forest) ids(parentID string) []string {
	if parentID == "" {
		parentID = rootName
	}
	return f.above[parentID]
}

// load reads the records of all layers. It does not look at their files.
func (s *Store) load() (*forest, error) {
	f, err := s.scan()
	if err != nil {
		return nil, err
	}
	for next := f.on(nil); len(next) > 0; {
		l := next[0]
		next = append(next[1:], f.on(l)...)
	}
	// What stands on nothing.
	there := map[string]bool{rootName: true}
	for _, ids := range f.above {
		for _, id := range ids {
			there[id] = true
		}
	}
	gone := map[string]bool{}
	for _, name := range f.junk {
		_, id, _ := parseFolder(name)
		gone[id] = true
	}
	var orphans func(parentID string)
	orphans = func(parentID string) {
		for _, id := range f.above[parentID] {
			f.junk = append(f.junk, folder(parentID, id))
			if !gone[id] {
				gone[id] = true
				orphans(id)
			}
		}
	}
	for parentID := range f.above {
		if !there[parentID] || gone[parentID] {
			orphans(parentID)
		}
	}
	return f, nil
}

// chain gives the layers from the root up to l.
func (f *forest) chain(l *Layer) []*Layer {
	chain := make([]*Layer, l.Depth+1)
	for ; ; l = f.layers[l.ParentID] {
		chain[l.Depth] = l
		if l.Depth == 0 {
			return chain
		}
	}
}

func (s *Store) readLayer(parentID, id string) (*Layer, error) {
	l := new(Layer)
	dir := filepath.Join(s.dir, folder(parentID, id))
	info, err := s.readSealed(dir, recordName, id, l, maxRecord)
	if err != nil {
		return nil, err
	}
	if err := l.check(parentID, id); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", filepath.Join(dir, recordName), errInvalid, err)
	}
	l.Used = info.ModTime()
	return l, nil
}
