package preflight

import (
	"context"
	"fmt"
	"slices"

	"github.com/ingot-image/ingot/disk/inspect"
)

// nvmeDriver is R1 too: the root volume of an instance on Nitro is an NVMe disk.
func nvmeDriver() Check {
	return Check{
		ID: "D01", Title: "every kernel finds an NVMe root volume: nvme and nvme_core are built in or in the initramfs (R1)", Needs: NeedSystem,
		Looks:    "modules.builtin of each kernel, and the files in its initramfs",
		Levels:   Levels{ImportImage: Warning, ImportSnapshot: Fatal, EBSDirect: Fatal},
		Prevents: "no message: the kernel waits for its root device until it panics, and the instance fails its status check",
		Fix: "make the initramfs with it: add nvme to /etc/initramfs-tools/modules and run update-initramfs -u -k all, or " +
			`add_drivers+=" nvme " in /etc/dracut.conf.d/nvme.conf and dracut --regenerate-all --force`,
		Component: readiness, Parameter: "Drivers",
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			return t.earlyDrivers()
		},
	}
}

// lacksEarly names the driver of NVMe that a kernel lacks before it has its root file system, "" if it has all. Nvme is built in with nvme_core only, and
// was one module without it before Linux 4.4.
func lacksEarly(k *inspect.Kernel) string {
	nvme, core := driver(k, "nvme"), driver(k, "nvme_core")
	switch {
	case nvme.Kernel == "builtin":
		return ""
	case !nvme.Initrd:
		return "nvme"
	case core.Kernel == "module" && !core.Initrd:
		return "nvme_core"
	}
	return ""
}

// earlyDrivers looks at each kernel. It is as bad as the check says for the default kernel only.
func (t *Target) earlyDrivers() ([]Seen, error) {
	var seen []Seen
	var unread error
	known := false
	for i := range t.Report.System.Kernels {
		k := &t.Report.System.Kernels[i]
		level := Warning
		if k.Default {
			level = None
		}
		switch {
		case k.Initrd != nil && k.Initrd.Problem != "":
			known = true
			if !builtIn(k, "nvme") && (unread == nil || k.Default) {
				unread = unreadable(k)
			}
		case !k.Modules && k.Initrd == nil: // one without modules has what it has
		default:
			known = true
			lacks := lacksEarly(k)
			if lacks == "" {
				break
			}
			where := k.Path
			if k.Initrd != nil {
				where = k.Initrd.Path
			}
			seen = append(seen, Seen{Where: where, What: fmt.Sprintf("%s is neither in it nor built into kernel %s", lacks, k.Version), Level: level})
		}
	}
	if unread != nil && !slices.ContainsFunc(seen, func(s Seen) bool { return s.Level == None }) {
		return nil, unread // what is wrong for sure with the default kernel comes first
	}
	if !known {
		return nil, fmt.Errorf("no kernel with modules or an initramfs that can be read")
	}
	return seen, nil
}

// unreadable is the error of a look that needs what is in an initramfs that is not understood: it may be one that the kernel can read.
func unreadable(k *inspect.Kernel) error {
	return fmt.Errorf("%s is not understood, so that its drivers are not known: %s", k.Initrd.Path, k.Initrd.Problem)
}

// driver is what a kernel has of a driver.
func driver(k *inspect.Kernel, name string) inspect.Driver {
	for _, d := range k.Drivers {
		if d.Name == name {
			return d
		}
	}
	return inspect.Driver{Name: name}
}
