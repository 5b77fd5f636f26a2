package tarfs

import (
	"errors"
	"io"
	"io/fs"
	"strings"
)

// Bounds of a walk, as Linux has them (path_resolution(7)).
const (
	maxLinks = 40
	maxSteps = 4096
)

var errLoop = errors.New("too many levels of symbolic links")

// walk finds an entry by its name, element by element, so that links stay within the archive.
func (f *FS) walk(op, at string, followLast bool) (*node, error) {
	fail := func(err error) (*node, error) { return nil, &fs.PathError{Op: op, Path: at, Err: err} }
	if !fs.ValidPath(at) {
		return fail(fs.ErrInvalid)
	}
	todo := strings.Split(at, "/")
	stack := []*node{f.root}
	links := 0
	for steps := 0; len(todo) > 0; steps++ {
		if steps > maxSteps {
			return fail(errLoop)
		}
		e := todo[0]
		todo = todo[1:]
		n := stack[len(stack)-1]
		if !n.mode.IsDir() {
			return fail(fs.ErrNotExist)
		}
		switch e {
		case "", ".":
			continue
		case "..":
			stack = stack[:max(1, len(stack)-1)]
			continue
		}
		i, found := n.find(e)
		if !found {
			if n.err != nil {
				return fail(n.err)
			}
			return fail(fs.ErrNotExist)
		}
		child := n.children[i]
		if child.mode.Type() != fs.ModeSymlink || !followLast && len(todo) == 0 {
			stack = append(stack, child)
			continue
		}
		if links++; links > maxLinks || len(child.target) > 4096 {
			return fail(errLoop)
		}
		if strings.HasPrefix(child.target, "/") {
			stack = stack[:1]
		}
		todo = append(strings.Split(child.target, "/"), todo...)
	}
	return stack[len(stack)-1], nil
}

// Stat tells about a file; it follows links.
func (f *FS) Stat(name string) (fs.FileInfo, error) { return f.stat("stat", name, true) }

// Lstat tells about a file, which may be a link.
func (f *FS) Lstat(name string) (fs.FileInfo, error) { return f.stat("lstat", name, false) }

func (f *FS) stat(op, name string, follow bool) (fs.FileInfo, error) {
	n, err := f.walk(op, name, follow)
	if err != nil {
		return nil, err
	}
	return info{n}, nil
}

// ReadLink gives the target of a symbolic link as it is.
func (f *FS) ReadLink(name string) (string, error) {
	n, err := f.walk("readlink", name, false)
	if err == nil && n.mode.Type() != fs.ModeSymlink {
		err = &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	if err != nil {
		return "", err
	}
	return n.target, nil
}

// ReadDir lists a folder by name.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := f.walk("readdir", name, true)
	if err != nil {
		return nil, err
	}
	if !n.mode.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	entries := make([]fs.DirEntry, len(n.children))
	for i, c := range n.children {
		entries[i] = fs.FileInfoToDirEntry(info{c})
	}
	if n.err != nil {
		return entries, &fs.PathError{Op: "readdir", Path: name, Err: n.err}
	}
	return entries, nil
}

// ReadFile reads a whole file, of at most 64 MiB.
func (f *FS) ReadFile(name string) ([]byte, error) {
	n, err := f.regular("read", name)
	if err != nil {
		return nil, err
	}
	const most = 64 << 20
	if n.size > most {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("larger than 64 MiB")}
	}
	return io.ReadAll(io.NewSectionReader(f.spool, n.at, n.size))
}

// regular finds a file whose content can be read.
func (f *FS) regular(op, name string) (*node, error) {
	n, err := f.walk(op, name, true)
	if err != nil {
		return nil, err
	}
	switch {
	case n.err != nil:
		err = n.err
	case n.mode.IsDir():
		err = errors.New("is a directory")
	case !n.mode.IsRegular():
		err = errors.New("not a regular file")
	}
	if err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return n, nil
}

// Open opens a regular file, which is an [io.ReaderAt] and [io.Seeker] besides, or a folder.
func (f *FS) Open(name string) (fs.File, error) {
	n, err := f.walk("open", name, true)
	if err != nil {
		return nil, err
	}
	if n.mode.IsDir() {
		entries, err := f.ReadDir(name)
		return &openFolder{info{n}, entries, err}, nil
	}
	if n, err = f.regular("open", name); err != nil {
		return nil, err
	}
	return &openFile{io.NewSectionReader(f.spool, n.at, n.size), info{n}}, nil
}

type openFile struct {
	*io.SectionReader
	info info
}

func (o *openFile) Stat() (fs.FileInfo, error) { return o.info, nil }
func (o *openFile) Close() error               { return nil }

type openFolder struct {
	info    info
	entries []fs.DirEntry
	err     error
}

func (o *openFolder) Stat() (fs.FileInfo, error) { return o.info, nil }
func (o *openFolder) Close() error               { return nil }
func (o *openFolder) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: o.info.Name(), Err: errors.New("is a directory")}
}

func (o *openFolder) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 || n > len(o.entries) {
		if n > 0 && len(o.entries) == 0 {
			if o.err != nil {
				return nil, o.err
			}
			return nil, io.EOF
		}
		n = len(o.entries)
		defer func() { o.entries = nil }()
		return o.entries[:n], o.err
	}
	out := o.entries[:n]
	o.entries = o.entries[n:]
	return out, nil
}
