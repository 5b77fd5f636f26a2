// Package tarfs makes a file system of a tar archive that is read once, as it comes: names and what belongs to them stay in memory, contents
// go to a file.
//
//	spool, err := os.CreateTemp("", "")
//	os.Remove(spool.Name())
//	…
//	fsys, err := tarfs.Read(archive, spool, tarfs.Limits{})
//	…
//	data, err := fs.ReadFile(fsys, "etc/os-release")
//
// Symbolic links are followed within the archive only; an absolute one begins at its root. Whoever wrote the archive is not trusted: names
// that lead out of it are errors, and entries, bytes and the lengths of names are limited.
package tarfs

import (
	"archive/tar"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ingot-image/ingot/disk/image"
)

// Limits bound an archive.
type Limits struct {
	Entries int   // 0 is 2 million
	Bytes   int64 // of contents, without runs of zeros; 0 is 64 GiB
	Names   int64 // bytes of names, each without its folder's, and of links' targets; 0 is 256 MiB
}

// The longest names and targets of links, and the longest elements of names, that are read, in bytes: those of Linux (limits.h: PATH_MAX, NAME_MAX).
const (
	maxName    = 4096
	maxElement = 255
)

// maxFile is the longest file that is kept, zeros included. Others cannot be opened.
const maxFile = 64 << 30

// FS is an archive as a file system. It may be used by several goroutines at once.
type FS struct {
	root  *node
	spool *os.File
}

var _ interface {
	fs.StatFS
	fs.ReadDirFS
	fs.ReadFileFS
	fs.ReadLinkFS
} = (*FS)(nil)

// Stat is what the Sys of an [FS]'s [fs.FileInfo]s returns.
type Stat struct{ UID, GID uint32 }

// Owner gives the numbers of a file's user and group.
func (s Stat) Owner() (uid, gid uint32) { return s.UID, s.GID }

// content is what several names of a file share.
type content struct {
	mode     fs.FileMode
	owner    Stat
	size, at int64 // in bytes; at is in the spool
	modified int64 // nanoseconds since 1970
	target   string
	err      error // why it cannot be read
}

// node is an entry under its name.
type node struct {
	name string
	*content
	children []*node // of a folder, by name
	index    map[string]*node
}

// Read reads an archive to its end and puts its contents into spool, a file that the file system reads from then on and does not close.
// Folders that are only in the names of other entries have the mode 0755 and are root's. An entry replaces an earlier one of its name.
func Read(archive io.Reader, spool *os.File, limits Limits) (*FS, error) {
	r := reading{
		out: &sparseWriter{file: spool, left: cmp.Or(limits.Bytes, 64<<30)}, left: cmp.Or(limits.Entries, 2<<20),
		names: cmp.Or(limits.Names, 256<<20), root: folder(""), buffer: make([]byte, 256<<10),
	}
	in := tar.NewReader(archive)
	for {
		h, err := in.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read archive: %w", err)
		}
		if err := r.entry(h, in); err != nil {
			return nil, fmt.Errorf("read archive: %.200q: %w", h.Name, err)
		}
	}
	if err := spool.Truncate(r.out.at); err != nil {
		return nil, err
	}
	r.root.settle()
	return &FS{r.root, spool}, nil
}

type reading struct {
	out    *sparseWriter
	left   int
	names  int64 // bytes that are left for them
	root   *node
	buffer []byte
}

func folder(name string) *node {
	return &node{name: name, content: &content{mode: fs.ModeDir | 0o755}, index: map[string]*node{}}
}

// name makes a file system's name of an archive's.
func name(s string) (string, error) {
	s = strings.TrimSuffix(strings.TrimPrefix(s, "./"), "/")
	if s = cmp.Or(s, "."); !fs.ValidPath(s) || strings.Contains(s, "\x00") {
		return "", errors.New("not a name within the archive")
	}
	if len(s) > maxName {
		return "", fmt.Errorf("a name of %d bytes; at most %d are read", len(s), maxName)
	}
	for e := range strings.SplitSeq(s, "/") {
		if len(e) > maxElement {
			return "", fmt.Errorf("a name with an element of %d bytes; at most %d are read", len(e), maxElement)
		}
	}
	return s, nil
}

func (r *reading) entry(h *tar.Header, in io.Reader) error {
	at, err := name(h.Name)
	if err != nil {
		return err
	}
	if r.left--; r.left < 0 {
		return errors.New("there are too many entries")
	}
	info := h.FileInfo()
	c := &content{
		mode: info.Mode() & (fs.ModeType | fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky), modified: h.ModTime.UnixNano(),
		owner: Stat{uint32(h.Uid), uint32(h.Gid)},
	}
	switch h.Typeflag {
	case tar.TypeDir:
		n, err := r.parent(at + "/.")
		if err != nil {
			return err
		}
		n.content = c
		return nil
	case tar.TypeLink:
		target, err := name(h.Linkname)
		if err != nil {
			return err
		}
		if c = r.find(target); c == nil || c.mode.IsDir() {
			return fmt.Errorf("a link to %.200q, which is not there", h.Linkname)
		}
	case tar.TypeSymlink:
		if len(h.Linkname) > maxName {
			return fmt.Errorf("a link to a name of %d bytes; at most %d are read", len(h.Linkname), maxName)
		}
		if c.target, err = r.keep(h.Linkname); err != nil {
			return err
		}
		c.size = int64(len(c.target))
	case tar.TypeReg, tar.TypeGNUSparse:
		if err := r.content(c, h.Size, in); err != nil {
			return err
		}
	}
	dir, err := r.parent(at)
	if err != nil {
		return err
	}
	base := path.Base(at)
	if old := dir.index[base]; old != nil && old.mode.IsDir() || at == "." {
		return errors.New("it is a folder elsewhere")
	}
	if base, err = r.keep(base); err != nil {
		return err
	}
	dir.index[base] = &node{name: base, content: c}
	return nil
}

// keep gives a name, or a part of one, to be kept in memory, without what it is a part of.
func (r *reading) keep(name string) (string, error) {
	if r.names -= int64(len(name)); r.names < 0 {
		return "", errors.New("the names are too long together")
	}
	return strings.Clone(name), nil
}

// parent gives the folder that a name is in, and makes it.
func (r *reading) parent(at string) (*node, error) {
	n := r.root
	elements := strings.Split(at, "/")
	for _, e := range elements[:len(elements)-1] {
		if e == "." {
			continue
		}
		next := n.index[e]
		if next == nil {
			if r.left--; r.left < 0 {
				return nil, errors.New("there are too many entries")
			}
			kept, err := r.keep(e)
			if err != nil {
				return nil, err
			}
			next = folder(kept)
			n.index[kept] = next
		}
		if !next.mode.IsDir() {
			return nil, fmt.Errorf("%q in its name is not a folder", e)
		}
		n = next
	}
	return n, nil
}

func (r *reading) find(at string) *content {
	n := r.root
	for e := range strings.SplitSeq(at, "/") {
		if n = n.index[e]; n == nil {
			return nil
		}
	}
	return n.content
}

// content takes what is in a file.
func (r *reading) content(c *content, size int64, in io.Reader) error {
	c.size, c.at = size, r.out.at
	if size > maxFile {
		c.err = fmt.Errorf("it is %d bytes, more than the %d that are read", size, int64(maxFile))
		return nil
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{r.out}, struct{ io.Reader }{in}, r.buffer)
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// settle brings the folders into their final form.
func (n *node) settle() {
	if n.index == nil {
		return
	}
	n.children = make([]*node, 0, len(n.index))
	for _, child := range n.index {
		n.children = append(n.children, child)
		child.settle()
	}
	slices.SortFunc(n.children, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	n.index = nil
}

// Fail makes a file one that cannot be opened, for the reason err: its content is not what it should be. A file that is not there is made.
// It must not be called while others use the file system.
func (f *FS) Fail(at string, err error) {
	n := f.root
	for e := range strings.SplitSeq(at, "/") {
		if e == "." {
			continue
		}
		i, found := n.find(e)
		if !found {
			if !n.mode.IsDir() {
				return
			}
			child := &node{name: e, content: &content{mode: fs.ModeIrregular}}
			n.children = slices.Insert(n.children, i, child)
			child.err = err
			return
		}
		n = n.children[i]
	}
	n.err = err
}

func (n *node) find(name string) (int, bool) {
	return slices.BinarySearchFunc(n.children, name, func(c *node, name string) int { return strings.Compare(c.name, name) })
}

// sparseWriter writes a file in which zeros become holes.
type sparseWriter struct {
	file     *os.File
	at, left int64
}

func (w *sparseWriter) Write(b []byte) (int, error) {
	const block = 4096
	for done := 0; done < len(b); {
		end := min(done+block, len(b))
		if image.IsZero(b[done:end]) {
			w.at += int64(end - done)
			done = end
			continue
		}
		for end < len(b) && !image.IsZero(b[end:min(end+block, len(b))]) {
			end = min(end+block, len(b))
		}
		if w.left -= int64(end - done); w.left < 0 {
			return done, errors.New("the contents are too large")
		}
		if _, err := w.file.WriteAt(b[done:end], w.at); err != nil {
			return done, err
		}
		w.at += int64(end - done)
		done = end
	}
	return len(b), nil
}

// info is a node as an fs.FileInfo.
type info struct{ *node }

func (i info) Name() string {
	if i.name == "" {
		return "."
	}
	return i.name
}
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return time.Unix(0, i.modified) }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return i.owner }
