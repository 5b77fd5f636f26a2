package inspect

import (
	"path"
	"slices"
)

// wanted is what Inspect reads of a system: what is asked for of a file system that has to be mounted, since all of it may be much. Links on the
// ways are followed: nothing that may be a link to a large folder is in the list itself.
var wanted = []string{"etc", "boot", "efi", "root", "home", "bin/sh", "bin/busybox", "sbin/init", "sbin/sshd",
	"usr/lib/os-release", "usr/lib/systemd/system", "usr/lib/systemd/system-generators", "usr/lib/systemd/systemd", "usr/lib/sysimage/rpm", "usr/lib/apk",
	"lib/systemd/system", "lib/systemd/system-generators", "lib/apk", "usr/bin/sh", "usr/bin/env", "usr/bin/cloud-init", "usr/local/bin/cloud-init", "usr/bin/growpart",
	"usr/sbin/growpart", "usr/bin/systemd-repart", "usr/sbin/sshd", "usr/bin/sshd", "var/lib/dpkg/status", "var/lib/dpkg/status.d", "var/lib/rpm", "var/lib/pacman/local",
	"var/lib/cloud/instances", "var/lib/systemd/random-seed", "var/log"}

// paths are those of a volume: nil for all.
func (c *contents) paths(v *volume) []string {
	if !c.wanted {
		return nil
	}
	names := append(slices.Clone(wanted), c.options.Also...)
	// Of the modules only the lists are needed, if the kernels' versions are known by a /boot that could be read.
	versions := map[string]bool{}
	for _, other := range c.volumes {
		if other.files == nil {
			continue
		}
		for _, folder := range []string{".", "boot"} {
			for _, name := range list(other.files, folder, "vmlinuz-*") {
				if m := nameVersion.FindStringSubmatch(path.Base(name)); m != nil {
					versions[m[1]] = true
				}
			}
		}
	}
	for _, folder := range []string{"usr/lib/modules", "lib/modules"} {
		if len(versions) == 0 {
			names = append(names, folder)
		}
		for version := range versions {
			for _, file := range []string{"modules.dep", "modules.builtin", "vmlinuz"} {
				names = append(names, path.Join(folder, version, file))
			}
		}
	}
	var all []string
	for _, base := range bases(v.Type) {
		for _, name := range names {
			all = append(all, path.Join(base, name))
		}
	}
	return all
}
