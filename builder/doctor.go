package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ingot-image/ingot/builder/base"
	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/qemu"
)

// Requirement is something that builds need of this machine.
type Requirement struct {
	Name     string `json:"name"`
	Found    bool   `json:"found"`
	Optional bool   `json:"optional,omitempty"` // builds work without it
	Detail   string `json:"detail,omitempty"`   // what was found
	Fix      string `json:"fix,omitempty"`      // how to get what was not
}

// What a build of a small Debian image takes at the least: the base, the overlay and one copy of each format.
const (
	neededDisk   = 8 << 30
	neededMemory = 2 << 30
)

// Requirements looks at everything a build needs of this machine.
func (b *Builder) Requirements(ctx context.Context) []Requirement {
	var all []Requirement
	for _, r := range qemu.Requirements(ctx, "", "auto") {
		all = append(all, Requirement{Name: r.Name, Found: r.Found, Optional: r.Optional, Detail: r.Detail, Fix: r.Fix})
	}
	packages := map[string]bool{}
	for _, t := range append(disk.Tools(), base.Tools()...) {
		r := Requirement{Name: t.Name}
		path, err := t.Find()
		if r.Found, r.Detail = err == nil, path; err != nil {
			r.Fix = "apt-get install " + t.Package
		}
		if !packages[t.Name] {
			all = append(all, r)
		}
		packages[t.Name] = true
	}
	all = append(all, userNamespaces(ctx), freeDisk(b.Home), freeMemory())
	if _, err := b.Agent("linux", "amd64"); err != nil {
		all = append(all, Requirement{Name: "guest agent", Fix: "make build"})
	} else {
		all = append(all, Requirement{Name: "guest agent", Found: true, Detail: "linux/amd64, inside this program"})
	}
	return all
}

// userNamespaces tells whether bases can be bootstrapped: by root, or with the ids that /etc/subuid and /etc/subgid give.
func userNamespaces(ctx context.Context) Requirement {
	r := Requirement{Name: "right to bootstrap"}
	if err := base.CheckNamespace(ctx); err != nil {
		r.Fix = err.Error()
		return r
	}
	r.Found, r.Detail = true, "user namespace with the ids of /etc/subuid"
	if os.Geteuid() == 0 {
		r.Detail = "root"
	}
	return r
}

// freeDisk looks at the file system that Ingot's home is or will be on.
func freeDisk(home string) Requirement {
	r := Requirement{Name: "disk"}
	dir := home
	for !exists(dir) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		r.Detail = err.Error()
		return r
	}
	free := int64(fs.Bavail) * fs.Bsize
	r.Found = free >= neededDisk
	r.Detail = fmt.Sprintf("%d GiB free in %s", free>>30, dir)
	r.Fix = fmt.Sprintf("free %d GiB there, or set INGOT_HOME to a folder on a larger file system", neededDisk>>30)
	return r
}

// freeMemory reads the kernel's estimate of what is available (proc(5), /proc/meminfo).
func freeMemory() Requirement {
	r := Requirement{Name: "memory", Fix: fmt.Sprintf("a build needs about %d GiB of free memory", neededMemory>>30)}
	free, err := availableMemory()
	if err != nil {
		r.Detail = err.Error()
		return r
	}
	r.Found, r.Detail = free >= neededMemory, fmt.Sprintf("%.1f GiB available", float64(free)/(1<<30))
	return r
}

// availableMemory is the kernel's estimate of how much memory new programs can have, in bytes.
func availableMemory() (int64, error) {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); n == 1 {
			return kib << 10, nil
		}
	}
	return 0, errors.New("/proc/meminfo has no MemAvailable")
}
