// Package copyout unpacks an archive that nobody vouches for, such as what a guest sends of its files, into a folder of the host:
//
//	to, err := copyout.To("logs", "/var/log/nginx") // as cp would: into the folder logs, or as the name logs
//	summary, err := copyout.Unpack(ctx, archive, to, copyout.Options{MaxBytes: 1 << 30})
//
// Nothing is written outside of the destination, whatever the archive says. Only files, folders and links are made, with their permissions
// but without setuid, setgid and sticky bits, for the user who runs this. All of it is unpacked in a hidden folder beside the destination
// first: an archive that breaks off or does not keep the limits changes nothing, and a file that is replaced is replaced whole.
//
// A link is made only if it leads into what is unpacked with it: a relative target that climbs no higher than the top, and climbs only at its
// beginning. Links are made last, when nothing is written any more, so that nothing is ever written through one; and since a link never
// climbs after it has gone down, which may be through another link, none can lead out together with others either.
package copyout

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Destination is where a copy goes: a name in a folder that is there.
type Destination struct {
	Folder string
	Name   string
}

// Path is the destination's.
func (d Destination) Path() string { return filepath.Join(d.Folder, d.Name) }

// To finds what is meant by the last word of a copy's command line, as cp does: a folder that is there takes the copy by the name of source,
// a path with slashes, and anything else is the copy's own name.
func To(path, source string) (Destination, error) {
	name := filepath.Base(filepath.Clean(source))
	if name == "/" || name == "." {
		name = ""
	}
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir() && name == "":
		return Destination{}, fmt.Errorf("the copy needs a name: give one that is not there yet in the folder %s", path)
	case err == nil && info.IsDir():
		return Destination{path, name}, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return Destination{}, err
	case strings.HasSuffix(path, "/"):
		return Destination{}, fmt.Errorf("there is no folder %s", path)
	}
	d := Destination{filepath.Dir(path), filepath.Base(path)}
	if info, err := os.Stat(d.Folder); err != nil {
		return Destination{}, fmt.Errorf("there is no folder %s", d.Folder)
	} else if !info.IsDir() {
		return Destination{}, fmt.Errorf("%s is not a folder", d.Folder)
	}
	return d, nil
}

// Options bound an Unpack.
type Options struct {
	MaxBytes int64 // of all files together; 0 is DefaultMaxBytes
	// Making is told of the hidden folder before it is made, so that it can be removed if this process is killed. It may be nil.
	Making func(path string) error
	// Progress is told how far it is, now and then. It may be nil.
	Progress func(Summary)
}

// DefaultMaxBytes is Options.MaxBytes if none is given.
const DefaultMaxBytes = 16 << 30

const (
	maxEntries = 1_000_000
	maxNames   = 256 << 20 // bytes of all names and targets of links
	maxSkipped = 1000      // that are told one by one
)

// Summary is what was unpacked.
type Summary struct {
	Path    string `json:"path"`    // of the copy
	Files   int    `json:"files"`   // regular ones
	Folders int    `json:"folders"` // with the top
	Links   int    `json:"links"`   // symbolic ones
	Bytes   int64  `json:"bytes"`   // of the files
	// Skipped are entries that were not made, or not as they were: at most 1000 of them.
	Skipped []Skipped `json:"skipped"`
	// MoreSkipped is how many more there were.
	MoreSkipped int `json:"moreSkipped,omitempty"`
}

// Skipped is an entry that was not made.
type Skipped struct {
	Path   string `json:"path"` // relative to the copy; "." is itself
	Reason string `json:"reason"`
}

// Skip notes an entry that is not made.
func (s *Summary) Skip(path, reason string) {
	if len(s.Skipped) >= maxSkipped {
		s.MoreSkipped++
		return
	}
	s.Skipped = append(s.Skipped, Skipped{path, reason})
}

// Unpack unpacks a tar archive, whose first entry must be the file or folder that is copied, with the name ".", and all others below it, each
// folder before what is in it. A folder that is already there is added to; files in it that are in the archive, too, are replaced.
func Unpack(ctx context.Context, r io.Reader, to Destination, o Options) (*Summary, error) {
	s, err := unpack(ctx, r, to, o)
	if err != nil {
		return nil, fmt.Errorf("copy to %s: %w", to.Path(), err)
	}
	return s, nil
}

func unpack(ctx context.Context, r io.Reader, to Destination, o Options) (_ *Summary, err error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if to.Name == "" || to.Name != filepath.Base(to.Name) || !filepath.IsLocal(to.Name) || to.Name == "." {
		return nil, fmt.Errorf("%q is not a file name", to.Name)
	}
	root, err := os.OpenRoot(to.Folder)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	hidden := ".ingot-cp-" + rand.Text()
	if o.Making != nil {
		folder, err := filepath.Abs(to.Folder)
		if err != nil {
			return nil, err
		}
		if err := o.Making(filepath.Join(folder, hidden)); err != nil {
			return nil, err
		}
	}
	if err := root.Mkdir(hidden, 0o700); err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, root.RemoveAll(hidden))
	}()
	staging, err := root.OpenRoot(hidden)
	if err != nil {
		return nil, err
	}
	defer staging.Close()
	u := &unpacker{options: o, root: staging, kinds: map[string]byte{}, summary: &Summary{Path: to.Path(), Skipped: []Skipped{}}}
	// What is passed over comes out of the limit, too.
	r = io.LimitReader(r, o.MaxBytes+maxEntries<<10)
	if err := u.all(ctx, tar.NewReader(r)); err != nil {
		return nil, err
	}
	// Whoever sends may have an error to tell yet.
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, fmt.Errorf("read the archive: %w", err)
	}
	if err := u.makeLinks(); err != nil {
		return nil, err
	}
	return u.summary, u.install(root, hidden, to.Name)
}

// top is the name of the copy in the hidden folder.
const top = "copy"

// unpacker unpacks one archive into the hidden folder.
type unpacker struct {
	options Options
	root    *os.Root
	summary *Summary

	kinds map[string]byte // tar's types of what was made, by name
	names int             // bytes of all names
	links []link
	modes []mode // of folders, in the order of the archive: each after the one it is in
}

type link struct{ name, target string }

type mode struct {
	name string
	perm fs.FileMode
}

func (u *unpacker) all(ctx context.Context, archive *tar.Reader) error {
	for first := true; ; first = false {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := archive.Next()
		if err == io.EOF && !first {
			return nil
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("read the archive: %w", err)
		}
		if err := u.entry(ctx, archive, h, first); err != nil {
			return err
		}
	}
}

// entry makes what an entry is about, below top.
func (u *unpacker) entry(ctx context.Context, archive *tar.Reader, h *tar.Header, first bool) error {
	name := path.Clean(h.Name)
	if first != (name == ".") || !filepath.IsLocal(name) || strings.ContainsRune(name, 0) {
		return fmt.Errorf("the archive is not of one file or folder: it has the name %q", clip(h.Name))
	}
	if u.names += len(name) + len(h.Linkname); len(u.kinds) >= maxEntries || u.names > maxNames {
		return fmt.Errorf("more than %d files", maxEntries)
	}
	if _, twice := u.kinds[name]; twice {
		return fmt.Errorf("the archive has %q twice", clip(name))
	}
	if !first && u.kinds[path.Dir(name)] != tar.TypeDir {
		return fmt.Errorf("the archive has %q, but not its folder", clip(name))
	}
	u.kinds[name] = h.Typeflag
	switch h.Typeflag {
	case tar.TypeDir:
		u.summary.Folders++
		u.modes = append(u.modes, mode{name, fs.FileMode(h.Mode) & 0o777})
		return u.root.Mkdir(below(name), 0o700)
	case tar.TypeReg:
		return u.file(ctx, archive, h, name)
	case tar.TypeSymlink:
		if first {
			return errors.New("it is a link")
		}
		if reason := leadsOut(name, h.Linkname); reason != "" {
			u.summary.Skip(name, fmt.Sprintf("a link to %s, which %s", clip(h.Linkname), reason))
			return nil
		}
		u.links = append(u.links, link{name, h.Linkname})
		return nil
	}
	if first {
		return errors.New("it is neither a file nor a folder")
	}
	u.summary.Skip(name, "neither a file, a folder nor a link")
	return nil
}

// below is a name in the hidden folder.
func below(name string) string { return filepath.Join(top, filepath.FromSlash(name)) }

func (u *unpacker) file(ctx context.Context, archive *tar.Reader, h *tar.Header, name string) error {
	if left := u.options.MaxBytes - u.summary.Bytes; h.Size < 0 || h.Size > left {
		return &LimitError{MaxBytes: u.options.MaxBytes, Path: name}
	}
	f, err := u.root.OpenFile(below(name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	u.summary.Files++
	counted := &counter{ctx: ctx, w: f, u: u}
	if n, err := io.Copy(counted, archive); err != nil {
		return err
	} else if n != h.Size {
		return io.ErrUnexpectedEOF
	}
	counted.told()
	if err := errors.Join(f.Chmod(fs.FileMode(h.Mode)&0o777), f.Close()); err != nil {
		return err
	}
	if !h.ModTime.IsZero() {
		u.root.Chtimes(below(name), h.ModTime, h.ModTime) // a time that this file system does not know is no loss
	}
	return nil
}

// LimitError says that there is more than Options.MaxBytes.
type LimitError struct {
	MaxBytes int64
	Path     string // the file that was too much
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("with %s it is more than the limit of %d bytes; nothing was copied", clip(e.Path), e.MaxBytes)
}

// counter counts what is written, and stops when ctx ends.
type counter struct {
	ctx   context.Context
	w     io.Writer
	u     *unpacker
	since int64
}

func (c *counter) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.w.Write(p)
	c.u.summary.Bytes += int64(n)
	if c.since += int64(n); c.since >= 1<<20 {
		c.told()
	}
	return n, err
}

func (c *counter) told() {
	if c.since = 0; c.u.options.Progress != nil {
		c.u.options.Progress(*c.u.summary)
	}
}

// clip bounds a name in a message.
func clip(name string) string {
	if len(name) > 200 {
		return name[:200] + "…"
	}
	return name
}
