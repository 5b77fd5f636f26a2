package inspect

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/ingot-image/ingot/disk/image"
)

// Inspect tells what is on a disk. The error is one of the disk itself ([ErrNoDisk], or what is wrong with its partition table), of reading it, or
// ctx's cause; what is wrong further inside is told in the report's Problems, and so is that not everything was read within a minute, mounting not
// counted, and 8 GiB.
func Inspect(ctx context.Context, src image.Source, o Options) (*Report, error) {
	return inspect(ctx, src, o, newMeter(ctx, maxTime, maxRead))
}

// InspectRoot is [Inspect] that gives the installed system's files, too, as [OpenRoot] does. Of file systems that have to be mounted there is what Inspect
// reads, and o.Also: they are mounted once for both. Close the root after use. Where there is a report but no root the error wraps [ErrNoSystem].
func InspectRoot(ctx context.Context, src image.Source, o Options) (*Report, *Root, error) {
	m := newMeter(ctx, maxTime, maxRead)
	report, root, err := inspectRoot(ctx, src, o, m)
	if root != nil { // what is read from now on has no bounds
		m.pause()
		root.contents.meter, root.Problems = nil, report.Problems
	}
	return report, root, err
}

func inspect(ctx context.Context, src image.Source, o Options, m *meter) (*Report, error) {
	report, root, err := inspectRoot(ctx, src, o, m)
	if root != nil {
		root.Close()
	}
	if report != nil {
		return report, nil
	}
	return nil, err
}

// inspectRoot gives a report and a root, a report and an error that wraps ErrNoSystem, or an error.
func inspectRoot(ctx context.Context, src image.Source, o Options, m *meter) (_ *Report, _ *Root, err error) {
	c, err := scan(ctx, metered{src, m}, o)
	if err != nil {
		return nil, nil, fmt.Errorf("inspect: %w", err)
	}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	c.wanted, c.meter = true, m
	report := &Report{Size: src.Size(), PartitionTable: c.report, FileSystems: []FileSystem{}, Boot: c.inspectBoot()}
	root, none := c.openRoot(ctx)
	var missing *noSystemError
	if ctx.Err() != nil {
		return nil, nil, fmt.Errorf("inspect: %w", context.Cause(ctx))
	}
	switch {
	case none == nil:
		if report.System, err = root.system(ctx, &report.Boot); err != nil {
			return nil, nil, fmt.Errorf("inspect: %w", err)
		}
	case !errors.Is(none, ErrNoSystem):
		return nil, nil, fmt.Errorf("inspect: %w", none)
	case errors.As(none, &missing): // for causes that are problems of their own already
		c.problem("system", "%v: %s cannot be read here", ErrNoSystem, strings.Join(missing.devices, ", "))
	}
	for _, v := range c.volumes {
		if v.files != nil && v.Type != "vfat" {
			if base := c.rootOf(v, v.files); base != "" {
				v.OS = osRelease(v.files, base).PrettyName
			}
		}
		report.FileSystems = append(report.FileSystems, v.FileSystem)
	}
	if err := m.exhausted(); err != nil {
		c.problem("disk", "%v: what is not told here was not read", err)
	}
	report.Problems = c.problems
	if none != nil {
		return report, nil, fmt.Errorf("inspect: %w", none)
	}
	return report, root, nil
}

// system looks at the installed system.
func (r *Root) system(ctx context.Context, b *Boot) (*System, error) {
	s := &System{Root: r.root.Device, OS: osRelease(r, "."), Architecture: r.architecture(), Fstab: []Mount{}, Kernels: []Kernel{}}
	for _, m := range r.fstab {
		s.Fstab = append(s.Fstab, m.reported())
	}
	r.bootConfigs(b)
	options := ""
	for _, e := range b.Entries {
		if e.Default {
			options = e.Options
		}
	}
	if k := r.kernels(b); k != nil {
		s.Kernels = k
	}
	// Without a boot loader's word it is the only one, or the newest.
	if !hasDefault(s.Kernels) && len(b.Entries) == 0 && len(s.Kernels) > 0 {
		s.Kernels[0].Default = true
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	s.Packages = r.packages(ctx)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	s.Services = r.services()
	var err error
	if s.Accounts, err = r.accounts(ctx); err != nil {
		return nil, err
	}
	s.CloudInit = r.cloudInit(s.Services, options)
	s.SSH = r.ssh(s.Services)
	s.Network = r.network(s.Services, options)
	s.Identity = r.identity(s.Accounts)
	s.Growpart = r.anyOf("usr/bin/growpart", "usr/bin/systemd-repart", "usr/sbin/growpart")
	if mode := settings(text(r, "etc/selinux/config"))["SELINUX"]; mode != "" {
		s.SELinux = mode
	}
	return s, nil
}

func hasDefault(kernels []Kernel) bool {
	for _, k := range kernels {
		if k.Default {
			return true
		}
	}
	return false
}

// osRelease reads what operating system is in a tree: os-release(5), or what there was before.
func osRelease(f files, base string) OS {
	for _, name := range []string{"etc/os-release", "usr/lib/os-release"} {
		t := text(f, path.Join(base, name))
		if t == "" {
			continue
		}
		s := settings(t)
		o := OS{ID: s["ID"], IDLike: s["ID_LIKE"], Name: s["NAME"], PrettyName: s["PRETTY_NAME"], Version: s["VERSION"], VersionID: s["VERSION_ID"],
			Codename: s["VERSION_CODENAME"], From: "/" + path.Join(base, name)}
		if o.ID == "" {
			o.ID = "linux"
		}
		if o.PrettyName == "" {
			o.PrettyName = strings.TrimSpace(o.Name + " " + o.Version)
		}
		if o.PrettyName == "" {
			o.PrettyName = "Linux"
		}
		for id, file := range map[string]string{"debian": "etc/debian_version", "alpine": "etc/alpine-release", "centos": "etc/centos-release"} {
			if o.ID == id {
				o.Minor = firstLine(text(f, path.Join(base, file)))
			}
		}
		return o
	}
	for _, old := range []struct{ name, id string }{{"etc/centos-release", "centos"}, {"etc/oracle-release", "ol"}, {"etc/fedora-release", "fedora"}, {"etc/redhat-release", "rhel"},
		{"etc/SuSE-release", "sles"}, {"etc/alpine-release", "alpine"}, {"etc/debian_version", "debian"}} {
		if line := firstLine(text(f, path.Join(base, old.name))); line != "" {
			o := OS{ID: old.id, PrettyName: line, VersionID: versionIn(line), From: "/" + path.Join(base, old.name)}
			if o.VersionID == line { // nothing but a number
				o.PrettyName = map[string]string{"debian": "Debian ", "alpine": "Alpine "}[old.id] + line
			}
			return o
		}
	}
	return OS{PrettyName: "unknown Linux"}
}

func firstLine(t string) string {
	line, _, _ := strings.Cut(t, "\n")
	return printable(line)
}

// versionIn is the first word of a text that begins with a digit.
func versionIn(t string) string {
	for _, w := range strings.Fields(t) {
		if isDigit(w[0]) {
			return w
		}
	}
	return ""
}
