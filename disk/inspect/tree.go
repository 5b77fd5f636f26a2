package inspect

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/ingot-image/ingot/disk/internal/folder"
)

// Bounds of what is followed and read.
const (
	maxLinks = 40       // symbolic links followed for one name, as Linux does
	maxSteps = 4096     // path elements walked for one name
	maxPath  = 4096     // bytes of a path, as Linux's PATH_MAX
	maxKnown = 16 << 20 // bytes of paths that are remembered
	maxFile  = 64 << 20 // bytes of a file that ReadFile reads
)

// nowhereError says why a name leads to nothing, other than that nobody has it. It is an [fs.ErrNotExist].
type nowhereError string

func (e nowhereError) Error() string        { return string(e) }
func (e nowhereError) Is(target error) bool { return target == fs.ErrNotExist }

const errPathTooLong nowhereError = "the path is longer than 4096 bytes"

// known remembers folders that are no links.
type known struct {
	mutex sync.Mutex
	names map[string]bool
	bytes int
}

func (k *known) has(name string) bool {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return k.names[name]
}

func (k *known) add(name string) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if k.names == nil || k.bytes > maxKnown {
		k.names, k.bytes = map[string]bool{}, 0
	}
	if !k.names[name] {
		k.names[name] = true
		k.bytes += len(name) + 64 // about what the map takes
	}
}

func (k *known) forget() {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.names, k.bytes = nil, 0
}

// place finds the file system that a path without links is in, and its name there.
func (r *Root) place(real string) (m mountPoint, inside string) {
	for _, m := range r.mounts {
		switch {
		case m.at == ".", m.at == real:
			inside, _ = strings.CutPrefix(real, m.at)
			if m.at == "." {
				inside = real
			}
		case strings.HasPrefix(real, m.at+"/"):
			inside = real[len(m.at)+1:]
		default:
			continue
		}
		return m, path.Join(m.base, inside)
	}
	return r.mounts[len(r.mounts)-1], real // never: the last one is the root
}

// MountPoint is the place of the file system that a path without links lies in, as in Mounted.
func (r *Root) MountPoint(name string) string {
	m, _ := r.place(name)
	return path.Join("/", m.at)
}

// resolve follows the links in a path one element at a time, so that ".." and absolute targets never leave the tree, and links may lead from one
// file system to another one. The last element is followed if follow says so; it must exist.
func (r *Root) resolve(name string, follow bool) (fs.FileInfo, string, error) {
	if len(name) > maxPath {
		return nil, "", errPathTooLong
	}
	var stack []string
	todo, links := strings.Split(name, "/"), 0
	var last fs.FileInfo
	for steps := 0; len(todo) > 0; steps++ {
		if steps > maxSteps || len(stack) > 512 {
			return nil, "", nowhereError("too many path elements")
		}
		if err := r.take(lookup); err != nil {
			return nil, "", err
		}
		element := todo[0]
		todo = todo[1:]
		switch element {
		case "", ".":
			continue
		case "..":
			if len(stack) > 0 {
				stack = stack[:len(stack)-1]
			}
			last = nil
			continue
		}
		real := strings.Join(append(slices.Clone(stack), element), "/")
		if len(real) > maxPath {
			return nil, "", errPathTooLong
		}
		if len(todo) > 0 && r.seen.has(real) {
			stack, last = append(stack, element), nil
			continue
		}
		m, inside := r.place(real)
		st, err := m.files.Lstat(inside)
		if err != nil {
			return nil, "", cause(err)
		}
		if st.Mode()&fs.ModeSymlink == 0 || len(todo) == 0 && !follow {
			if st.IsDir() {
				r.seen.add(real)
			} else if len(todo) > 0 {
				return nil, "", nowhereError("not a directory")
			}
			stack, last = append(stack, element), st
			continue
		}
		if links++; links > maxLinks {
			return nil, "", nowhereError("too many levels of symbolic links")
		}
		target, err := m.files.ReadLink(inside)
		if err != nil {
			return nil, "", cause(err)
		}
		if strings.HasPrefix(target, "/") {
			stack = nil
		}
		todo, last = append(strings.Split(target, "/"), todo...), nil
	}
	real := strings.Join(stack, "/")
	if real == "" {
		real = "."
	}
	if last == nil {
		m, inside := r.place(real)
		st, err := m.files.Lstat(inside)
		if err != nil {
			return nil, "", cause(err)
		}
		last = st
	}
	return last, real, nil
}

// cause is an error without the path that it is about in some file system.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

func (r *Root) find(op, name string, follow bool) (fs.FileInfo, string, error) {
	if !fs.ValidPath(name) {
		return nil, "", &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	st, real, err := r.resolve(name, follow)
	if err != nil {
		return nil, "", r.failed(op, name, err)
	}
	return named{st, path.Base(name)}, real, nil
}

// failed is the error of reading a file. In an inspection it is a problem of the report as well, unless there is no such file: those who ask for the file
// may take it for missing.
func (r *Root) failed(op, name string, err error) error {
	err = cause(err)
	c := r.contents
	if c != nil && c.meter != nil && !errors.Is(err, fs.ErrNotExist) && !c.failed[name] && c.meter.exhausted() == nil {
		if c.failed == nil {
			c.failed = map[string]bool{}
		}
		if len(c.failed) < maxProblems {
			c.failed[name] = true
			c.problem("/"+printable(name), "%v", err)
		}
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// named is a file's description by the name that it was found by.
type named struct {
	fs.FileInfo
	name string
}

func (n named) Name() string { return n.name }

// Stat describes the file that a name leads to.
func (r *Root) Stat(name string) (fs.FileInfo, error) {
	st, _, err := r.find("stat", name, true)
	return st, err
}

// Lstat describes a file without following a symbolic link in the last element.
func (r *Root) Lstat(name string) (fs.FileInfo, error) {
	st, _, err := r.find("lstat", name, false)
	return st, err
}

// Xattr reads an extended attribute, such as "security.selinux", of a file, a folder or a link itself. The error wraps [fs.ErrNotExist] if it has none of that
// name, and [errors.ErrUnsupported] on file systems whose attributes are not read.
func (r *Root) Xattr(name, attr string) ([]byte, error) {
	_, real, err := r.find("xattr", name, false)
	if err != nil {
		return nil, err
	}
	m, inside := r.place(real)
	f, ok := m.files.(interface {
		Xattr(name, attr string) ([]byte, error)
	})
	if !ok {
		return nil, r.failed("xattr", name, errors.ErrUnsupported)
	}
	value, err := f.Xattr(inside, attr)
	if err != nil {
		return nil, r.failed("xattr", name, err)
	}
	return value, nil
}

// ReadLink returns the target of a symbolic link as it is stored: untrusted text.
func (r *Root) ReadLink(name string) (string, error) {
	_, real, err := r.find("readlink", name, false)
	if err != nil {
		return "", err
	}
	m, inside := r.place(real)
	target, err := m.files.ReadLink(inside)
	if err != nil {
		return "", r.failed("readlink", name, err)
	}
	return target, nil
}

// ReadDir lists a folder, sorted by name.
func (r *Root) ReadDir(name string) ([]fs.DirEntry, error) {
	_, real, err := r.find("readdir", name, true)
	if err != nil {
		return nil, err
	}
	m, inside := r.place(real)
	entries, err := m.files.ReadDir(inside)
	if err != nil {
		return nil, r.failed("readdir", name, err)
	}
	for _, m := range r.mounts { // what is mounted in this folder hides what is there
		if m.at == "." || path.Dir(m.at) != real {
			continue
		}
		st, err := m.files.Lstat(m.base)
		if err != nil {
			continue
		}
		base := path.Base(m.at)
		entries = slices.DeleteFunc(slices.Clone(entries), func(e fs.DirEntry) bool { return e.Name() == base })
		entries = append(entries, fs.FileInfoToDirEntry(named{st, base}))
	}
	sort.SliceStable(entries, func(i, j int) bool { return entries[i].Name() < entries[j].Name() })
	return entries, nil
}

// Open opens a file or a folder for reading. Files that are [io.ReaderAt]s and [io.Seeker]s in their file systems are here, too.
func (r *Root) Open(name string) (fs.File, error) {
	st, real, err := r.find("open", name, true)
	if err != nil {
		return nil, err
	}
	if st.IsDir() {
		entries, err := r.ReadDir(name)
		if err != nil {
			return nil, err
		}
		return folder.Open(st, entries), nil
	}
	m, inside := r.place(real)
	f, err := m.files.Open(inside)
	if err != nil {
		return nil, r.failed("open", name, err)
	}
	at, ok1 := f.(io.ReaderAt)
	seeker, ok2 := f.(io.Seeker)
	if ok1 && ok2 {
		return &openFile{opened{f, st, r, name}, at, seeker}, nil
	}
	return &opened{f, st, r, name}, nil
}

// opened is an open file by the name that it was found by.
type opened struct {
	fs.File
	st   fs.FileInfo
	root *Root
	name string
}

func (o *opened) Stat() (fs.FileInfo, error) { return o.st, nil }

func (o *opened) Read(b []byte) (int, error) {
	if err := o.root.take(len(b)); err != nil {
		return 0, err
	}
	n, err := o.File.Read(b)
	return n, o.failed(err)
}

// failed is an error of reading the file, but not that it ends.
func (o *opened) failed(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return o.root.failed("read", o.name, err)
}

// openFile is one that can be read from anywhere.
type openFile struct {
	opened
	at io.ReaderAt
	io.Seeker
}

func (o *openFile) ReadAt(b []byte, off int64) (int, error) {
	if err := o.root.take(len(b)); err != nil {
		return 0, err
	}
	n, err := o.at.ReadAt(b, off)
	return n, o.failed(err)
}

// take asks whether some bytes may be read: where there are bounds, those of one inspection.
func (r *Root) take(n int) error {
	if r.contents == nil {
		return nil
	}
	return r.contents.meter.take(n)
}

// ReadFile reads a whole file of at most 64 MiB.
func (r *Root) ReadFile(name string) ([]byte, error) { return readFile(r, name, maxFile) }

// readFile reads a regular file of at most limit bytes.
func readFile(f fs.FS, name string, limit int64) ([]byte, error) {
	file, err := f.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return nil, err
	}
	switch {
	case !st.Mode().IsRegular():
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("no regular file")}
	case st.Size() > limit:
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("%d bytes long, the limit is %d", st.Size(), limit)}
	}
	b := make([]byte, st.Size())
	if _, err := io.ReadFull(file, b); err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: cause(err)}
	}
	return b, nil
}
