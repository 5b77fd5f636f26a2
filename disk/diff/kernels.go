package diff

import (
	"path"
	"slices"
	"strings"
)

// Kernel is one that the system can be started with.
type Kernel struct {
	Version string `json:"version"`
	Path    string `json:"path"`
	// Initrd and Modules tell whether the kernel has its initrd and its modules.
	Initrd  bool `json:"initrd"`
	Modules bool `json:"modules"`
}

// KernelChange is a kernel that is in both systems.
type KernelChange struct {
	Before Kernel `json:"before"`
	After  Kernel `json:"after"`
}

// Kernels is what changed of them.
type Kernels struct {
	Added   []Kernel       `json:"added"`
	Removed []Kernel       `json:"removed"`
	Changed []KernelChange `json:"changed"`
}

func (k *Kernels) empty() bool { return len(k.Added)+len(k.Removed)+len(k.Changed) == 0 }

// readKernels finds kernels by the names that distributions give them.
func (s *side) readKernels() {
	entries, err := s.tree.ReadDir("boot")
	if err != nil {
		s.problem("boot", err)
		return
	}
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name()] = true
	}
	for _, e := range entries {
		version, ok := strings.CutPrefix(e.Name(), "vmlinuz-")
		if !ok || e.IsDir() || len(s.kernels) > 1000 {
			continue
		}
		k := Kernel{Version: version, Path: path.Join("boot", e.Name())}
		for _, initrd := range []string{"initrd.img-" + version, "initramfs-" + version + ".img", "initrd-" + version, "initramfs-" + version} {
			k.Initrd = k.Initrd || names[initrd]
		}
		for _, folder := range []string{"usr/lib/modules", "lib/modules"} {
			if info, err := s.tree.Stat(path.Join(folder, version)); err == nil && info.IsDir() {
				k.Modules = true
			}
		}
		s.kernels = append(s.kernels, k)
	}
	slices.SortFunc(s.kernels, func(a, b Kernel) int { return strings.Compare(a.Version, b.Version) })
}

func diffKernels(before, after []Kernel) Kernels {
	d := Kernels{Added: []Kernel{}, Removed: []Kernel{}, Changed: []KernelChange{}}
	find := func(list []Kernel, version string) *Kernel {
		for i := range list {
			if list[i].Version == version {
				return &list[i]
			}
		}
		return nil
	}
	for _, was := range before {
		switch is := find(after, was.Version); {
		case is == nil:
			d.Removed = append(d.Removed, was)
		case *is != was:
			d.Changed = append(d.Changed, KernelChange{was, *is})
		}
	}
	for _, is := range after {
		if find(before, is.Version) == nil {
			d.Added = append(d.Added, is)
		}
	}
	return d
}
