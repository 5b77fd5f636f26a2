package inspect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strings"
	"syscall"

	"github.com/ingot-image/ingot/disk/image"
)

// Root is an installed system's tree, put together from a disk's file systems as its /etc/fstab says. It is an [fs.FS], [fs.StatFS],
// [fs.ReadDirFS], [fs.ReadFileFS] and [fs.ReadLinkFS]. Symbolic links are followed within the tree only, an absolute target from its root.
type Root struct {
	// Mounted lists what the tree is made of, by place: the device as in [FileSystem], "/" first.
	Mounted []Mounted
	// Problems tell what is missing in the tree.
	Problems []Problem

	mounts   []mountPoint // the deepest first
	seen     known
	contents *contents
	root     *volume
	fstab    []Mount
}

// Mounted is a file system in its place.
type Mounted struct {
	Target, Device string
	Subvolume      string // of Btrfs, "" for the top one
}

// mountPoint is a file system in the tree.
type mountPoint struct {
	at    string // "." or a path without a leading slash
	files files
	base  string // folder of the file system that is mounted: a subvolume of Btrfs
}

// ErrNoSystem says that no operating system was found on a disk.
var ErrNoSystem = errors.New("no operating system found")

// MountError says that a file system that a system may be in could not be mounted.
type MountError struct {
	Device, Type string // as in [FileSystem]
	Err          error  // of Options.Mount
}

func (e *MountError) Error() string {
	return fmt.Sprintf("%s (%s) cannot be read: %v", e.Device, e.Type, e.Err)
}
func (e *MountError) Unwrap() error { return e.Err }

// noSystemError is an [ErrNoSystem] for what could not be read.
type noSystemError struct {
	devices []string
	causes  []error
}

func (e *noSystemError) Error() string {
	var all []string
	for _, err := range e.causes {
		all = append(all, err.Error())
	}
	return fmt.Sprintf("%v: %s", ErrNoSystem, strings.Join(all, "; "))
}

func (e *noSystemError) Unwrap() []error { return append([]error{ErrNoSystem}, e.causes...) }

// OpenRoot finds the installed operating system on a disk and gives its files. Close it after use. The error wraps [ErrNoDisk] or [ErrNoSystem],
// which is with the [MountError]s where there may be a system on what could not be mounted, or ctx's cause.
func OpenRoot(ctx context.Context, src image.Source, o Options) (*Root, error) {
	c, err := scan(ctx, src, o)
	if err != nil {
		return nil, fmt.Errorf("open root: %w", err)
	}
	r, err := c.openRoot(ctx)
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("open root: %w", err)
	}
	r.Problems = c.problems
	return r, nil
}

// Close ends the mounts.
func (r *Root) Close() error { return r.contents.Close() }

// Where a root file system is known by, and where Btrfs keeps it: the top, Ubuntu, Fedora, Debian, openSUSE.
var (
	rootSigns  = []string{"etc/os-release", "usr/lib/os-release", "etc/fstab", "etc/debian_version", "etc/redhat-release"}
	subvolumes = []string{".", "@", "root", "@rootfs", "@/.snapshots/1/snapshot"}
)

// bases are the folders of a file system that a root may be in.
func bases(kind string) []string {
	if kind == "btrfs" {
		return subvolumes
	}
	return []string{"."}
}

// rootOf tells in which folder of a file system a root is: "" for none. A name that leads out of the file system is no sign of one, but a link
// in the place of os-release is, wherever it leads. What of it cannot be read is a problem.
func (c *contents) rootOf(v *volume, f files) string {
	for _, base := range bases(v.Type) {
		for _, sign := range rootSigns {
			name := path.Join(base, sign)
			st, err := f.Lstat(name)
			switch {
			case err == nil && !st.IsDir():
				return base
			case err != nil && !errors.Is(cause(err), fs.ErrNotExist) && !errors.Is(cause(err), syscall.ENOTDIR) && c.meter.exhausted() == nil:
				c.problem(v.Device, "/%s: %v", name, cause(err))
			}
		}
	}
	return ""
}

// probe tells whether a root is on a volume that has to be mounted, and mounts no more of it than the signs of one: all of it may be much.
func (c *contents) probe(ctx context.Context, v *volume) bool {
	var paths []string
	for _, base := range bases(v.Type) {
		for _, sign := range rootSigns {
			paths = append(paths, path.Join(base, sign))
		}
	}
	f, closer := c.mountPaths(ctx, v, paths)
	if f == nil {
		return false
	}
	found := c.rootOf(v, f)
	if err := closer.Close(); err != nil {
		c.problem(v.Device, "%v", err)
	}
	return found != ""
}

// openRoot finds the root file system, those that can be read here first, and mounts the others into it.
func (c *contents) openRoot(ctx context.Context) (*Root, error) {
	var root *volume
	base, missing := "", &noSystemError{}
	var candidates []*volume
	for _, v := range c.volumes {
		if v.files != nil && v.Type != "vfat" {
			candidates = append(candidates, v)
		}
	}
	var others []*volume // the largest first: to look into one takes seconds
	for _, v := range c.volumes {
		if v.files == nil && (v.Type == "xfs" || v.Type == "btrfs") {
			others = append(others, v)
		}
	}
	sort.SliceStable(others, func(i, j int) bool { return others[i].Capacity > others[j].Capacity })
	for _, v := range append(candidates, others...) {
		var f files
		if v.tried || c.wanted || c.probe(ctx, v) {
			f = c.mount(ctx, v)
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if f == nil {
			continue
		}
		if found := c.rootOf(v, f); found != "" {
			root, base = v, found
			break
		}
	}
	for _, v := range c.volumes {
		if v.unreadable != nil && v.Type != "vfat" {
			missing.devices, missing.causes = append(missing.devices, fmt.Sprintf("%s (%s)", v.Device, v.Type)), append(missing.causes, v.unreadable)
		}
	}
	if root == nil && len(missing.causes) > 0 {
		return nil, missing
	}
	if root == nil {
		return nil, ErrNoSystem
	}
	r := &Root{contents: c, root: root, mounts: []mountPoint{{".", root.files, base}}, Mounted: []Mounted{{"/", root.Device, subvolume(base)}}}
	root.MountPoint = "/"
	r.mountFstab(ctx)
	return r, nil
}

// What nobody needs of a system's tree if it takes a machine to read it.
var remote = map[string]bool{"nfs": true, "nfs4": true, "cifs": true, "smbfs": true, "9p": true, "virtiofs": true, "fuse.sshfs": true}

// mountFstab reads /etc/fstab and mounts the file systems of this disk.
func (r *Root) mountFstab(ctx context.Context) {
	data, err := readFile(r, "etc/fstab", 1<<20)
	if err != nil {
		return
	}
	r.fstab = parseFstab(string(data))
	order := make([]int, len(r.fstab))
	for i := range order {
		order[i] = i
		m := &r.fstab[i]
		v, byName := r.contents.find(m.Source)
		m.ByName = byName
		if v != nil {
			m.Device = v.Device
		}
	}
	sort.SliceStable(order, func(i, j int) bool { return len(r.fstab[order[i]].Target) < len(r.fstab[order[j]].Target) })
	for _, i := range order {
		m := r.fstab[i]
		v, _ := r.contents.find(m.Source)
		at := strings.Trim(path.Clean("/"+m.Target), "/")
		switch {
		case v == nil || remote[m.Type] || hasOption(m.Options, "noauto"):
			continue
		case m.Type == "swap":
			v.MountPoint = "swap"
			continue
		case !strings.HasPrefix(m.Target, "/") || at == "" || !fs.ValidPath(at):
			continue
		}
		if v.MountPoint == "" {
			v.MountPoint = "/" + at
		}
		f := r.contents.mount(ctx, v)
		if f == nil {
			r.contents.problem("/"+at, "%s (%s) cannot be read here", v.Device, v.Type)
			continue
		}
		base := "."
		if sub := option(m.Options, "subvol"); v.Type == "btrfs" && sub != "" {
			base = strings.Trim(path.Clean("/"+sub), "/")
			if base == "" {
				base = "."
			}
			if st, err := f.Stat(base); err != nil || !st.IsDir() {
				if !r.contents.wanted { // else it may just not have been asked for
					r.contents.problem("/"+at, "the subvolume %s is not in %s", sub, v.Device)
				}
				continue
			}
		}
		// A mount point must be there, as for mount(8), and may lie behind links.
		_, real, err := r.resolve(at, true)
		if err != nil || len(r.mounts) > 64 {
			r.contents.problem("/"+at, "%s has no place to be mounted at", v.Device)
			continue
		}
		r.mounts = append(r.mounts, mountPoint{real, f, base})
		sort.SliceStable(r.mounts, func(i, j int) bool { return depth(r.mounts[i].at) > depth(r.mounts[j].at) })
		r.seen.forget()
		r.Mounted = append(r.Mounted, Mounted{"/" + real, v.Device, subvolume(base)})
	}
}

// subvolume is the name of a file system's folder that is mounted.
func subvolume(base string) string { return strings.TrimPrefix(base, ".") }

func depth(at string) int {
	if at == "." {
		return 0
	}
	return strings.Count(at, "/") + 1
}

// parseFstab reads fstab(5).
func parseFstab(text string) []Mount {
	var out []Mount
	const most = 1024
	for i, line := range strings.Split(text, "\n") {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") || len(out) == most {
			continue
		}
		for k := range fields {
			fields[k] = unescape(fields[k])
		}
		m := Mount{Source: fields[0], Target: fields[1], Line: i + 1}
		if len(fields) > 2 {
			m.Type = fields[2]
		}
		if len(fields) > 3 {
			m.Options = fields[3]
		}
		out = append(out, m)
	}
	return out
}

// unescape replaces what fstab writes as \040.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

func hasOption(list, name string) bool {
	return slices.Contains(strings.Split(list, ","), name)
}

// option is the value of an option in a list such as "rw,subvol=@".
func option(list, name string) string {
	for o := range strings.SplitSeq(list, ",") {
		if value, ok := strings.CutPrefix(o, name+"="); ok {
			return value
		}
	}
	return ""
}
