package action

import (
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"runtime"
	"strconv"
)

// Permissions are those of a file or folder, in octal as for chmod: 644, 0644 and 0o644 are the same, quoted or not; a fourth digit in
// front sets setuid (4), setgid (2) and the sticky bit (1).
type Permissions struct {
	mode fs.FileMode
	set  bool
}

var permissionsGrammar = regexp.MustCompile(`^(?:0o?)?([0-7]{1,4})$`)

// UnmarshalText implements [encoding.TextUnmarshaler].
func (p *Permissions) UnmarshalText(text []byte) error {
	m := permissionsGrammar.FindStringSubmatch(string(text))
	if m == nil {
		return fmt.Errorf("%q are no permissions: they are octal digits such as 0644", text)
	}
	bits, err := strconv.ParseUint(m[1], 8, 12)
	if err != nil {
		return fmt.Errorf("permissions %q: %w", text, err)
	}
	p.set, p.mode = true, fs.FileMode(bits&0o777)
	for bit, mode := range map[uint64]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if bits&bit != 0 {
			p.mode |= mode
		}
	}
	return nil
}

// Ownership is who owns a new file or folder, and what others may do with it.
type Ownership struct {
	// Owner is the name or number of a user. Default: the user that runs the documents, root.
	Owner string `input:"owner"`
	// Group is the name or number of a group. Default: that of Owner if it is given.
	Group string `input:"group"`
	// Permissions are octal digits such as 0644.
	Permissions Permissions `input:"permissions"`
}

// CheckInputs reports what Windows does not have.
func (o *Ownership) CheckInputs(report func(input, message, hint string)) {
	if runtime.GOOS != "windows" {
		return
	}
	for name, given := range map[string]bool{"owner": o.Owner != "", "group": o.Group != "", "permissions": o.Permissions.set} {
		if given {
			report(name, "is not supported on Windows", "")
		}
	}
}

// resolve looks up owner and group, and returns what sets them and the permissions of an open file. Owner first: changing it clears setuid
// and setgid.
func (o Ownership) resolve() (apply func(*os.File) error, err error) {
	uid, gid := -1, -1
	if o.Owner != "" || o.Group != "" {
		if uid, gid, err = lookupOwner(o.Owner, o.Group); err != nil {
			return nil, err
		}
	}
	return func(file *os.File) error {
		if uid >= 0 || gid >= 0 {
			if err := file.Chown(uid, gid); err != nil {
				return fmt.Errorf("set the owner: %w", err)
			}
		}
		if o.Permissions.set {
			if err := file.Chmod(o.Permissions.mode); err != nil {
				return fmt.Errorf("set the permissions: %w", err)
			}
		}
		return nil
	}, nil
}
