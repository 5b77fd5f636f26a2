package preflight

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/ingot-image/ingot/disk/inspect"
)

// defaultKernel follows the boot loader's default to the files that it loads.
func defaultKernel() Check {
	return Check{
		ID: "C04", Title: "the kernel that is booted by default is there, and so is its initramfs", Needs: NeedSystem,
		Looks:       "the boot loader's default entry, and the header of the kernel and the content of the initramfs that it loads",
		Levels:      Levels{ImportImage: Fatal, ImportSnapshot: Fatal, EBSDirect: Fatal},
		Prevents:    "ClientError: Unable to determine kernel version",
		Fix:         "install the kernel again and make its initramfs (update-initramfs -u, dracut --force), then write the boot loader's menu anew",
		NoComponent: "a system without its kernel or initramfs does not start in a build either",
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			entry := t.defaultEntry()
			if entry != nil {
				var seen []Seen
				for _, name := range append([]string{entry.Kernel}, entry.Initrds...) {
					if there, err := t.exists(name); err != nil {
						return nil, err
					} else if !there {
						seen = append(seen, Seen{Where: entry.Config, What: fmt.Sprintf("the default entry loads %s, which does not exist", name)})
					}
				}
				if len(seen) > 0 {
					return seen, nil
				}
			}
			k := t.kernel()
			switch {
			case k == nil && slices.ContainsFunc(t.Report.Boot.EFI, func(l inspect.EFILoader) bool { return l.Loader == "uki" || l.Loader == "linux" }):
				return nil, nil // the kernel is the loader, and has its initramfs in it
			case k == nil && entry != nil:
				return []Seen{{Where: entry.Kernel, What: "this is no kernel"}}, nil
			case k == nil:
				return []Seen{{Where: "/boot", What: "no kernel"}}, nil
			case k.Initrd == nil && (entry == nil || len(entry.Initrds) == 0):
				s := Seen{Where: k.Path, What: "it has no initramfs", Prevents: unreadInitramfs}
				if builtIn(k, "nvme") {
					s.Level, s.What = Warning, "it has no initramfs: it must have the drivers of the root file system built in"
				}
				return []Seen{s}, nil
			case k.Initrd != nil && k.Initrd.Problem != "":
				return nil, unreadable(k)
			}
			return nil, nil
		},
	}
}

const unreadInitramfs = "ClientError: We were unable to read your import's initramfs/initrd to determine what drivers your import requires to run in EC2"

func builtIn(k *inspect.Kernel, driver string) bool {
	return slices.ContainsFunc(k.Drivers, func(d inspect.Driver) bool { return d.Name == driver && d.Kernel == "builtin" })
}

// defaultEntry is what the boot loader starts if nobody chooses, nil if it has no entries.
func (t *Target) defaultEntry() *inspect.BootEntry {
	for i := range t.Report.Boot.Entries {
		if e := &t.Report.Boot.Entries[i]; e.Default {
			return e
		}
	}
	return nil
}

// kernel is the one that is booted if nobody chooses, nil if there is none.
func (t *Target) kernel() *inspect.Kernel {
	for i := range t.Report.System.Kernels {
		if k := &t.Report.System.Kernels[i]; k.Default {
			return k
		}
	}
	return nil
}

// exists tells whether a path of the system, from /, leads to something. The error is one of reading the disk.
func (t *Target) exists(name string) (bool, error) {
	_, err := t.Root.Stat(strings.TrimPrefix(name, "/"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return err == nil, nil
}
