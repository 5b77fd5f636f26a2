package recipe

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/disk/image"
)

// Environment is what a recipe is resolved against: this machine's components, images and parents.
type Environment struct {
	// Home is Ingot's home folder, whose folder components holds local components; "" for none.
	Home string
	// Modules are the actions that component documents may use (action.Modules()).
	Modules component.Modules
	// Managed are the managed components.
	Managed ManagedComponents
	// Images gives the builds that exist. Nil means that there are none.
	Images Images
	// Parents looks at parent images. Nil means that files are hashed and nothing else is found out.
	Parents Parents
	// Formats, if there are any, take the place of the recipe's: those of the command line.
	Formats []Format
	// CPUs is how many a guest can make use of on this machine; 0 for runtime.NumCPU.
	CPUs int
}

// ManagedComponents gives access to the component documents that Ingot brings (package managed's functions of the same
// names). Nil functions mean that there are none.
type ManagedComponents struct {
	Names  func() []string
	Lookup func(name string) (version string, data []byte, ok bool)
}

// Images is what Resolve needs to know of the catalog.
type Images interface {
	// Builds gives every build ever started of the images of that name, in any order; none is not an error.
	Builds(ctx context.Context, name string) ([]Build, error)
}

// Build is one build of an image.
type Build struct {
	Version   Version // with its build number
	Available bool    // whether the build is AVAILABLE, so that it can be a parent
	Path      string  // the disk image's file, if Available; "" if it is gone
	Digest    string  // the file's, "sha256:…"
}

// Parents finds out about parent images what can be known without making or fetching them.
type Parents interface {
	// Inspect gives the parent's digest and its disk's virtual size in bytes, as far as they are known ("" and 0 if
	// not). The error says what is wrong with the parent image; it becomes a problem of the recipe.
	Inspect(ctx context.Context, parent PlannedParentImage) (digest string, size int64, err error)
}

// Load reads a recipe file and resolves it: Parse and Resolve in one. A file that cannot be read is reported as
// component.Problems too.
func Load(ctx context.Context, file string, env Environment) (*Plan, error) {
	data, err := readFile(file)
	if err != nil {
		return nil, component.Problems{{File: file, Message: err.Error()}}
	}
	r, err := Parse(file, data)
	if r == nil {
		return nil, err
	}
	return Resolve(ctx, r, env)
}

// Resolve makes a plan of a recipe: it reads and checks the component documents the recipe names, resolves wildcards and
// pins every input. It changes nothing.
//
// A recipe or document with mistakes gives component.Problems with all of them, those that Parse found included, so that
// a recipe may be resolved whatever Parse said. Other errors (ctx ended, the catalog cannot be read) are returned as
// they are.
func Resolve(ctx context.Context, r *Recipe, env Environment) (*Plan, error) {
	s := &resolver{ctx: ctx, recipe: r, env: env, problems: slices.Clone(r.problems), documents: map[string]*component.Document{}}
	p := &Plan{
		Name:                            r.Name,
		Description:                     r.Description,
		SemanticVersion:                 r.SemanticVersion,
		Components:                      []PlannedComponent{},
		BlockDeviceMappings:             r.BlockDeviceMappings,
		WorkingDirectory:                r.WorkingDirectory,
		AdditionalInstanceConfiguration: r.AdditionalInstanceConfiguration,
		AMITags:                         r.AMITags,
		AMIWatermarks:                   r.AMIWatermarks,
		Tags:                            r.Tags,
		Infrastructure:                  r.InfrastructureConfiguration,
		Tests:                           r.ImageTestsConfiguration,
		Distribution:                    r.Distribution,
	}
	for i, c := range r.Components {
		planned, ok := s.component(c, fmt.Sprintf("components[%d]", i))
		if ok {
			p.Components = append(p.Components, planned)
		}
	}
	var err error
	if p.Version, err = s.nextVersion(p); err != nil {
		return nil, err
	}
	if p.ParentImage, err = s.parent(r.ParentImage); err != nil {
		return nil, err
	}
	s.machine(p)
	s.formats(p)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("resolve recipe %s: %w", r.File, context.Cause(ctx))
	}
	if err := s.problems.Err(); err != nil {
		return nil, err
	}
	return p, nil
}

// resolver is one call of Resolve.
type resolver struct {
	ctx       context.Context
	recipe    *Recipe
	env       Environment
	problems  component.Problems
	documents map[string]*component.Document // by path; nil for those with mistakes
}

func (s *resolver) problem(field, message, hint string) {
	s.problems = append(s.problems, s.recipe.Problem(field, message, hint))
}

// local joins a path of the recipe to the recipe's folder.
func (s *resolver) local(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(filepath.Dir(s.recipe.File), path)
}

// nextVersion is the version a build would get now.
func (s *resolver) nextVersion(p *Plan) (Version, error) {
	if p.Name == "" || p.SemanticVersion.IsZero() {
		return Version{}, nil // reported already
	}
	builds, err := s.builds(p.ResourceName())
	if err != nil {
		return Version{}, err
	}
	existing := make([]Version, len(builds))
	for i, b := range builds {
		existing[i] = b.Version
	}
	v, err := p.SemanticVersion.Next(existing)
	if err != nil {
		s.problem("semanticVersion", err.Error(), "choose the next minor or major version")
	}
	return v, nil
}

func (s *resolver) builds(name string) ([]Build, error) {
	if s.env.Images == nil {
		return nil, nil
	}
	builds, err := s.env.Images.Builds(s.ctx, name)
	if err != nil {
		return nil, fmt.Errorf("list the builds of %s: %w", name, err)
	}
	return builds, nil
}

// parent pins the parent image.
func (s *resolver) parent(parent ParentImage) (PlannedParentImage, error) {
	const field = "parentImage"
	p := PlannedParentImage{Kind: parent.Kind, Name: parent.String(), Suite: parent.Suite, URL: parent.URL}
	switch parent.Kind {
	case "":
		return p, nil // reported already
	case ParentURL:
		p.Digest = "sha256:" + parent.SHA256
	case ParentFile:
		p.Path = s.local(parent.Path)
		if err := checkFile(p.Path); err != nil {
			s.problem(field, p.Path+" "+err.Error(), "")
			return p, nil
		}
	case ParentEarlier:
		build, ok, err := s.earlier(parent.Reference)
		if err != nil || !ok {
			return p, err
		}
		p.Version, p.Path, p.Digest = build.Version, build.Path, build.Digest
		p.Name = parent.Reference.Name + "/" + build.Version.String()
	}
	if s.env.Parents == nil {
		if p.Kind == ParentFile {
			var err error
			if p.Digest, err = fileDigest(s.ctx, p.Path); err != nil && s.ctx.Err() == nil {
				s.problem(field, p.Path+" "+err.Error(), "")
			}
		}
		return p, nil
	}
	digest, size, err := s.env.Parents.Inspect(s.ctx, p)
	if err != nil {
		if s.ctx.Err() == nil {
			s.problem(field, err.Error(), "")
		}
		return p, nil
	}
	p.Size = size
	if p.Digest == "" {
		p.Digest = digest
	}
	return p, nil
}

// earlier selects the build of an earlier image, false with a problem if there is none.
func (s *resolver) earlier(ref Reference) (Build, bool, error) {
	const field = "parentImage"
	builds, err := s.builds(ref.Name)
	if err != nil {
		return Build{}, false, err
	}
	byVersion, available := map[Version]Build{}, []Version{}
	for _, b := range builds {
		if b.Available {
			byVersion[b.Version] = b
			available = append(available, b.Version)
		}
	}
	v, ok := ref.Pattern.Select(available)
	switch build := byVersion[v]; {
	case len(available) == 0:
		s.problem(field, fmt.Sprintf("there is no finished image called %s", ref.Name), "ingot images lists them; the path of a file begins with ./ or /")
	case !ok:
		s.problem(field, fmt.Sprintf("no finished build of %s matches %s", ref.Name, ref.Pattern), "there are "+versionList(available))
	case build.Path == "":
		s.problem(field, fmt.Sprintf("%s/%s has no file any more", ref.Name, v), "build it again")
	default:
		if err := checkFile(build.Path); err != nil {
			s.problem(field, fmt.Sprintf("%s/%s: its file %s %v", ref.Name, v, build.Path, err), "build it again")
			return Build{}, false, nil
		}
		return build, true, nil
	}
	return Build{}, false, nil
}

// versionList names versions for a message, newest first and at most five.
func versionList(versions []Version) string {
	sorted := slices.Clone(versions)
	slices.SortFunc(sorted, func(a, b Version) int { return b.Compare(a) })
	var names []string
	for i, v := range sorted {
		if i == 5 {
			names = append(names, "…")
			break
		}
		names = append(names, v.String())
	}
	return strings.Join(names, ", ")
}

// machine fills in what depends on this machine and on the parent's size.
func (s *resolver) machine(p *Plan) {
	cpus := s.env.CPUs
	if cpus <= 0 {
		cpus = runtime.NumCPU()
	}
	if p.Infrastructure.VCPUs == 0 {
		p.Infrastructure.VCPUs = min(DefaultVCPUs, cpus)
	}
	if p.Infrastructure.MemoryMiB == 0 {
		p.Infrastructure.MemoryMiB = DefaultMemoryMiB
	}
	if p.Distribution.Folder != "" {
		p.Distribution.Folder = s.local(p.Distribution.Folder)
	}
	relocate(p.Distribution.Configuration, s.local)
	for i, b := range p.BlockDeviceMappings {
		if b.EBS == nil || b.EBS.VolumeSize == 0 || !b.Root() {
			continue
		}
		p.VolumeSize = b.EBS.VolumeSize
		const gib = 1 << 30
		if p.ParentImage.Size > int64(p.VolumeSize)*gib {
			s.problem(fmt.Sprintf("blockDeviceMappings[%d].ebs.volumeSize", i),
				fmt.Sprintf("%d GiB is smaller than the parent image", p.VolumeSize),
				fmt.Sprintf("it needs at least %d", (p.ParentImage.Size+gib-1)/gib))
		}
		return
	}
}

// formats chooses the formats, and reports those that hold no disk as large as the image's, if its size is known.
func (s *resolver) formats(p *Plan) {
	report := func(i int, message, hint string) {
		s.problem(fmt.Sprintf("distribution.formats[%d]", i), message, hint)
	}
	if len(s.env.Formats) > 0 {
		p.Distribution.Formats = s.env.Formats
		report = func(i int, message, hint string) {
			s.problems = append(s.problems, component.Problem{Field: "--format=" + string(s.env.Formats[i]), Message: message, Hint: hint})
		}
	} else if slices.ContainsFunc(s.problems, func(b component.Problem) bool { return strings.HasPrefix(b.Field, "distribution.formats") }) {
		return // formats that are none are not in the list, whose indexes are other ones
	}
	size := (p.ParentImage.Size + image.SectorSize - 1) / image.SectorSize * image.SectorSize
	if p.VolumeSize > 0 {
		size = int64(p.VolumeSize) << 30
	}
	if size == 0 {
		return
	}
	for i, f := range p.Distribution.Formats {
		if _, err := p.Distribution.Options[f].VirtualSize(f, size); err != nil {
			report(i, err.Error(), "choose another format, or a smaller disk")
		}
	}
}
