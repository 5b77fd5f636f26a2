package copyout

import (
	"archive/tar"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// install gives what was unpacked its place.
func (u *unpacker) install(root *os.Root, hidden, name string) error {
	there, err := root.Lstat(name)
	staged := filepath.Join(hidden, top)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = root.Rename(staged, name)
	case err != nil:
		return err
	case u.kinds["."] == tar.TypeDir:
		return u.merge(root, staged, name)
	case there.IsDir():
		return errors.New("there is a folder of that name; nothing was copied")
	default:
		err = root.Rename(staged, name)
	}
	if err != nil {
		return err
	}
	return u.setModes(root, name, nil)
}

// merge adds a folder to one that is there. Whatever stands in the way is found before anything is moved.
func (u *unpacker) merge(root *os.Root, staged, name string) error {
	var moves []string
	old := map[string]bool{} // folders that were there
	for _, entry := range u.sorted() {
		if entry != "." && !old[path.Dir(entry)] {
			continue // moves with its folder
		}
		there, err := root.Lstat(filepath.Join(name, filepath.FromSlash(entry)))
		folder := u.kinds[entry] == tar.TypeDir
		switch {
		case errors.Is(err, fs.ErrNotExist):
			moves = append(moves, entry)
		case err != nil:
			return err
		case folder && there.IsDir():
			old[entry] = true
		case folder:
			return fmt.Errorf("%s is there and is no folder; nothing was copied", filepath.Join(name, entry))
		case there.IsDir():
			return fmt.Errorf("%s is there and is a folder; nothing was copied", filepath.Join(name, entry))
		default:
			moves = append(moves, entry)
		}
	}
	for _, entry := range moves {
		entry = filepath.FromSlash(entry)
		if err := root.Rename(filepath.Join(staged, entry), filepath.Join(name, entry)); err != nil {
			return err
		}
	}
	return u.setModes(root, name, old)
}

// sorted gives the names of all that was made, each after the folder it is in.
func (u *unpacker) sorted() []string {
	names := []string{}
	for name, kind := range u.kinds {
		if name != "." && (kind == tar.TypeDir || kind == tar.TypeReg) {
			names = append(names, name)
		}
	}
	for _, l := range u.links {
		names = append(names, l.name)
	}
	slices.Sort(names)
	return append([]string{"."}, names...)
}

// setModes gives the folders that are new their permissions, the innermost first: one that its owner cannot write to cannot be filled.
func (u *unpacker) setModes(root *os.Root, name string, old map[string]bool) error {
	for _, m := range slices.Backward(u.modes) {
		if old[m.name] {
			continue
		}
		if err := root.Chmod(filepath.Join(name, filepath.FromSlash(m.name)), m.perm); err != nil {
			return err
		}
	}
	return nil
}
