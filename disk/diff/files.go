package diff

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// File is a file, folder, link or device.
type File struct {
	Path string `json:"path"` // without a leading slash
	Type string `json:"type"` // "file", "folder", "link", "device", "fifo", "socket"
	Size int64  `json:"size"` // of a file, in bytes
	Mode string `json:"mode"` // as chmod takes it: "0755", "4755"
	// UID and GID are the owner's, -1 if unknown.
	UID    int64  `json:"uid"`
	GID    int64  `json:"gid"`
	Target string `json:"target,omitempty"` // of a link
	// Package has the file by its list, if it is known.
	Package string `json:"package,omitempty"`
}

// FileChange is a file that is in both systems.
type FileChange struct {
	Path string `json:"path"`
	// What changed: "type", "content", "target", "mode", "owner".
	What    []string `json:"what"`
	Before  File     `json:"before"`
	After   File     `json:"after"`
	Package string   `json:"package,omitempty"`
}

// Files is what changed in the tree.
type Files struct {
	Added   []File       `json:"added"`
	Removed []File       `json:"removed"`
	Changed []FileChange `json:"changed"`
	// Ignored counts the volatile files and folders that were passed over.
	Ignored int `json:"ignored"`
	// Compared counts the files that are in both.
	Compared int `json:"compared"`
}

func (f *Files) empty() bool { return len(f.Added)+len(f.Removed)+len(f.Changed) == 0 }

// describe makes a File of what the tree tells.
func (s *side) describe(name string, info fs.FileInfo) File {
	f := File{Path: name, Type: kind(info.Mode()), Mode: mode(info.Mode()), UID: -1, GID: -1}
	if f.Type == "file" {
		f.Size = info.Size()
	}
	if o, ok := info.Sys().(interface{ Owner() (uid, gid uint32) }); ok {
		uid, gid := o.Owner()
		f.UID, f.GID = int64(uid), int64(gid)
	}
	if f.Type == "link" {
		target, err := s.tree.ReadLink(name)
		if err != nil {
			s.problem(name, err)
		}
		f.Target = target
	}
	return f
}

func kind(m fs.FileMode) string {
	switch {
	case m.IsRegular():
		return "file"
	case m.IsDir():
		return "folder"
	case m&fs.ModeSymlink != 0:
		return "link"
	case m&fs.ModeDevice != 0:
		return "device"
	case m&fs.ModeNamedPipe != 0:
		return "fifo"
	case m&fs.ModeSocket != 0:
		return "socket"
	}
	return "unknown"
}

// mode writes permissions as chmod takes them.
func mode(m fs.FileMode) string {
	bits := uint32(m.Perm())
	for _, b := range []struct {
		mode fs.FileMode
		bit  uint32
	}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}} {
		if m&b.mode != 0 {
			bits |= b.bit
		}
	}
	return fmt.Sprintf("%04o", bits)
}

// Volatile are the patterns of files that differ between any two systems and tell nothing about what is installed: logs, caches, identities and
// seeds made at first boot, backups, indices made from other files, and the package managers' own records, whose content is reported as packages.
// A pattern that ends with / is of all that is below a folder; * stands for a part of one element; one without a slash is of the last
// element, anywhere.
func Volatile() []string {
	return []string{
		"var/log/", "var/cache/", "var/tmp/", "tmp/", "run/", "var/backups/", "lost+found/",
		"var/lib/apt/", "var/lib/dpkg/", "var/lib/rpm/", "usr/lib/sysimage/rpm/", "var/lib/dnf/", "lib/apk/db/", "usr/lib/apk/db/", "var/lib/pacman/",
		"var/lib/ucf/", "var/lib/systemd/deb-systemd-helper-enabled/", "var/lib/systemd/deb-systemd-user-helper-enabled/",
		"var/lib/systemd/deb-systemd-helper-masked/", "var/lib/systemd/timers/", "var/lib/systemd/timesync/", "var/lib/systemd/catalog/",
		"etc/machine-id", "var/lib/dbus/machine-id", "var/lib/systemd/random-seed", "boot/efi/loader/random-seed", "boot/loader/random-seed",
		"var/lib/systemd/credential.secret", "etc/.pwd.lock", "etc/.updated", "var/.updated",
		"etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-",
		"etc/ld.so.cache", "etc/udev/hwdb.bin", "usr/lib/udev/hwdb.bin", "usr/share/info/dir", "usr/share/mime/mime.cache",
		"usr/lib/modules/*/modules.*", "lib/modules/*/modules.*",
		"__pycache__", "*.pyc", "*.dpkg-tmp",
	}
}

// noise matches volatile files.
type noise struct {
	exact, folders map[string]bool
	last, globs    []string
}

func newNoise() *noise {
	n := &noise{exact: map[string]bool{}, folders: map[string]bool{}}
	for _, p := range Volatile() {
		folder, isFolder := strings.CutSuffix(p, "/")
		switch {
		case isFolder:
			n.folders[folder] = true
		case !strings.Contains(p, "/"):
			n.last = append(n.last, p)
		case strings.Contains(p, "*"):
			n.globs = append(n.globs, p)
		default:
			n.exact[p] = true
		}
	}
	return n
}

// below tells whether all that is below a folder is volatile.
func (n *noise) below(folder string) bool {
	return n.folders[folder] || path.Base(folder) == "__pycache__"
}

// is tells whether a file is volatile, apart from where it lies.
func (n *noise) is(name string) bool {
	if n.exact[name] {
		return true
	}
	for _, p := range n.last {
		if ok, _ := path.Match(p, path.Base(name)); ok {
			return true
		}
	}
	for _, p := range n.globs {
		if ok, _ := path.Match(p, name); ok {
			return true
		}
	}
	return false
}
