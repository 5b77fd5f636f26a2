package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ingot-image/ingot/builder/catalog"
	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/recipe/version"
	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/export"
	"github.com/ingot-image/ingot/export/distribution"
)

// DistributeOptions say which image goes where.
type DistributeOptions struct {
	// Image is NAME/VERSION of the catalog, or a disk image's file.
	Image         string
	Configuration *distribution.Configuration
	// Name and Version are those of a file's image. Default: what the file's name says, and 1.0.0/1.
	Name, Version string
	// AllowUntested lets an image out that is not AVAILABLE with its tests passed. Its AMIs are tagged ingot:untested.
	AllowUntested bool
	// Policy is a policy file that must be met besides the configuration's own, "" for none.
	Policy string
	// Ignore names checks whose findings do not stop the distribution.
	Ignore []string
}

// Distributed is where an image is now.
type Distributed struct {
	Image  string             `json:"image"` // NAME/VERSION
	AMIs   []catalog.AMI      `json:"amis"`
	Places []export.Delivered `json:"places,omitempty"`
}

// Distribute brings an image to every place of the configuration, stage by stage:
//
//	policy      an image that was not tested, or is not as the policy wants it, goes nowhere (permit)
//	verify      the files are those of the manifest
//	check       the offline checks for the path to AWS, and those of the account (distribution_check.go)
//	distribute  regions and places on premises, all at once
//
// A second call does only what is missing. What was brought somewhere is told with an error, too. Mistakes of what was asked for are component.Problems or errors that name it, every other failure is a
// *Failure of the stage distribute, with the regions' own in it.
func (b *Builder) Distribute(ctx context.Context, o DistributeOptions) (*Distributed, error) {
	if err := sweep(b.Home); err != nil {
		b.tell(Event{Type: Warning, Detail: "clear away after an earlier run: " + err.Error()})
	}
	work, err := newWorkspace(b.Home)
	if err != nil {
		return nil, err
	}
	var done *Distributed
	out, err := b.outgoing(ctx, o)
	if err == nil {
		d := &distributor{builder: b, options: o, image: out, work: work, tell: b.tell}
		done, err = d.run(ctx)
	}
	if untidy := work.close(); untidy != nil {
		b.tell(Event{Type: Warning, Detail: "clear away after the distribution: " + untidy.Error()})
	}
	return done, err
}

// tell sends an event to whoever listens.
func (b *Builder) tell(e Event) {
	e.Time = time.Now().UTC()
	if e.Stage == "" {
		e.Stage = StageDistribute
	}
	if b.Events != nil {
		b.Events(e)
	}
}

// outgoing is an image that is to be distributed: one that was built, with its manifest, or somebody's file.
type outgoing struct {
	name     string
	version  version.Version
	status   catalog.Status // "" for a file
	manifest *Manifest      // nil for a file
	data     []byte         // the manifest as it was written
	files    []export.ImageFile
	date     time.Time
}

func (o *outgoing) String() string { return o.name + "/" + o.version.String() }

// outgoing finds out what the image is. The digests of a built image's files are those of its manifest, that of somebody's file is computed when it is verified.
func (b *Builder) outgoing(ctx context.Context, o DistributeOptions) (*outgoing, error) {
	if _, err := os.Stat(o.Image); errors.Is(err, os.ErrNotExist) {
		return b.outgoingBuilt(ctx, o.Image)
	}
	name := o.Name
	if name == "" {
		name = strings.TrimSuffix(filepath.Base(o.Image), filepath.Ext(o.Image))
	}
	var mistakes component.Problems
	if err := version.CheckName(name); err != nil {
		mistakes = append(mistakes, component.Problem{Field: "--name", Message: err.Error(), Hint: "give the image a name"})
	}
	out := &outgoing{name: version.ResourceName(name), version: version.Version{Major: 1, Build: 1}}
	if o.Version != "" {
		v, err := version.Parse(o.Version)
		if err != nil || v.Build == 0 {
			mistakes = append(mistakes, component.Problem{Field: "--image-version", Message: fmt.Sprintf("%q is no version with its build", o.Version), Hint: "write it as 1.0.0/1"})
		}
		out.version = v
	}
	if err := mistakes.Err(); err != nil {
		return nil, err
	}
	path, err := filepath.Abs(o.Image)
	if err != nil {
		return nil, err
	}
	seen, err := export.See(path)
	if err != nil {
		return nil, err
	}
	d, err := disk.Open(ctx, path, disk.OpenOptions{TempDir: b.Home})
	if err != nil {
		return nil, err
	}
	format := d.Info.Format
	if len(d.Within) > 0 {
		format = d.Within[0]
	}
	if err := d.Close(); err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	out.date = info.ModTime().UTC().Truncate(time.Second)
	out.files = []export.ImageFile{{Path: path, Format: format, Size: info.Size(), Seen: seen}}
	return out, nil
}

func (b *Builder) outgoingBuilt(ctx context.Context, reference string) (*outgoing, error) {
	images, err := b.OpenCatalog(ctx)
	if err != nil {
		return nil, err
	}
	if images != nil {
		defer images.Close()
	}
	if _, err := version.ParseReference(reference); err != nil || images == nil {
		return nil, fmt.Errorf("%w: %s is neither a file nor NAME/VERSION of an image that was built", catalog.ErrNotFound, reference)
	}
	found, err := images.Get(ctx, reference, catalog.Available)
	if errors.Is(err, catalog.ErrNotFound) { // one that failed has no files, and is told as what it is
		found, err = images.Get(ctx, reference)
	}
	if err != nil {
		return nil, err
	}
	out := &outgoing{name: found.Name, version: found.Version, status: found.Status, data: found.Manifest, date: found.DateCreated, manifest: &Manifest{}}
	if len(found.Manifest) == 0 {
		return nil, fmt.Errorf("%s is %s and has no files to distribute", out, found.Status)
	}
	if err := json.Unmarshal(found.Manifest, out.manifest); err != nil {
		return nil, fmt.Errorf("read the manifest of %s: %w", out, err)
	}
	return out, out.addFiles(found.Outputs)
}

// addFiles takes those of an image's files that are there and have the size that they had.
func (o *outgoing) addFiles(outputs []catalog.Output) error {
	var gone []string
	for _, f := range outputs {
		info, err := os.Stat(f.Path)
		if err != nil || info.Size() != f.SizeBytes {
			gone = append(gone, f.Path)
			continue
		}
		o.files = append(o.files, export.ImageFile{Path: f.Path, Format: disk.Format(f.Format), SHA256: f.SHA256, Size: f.SizeBytes})
	}
	if len(o.files) == 0 {
		return fmt.Errorf("the files of %s are gone or were changed: %s", o, strings.Join(gone, ", "))
	}
	order := append(readOrder(), disk.VagrantLibvirt, disk.VagrantVirtualBox) // which are delivered, and read last if at all
	slices.SortStableFunc(o.files, func(a, b export.ImageFile) int { return slices.Index(order, a.Format) - slices.Index(order, b.Format) })
	return nil
}
