package builder

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"github.com/ingot-image/ingot/builder/catalog"
	"github.com/ingot-image/ingot/builder/recipe"
	"github.com/ingot-image/ingot/disk"
)

// reserve takes the build's number. Numbers whose files already lie in the output folder, put there by an Ingot with
// another home, are passed over.
func (j *job) reserve(ctx context.Context) (err error) {
	for {
		if j.build, err = j.catalog.Reserve(ctx, j.plan.Name, j.plan.SemanticVersion); err != nil {
			return err
		}
		if !j.taken() {
			break
		}
		if err := j.build.Cancel(ctx, "files of that number are already in "+j.output, catalog.Record{}); err != nil {
			return err
		}
		if err := j.build.Close(ctx); err != nil {
			return err
		}
	}
	// A name of its own, also against an Ingot with another home.
	j.staging = filepath.Join(j.output, "."+j.fileName(".partial")+"."+randomHex(4))
	if err := j.work.own(j.staging); err != nil {
		return err
	}
	return os.Mkdir(j.staging, 0o700)
}

// taken tells whether a file of this build's number is already in the output folder.
func (j *job) taken() bool {
	for _, format := range append(j.formats(), disk.Raw) {
		if exists(filepath.Join(j.output, j.fileName(format.Extension()))) {
			return true
		}
	}
	return exists(filepath.Join(j.output, j.fileName(".json")))
}

// setStatus records how far the build is.
func (j *job) setStatus(ctx context.Context, status catalog.Status) error {
	return j.build.SetStatus(ctx, status)
}

// record makes the image available.
func (j *job) record(ctx context.Context, m *Manifest) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	r := j.facts(m.Tests, m.Stages)
	r.Manifest = data
	for _, i := range m.Inputs {
		r.Inputs = append(r.Inputs, catalog.Input{Name: i.Name, Digest: i.Digest})
	}
	for _, o := range m.Outputs {
		r.Outputs = append(r.Outputs, catalog.Output{
			Format: o.Format, Path: filepath.Join(j.output, o.Path), SHA256: o.SHA256, SizeBytes: o.SizeBytes,
		})
	}
	return j.build.Finish(ctx, r)
}

// facts are what the catalog keeps of every build, however it ended.
func (j *job) facts(tests []Test, stages []Stage) catalog.Record {
	r := catalog.Record{Accelerator: j.accelerator.Name, QEMUVersion: j.qemuVersion, PlanDigest: j.plan.Digest()}
	for _, t := range tests {
		r.Tests = append(r.Tests, catalog.Test{Name: t.Name, Firmware: t.Firmware, Disk: t.Disk, Status: t.Status, DurationMS: t.DurationMS})
	}
	for _, s := range stages {
		r.Stages = append(r.Stages, catalog.Stage(s))
	}
	return r
}

// recordFailure records the end of a build that failed or was interrupted.
func (j *job) recordFailure(ctx context.Context, f *Failure) error {
	if j.build == nil {
		return nil
	}
	r := j.facts(j.failedTests, j.done)
	var err error
	if f.Cancelled() {
		err = j.build.Cancel(ctx, f.ErrorMessage, r)
	} else {
		err = j.build.Fail(ctx, f.Reason(), f, r)
	}
	if errors.Is(err, catalog.ErrFinished) {
		return nil
	}
	return err
}

// known gives the catalog's builds to the recipe's resolver. A nil catalog has none.
type known struct{ catalog *catalog.Catalog }

// Builds lists every build of the images of a name.
func (k known) Builds(ctx context.Context, name string) ([]recipe.Build, error) {
	if k.catalog == nil {
		return nil, nil
	}
	images, err := k.catalog.List(ctx, name)
	if err != nil {
		return nil, err
	}
	builds := make([]recipe.Build, len(images))
	for i, image := range images {
		builds[i] = recipe.Build{Version: image.Version, Available: image.Status == catalog.Available}
		for _, o := range image.Outputs {
			// Any of the files is the same disk; a raw one needs no conversion to become a base.
			if exists(o.Path) && (builds[i].Path == "" || o.Format == string(disk.Raw)) {
				builds[i].Path, builds[i].Digest = o.Path, "sha256:"+o.SHA256
			}
		}
	}
	return builds, nil
}
