package diff

import (
	"cmp"
	"context"
	"errors"
	"path"
	"slices"
	"strings"

	"github.com/ingot-image/ingot/disk/inspect"
)

// Package is an installed package.
type Package = inspect.Package

// lister is a tree that knows its packages, as [inspect.Root] does.
type lister interface {
	Packages(context.Context) inspect.Packages
}

func (s *side) readPackages(ctx context.Context) {
	l, ok := s.tree.(lister)
	if !ok {
		return
	}
	p := l.Packages(ctx)
	s.packages = p.List
	if p.Problem != "" {
		s.problem("packages", errors.New(p.Problem))
	}
}

// PackageChange is a package in another version.
type PackageChange struct {
	Name         string `json:"name"`
	Architecture string `json:"architecture,omitempty"`
	Before       string `json:"before"`
	After        string `json:"after"`
}

// Packages is what changed of what the package manager has installed.
type Packages struct {
	Added   []Package       `json:"added"`
	Removed []Package       `json:"removed"`
	Changed []PackageChange `json:"changed"`
}

func (p *Packages) empty() bool { return len(p.Added)+len(p.Removed)+len(p.Changed) == 0 }

// diffPackages compares by name and architecture. Of several versions installed side by side, as kernels are with rpm, each is one of its own.
func diffPackages(before, after []Package) Packages {
	type key struct{ name, architecture string }
	versions := func(list []Package) map[key][]string {
		m := map[key][]string{}
		for _, p := range list {
			k := key{p.Name, p.Architecture}
			if !slices.Contains(m[k], p.Version) {
				m[k] = append(m[k], p.Version)
			}
		}
		return m
	}
	d := Packages{Added: []Package{}, Removed: []Package{}, Changed: []PackageChange{}}
	old, now := versions(before), versions(after)
	for k, was := range old {
		is := now[k]
		if len(was) == 1 && len(is) == 1 {
			if was[0] != is[0] {
				d.Changed = append(d.Changed, PackageChange{k.name, k.architecture, was[0], is[0]})
			}
			continue
		}
		for _, v := range was {
			if !slices.Contains(is, v) {
				d.Removed = append(d.Removed, Package{Name: k.name, Version: v, Architecture: k.architecture})
			}
		}
	}
	for k, is := range now {
		was := old[k]
		if len(was) == 1 && len(is) == 1 {
			continue
		}
		for _, v := range is {
			if !slices.Contains(was, v) {
				d.Added = append(d.Added, Package{Name: k.name, Version: v, Architecture: k.architecture})
			}
		}
	}
	order := func(a, b Package) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Architecture, b.Architecture), strings.Compare(a.Version, b.Version))
	}
	slices.SortFunc(d.Added, order)
	slices.SortFunc(d.Removed, order)
	slices.SortFunc(d.Changed, func(a, b PackageChange) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Architecture, b.Architecture))
	})
	return d
}

const dpkgInfo = "var/lib/dpkg/info"

// attribute says of changed files which package has them by its list. Only dpkg keeps such lists as text.
func (f *Files) attribute(before, after *side) {
	owners := map[string]string{}
	for _, x := range f.Added {
		owners[x.Path] = ""
	}
	for _, x := range f.Removed {
		owners[x.Path] = ""
	}
	for _, x := range f.Changed {
		owners[x.Path] = ""
	}
	if len(owners) == 0 {
		return
	}
	for _, s := range []*side{before, after} {
		s.owners(owners)
	}
	for i := range f.Added {
		f.Added[i].Package = owners[f.Added[i].Path]
	}
	for i := range f.Removed {
		f.Removed[i].Package = owners[f.Removed[i].Path]
	}
	for i := range f.Changed {
		f.Changed[i].Package = owners[f.Changed[i].Path]
	}
}

// owners looks names up in the lists of dpkg. On a system whose /lib is a link to /usr/lib, lists have names of before.
func (s *side) owners(names map[string]string) {
	entries, err := s.tree.ReadDir(dpkgInfo)
	if err != nil {
		return
	}
	merged := map[string]bool{}
	for _, folder := range []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"} {
		if target, err := s.tree.ReadLink(folder); err == nil && strings.TrimPrefix(target, "/") == "usr/"+folder {
			merged[folder] = true
		}
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".list")
		if !ok {
			continue
		}
		name, _, _ = strings.Cut(name, ":")
		for line := range strings.Lines(s.text(path.Join(dpkgInfo, e.Name()))) {
			at := strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "/")
			if first, _, _ := strings.Cut(at, "/"); merged[first] {
				at = "usr/" + at
			}
			if owner, asked := names[at]; asked && owner == "" {
				names[at] = name
			}
		}
	}
}
