package builder

import (
	"context"
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/ingot-image/ingot/builder/base"
	"github.com/ingot-image/ingot/builder/catalog"
	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/action"
	"github.com/ingot-image/ingot/builder/component/managed"
	"github.com/ingot-image/ingot/builder/recipe"
	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/qemu"
)

// Plan is a recipe with every input pinned, and the choices of the command line in it.
type Plan struct{ *recipe.Plan }

// Plan reads a recipe and everything it names, and tells what Build would do. It changes nothing.
func (b *Builder) Plan(ctx context.Context, o Options) (*Plan, error) {
	images, err := b.OpenCatalog(ctx)
	if err != nil {
		return nil, err
	}
	if images != nil {
		defer images.Close()
	}
	var formats []recipe.Format
	for _, f := range o.Formats {
		formats = append(formats, recipe.Format(f))
	}
	p, err := recipe.Load(ctx, o.Recipe, recipe.Environment{
		Home:    b.Home,
		Modules: action.Modules(),
		Managed: recipe.ManagedComponents{Names: managed.Names, Lookup: managed.Lookup},
		Images:  known{images},
		Parents: parents{b.Bases()},
		Formats: formats,
		CPUs:    usefulCPUs(ctx, o.Accelerator),
	})
	if err != nil {
		return nil, err
	}
	plan := &Plan{p}
	if o.OutputDir != "" {
		plan.Distribution.Folder = o.OutputDir
	} else if plan.Distribution.Folder == "" {
		plan.Distribution.Folder = "."
	}
	if o.Accelerator != "" {
		plan.Infrastructure.Accelerator = recipe.Accelerator(o.Accelerator)
	}
	if o.Test != "" {
		plan.Tests.ImageTestsEnabled = o.Test != TestNone
	}
	return plan, plan.checkNoCache(o)
}

// checkNoCache finds components that are not to be cached and are none of the recipe's.
func (p *Plan) checkNoCache(o Options) error {
	var problems component.Problems
	var names []string
	for _, c := range p.Components {
		names = append(names, c.Name)
	}
	for _, name := range o.NoCache {
		if name != AllComponents && !slices.Contains(names, name) {
			problems = append(problems, component.Problem{
				Field: "--no-cache=" + name, Message: "the recipe has no component of that name", Hint: "it has " + strings.Join(names, ", "),
			})
		}
	}
	return problems.Err()
}

// usefulCPUs is how many virtual CPUs a guest can make use of here, at most those of the machine: a QEMU that runs all of them in one thread
// is only slowed down by a second one. What cannot be found out now is told when the guest is started.
func usefulCPUs(ctx context.Context, accelerator string) int {
	n := runtime.NumCPU()
	chosen, err := qemu.ChooseAccelerator(accelerator)
	if err != nil {
		return n
	}
	version, err := qemuVersion(ctx)
	if err != nil {
		return n
	}
	config := qemu.Config{Accelerator: chosen, CPUs: n}
	return config.HostCPUs(version)
}

// OpenCatalog opens the catalog, or gives nil if nothing was built yet: asking makes no files.
func (b *Builder) OpenCatalog(ctx context.Context) (*catalog.Catalog, error) {
	if _, err := os.Stat(b.CatalogPath()); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return catalog.Open(ctx, b.CatalogPath())
}

// request is the order to run the given phases of all components.
func (p *Plan) request(phases ...string) component.Request {
	return component.Request{Documents: p.Documents(phases...), Phases: phases, WorkingDirectory: p.WorkingDirectory}
}

// hostname is that of test instances: a label of at most 63 characters (RFC 1123).
func (p *Plan) hostname() string {
	name := strings.ReplaceAll(p.ResourceName(), "_", "-")
	return strings.Trim(name[:min(63, len(name))], "-")
}

// volumeSize is the root volume's size in bytes, 0 for the parent image's.
func (p *Plan) volumeSize() int64 { return int64(p.VolumeSize) << 30 }

// source says where the parent image comes from, in the words of package base.
func source(parent recipe.PlannedParentImage) base.Source {
	// What the file of a parent must be is known of an address, which gives it, and of an earlier image, by the catalog.
	sum := strings.TrimPrefix(parent.Digest, "sha256:")
	switch parent.Kind {
	case recipe.ParentDebian:
		return base.Source{Debian: "debian-" + parent.Suite, Name: parent.Name}
	case recipe.ParentURL:
		return base.Source{URL: parent.URL, SHA256: sum, Name: parent.Name}
	case recipe.ParentEarlier:
		return base.Source{File: parent.Path, SHA256: sum, Name: parent.Name}
	}
	return base.Source{File: parent.Path, Name: parent.Name}
}

// parents looks at parent images for a plan.
type parents struct{ store *base.Store }

// Inspect tells a parent's digest: of a base its inputs', of a file its content's. It makes and fetches nothing.
func (p parents) Inspect(ctx context.Context, parent recipe.PlannedParentImage) (digest string, size int64, err error) {
	if parent.Kind == recipe.ParentURL {
		return parent.Digest, 0, nil
	}
	if parent.Kind == recipe.ParentDebian {
		size = base.DefaultDiskSize
	}
	if parent.Path != "" {
		info, err := disk.Probe(parent.Path)
		if err != nil {
			return "", 0, err
		}
		size = info.VirtualSize
	}
	plan, err := p.store.Plan(ctx, source(parent))
	if err != nil {
		return "", 0, err
	}
	return plan.InputDigest(), size, nil
}
