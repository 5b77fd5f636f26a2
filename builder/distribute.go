package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ingot-image/ingot/builder/catalog"
	"github.com/ingot-image/ingot/export"
)

// manifest gathers what is known of the image before its files are final.
func (j *job) manifest(plan *Plan, parent *parentImage, f *facts, tests []Test) *Manifest {
	m := &Manifest{
		Name: plan.Name, Version: j.version(), DateCreated: j.started, OS: f.os,
		Tests: tests, Packages: f.packages,
		Accelerator: j.accelerator.Name, QEMUVersion: j.qemuVersion,
		Inputs:          []Input{{Name: parent.Name, Digest: parent.InputDigest()}},
		ParentImageDate: parent.Created, BlockDeviceMappings: plan.BlockDeviceMappings, AMITags: plan.AMITags,
	}
	for _, c := range plan.Components {
		m.Inputs = append(m.Inputs, Input{Name: c.Name, Version: c.Version, Digest: c.Digest})
	}
	m.Inputs = append(m.Inputs, Input{Name: "ingot-agent", Digest: digestOf(j.program)})
	return m
}

// distribute moves the files to where they were asked for, the manifest last, and records the image. Either all of them
// are there afterwards or none, and a file that is already there is never replaced.
func (j *job) distribute(ctx context.Context, m *Manifest, files []file) (*Manifest, error) {
	if err := j.setStatus(ctx, catalog.Distributing); err != nil {
		return nil, err
	}
	for _, f := range files {
		s, err := j.unsealed(ctx, f)
		if err != nil {
			return nil, err
		}
		m.Outputs = append(m.Outputs, Output{Format: string(f.format), Path: filepath.Base(f.path), SHA256: s.sha256hex, SizeBytes: s.size})
	}
	m.Stages = j.stages(StageDistribute)
	data, err := m.JSON()
	if err != nil {
		return nil, err
	}
	manifest := filepath.Join(j.staging, j.fileName(".json"))
	if err := os.WriteFile(manifest, data, 0o644); err != nil {
		return nil, err
	}
	return m, j.publish(ctx, m, append(files, file{path: manifest}))
}

// publish moves the files into the output folder and records the image. Until all of them are there they belong to the
// workspace, which takes them away again if the builder dies in between.
func (j *job) publish(ctx context.Context, m *Manifest, files []file) error {
	var paths, final []string
	for _, f := range files {
		paths, final = append(paths, f.path), append(final, j.final(f))
	}
	undo, err := export.Folder{Path: j.output, Pending: j.work.own}.Publish(paths)
	// Nothing of the build's is in the folder now, or a whole image.
	if err := errors.Join(err, j.work.disown(final...)); err != nil {
		return err
	}
	if err := j.record(ctx, m); err != nil {
		return errors.Join(err, undo())
	}
	return nil
}

func (j *job) final(f file) string { return filepath.Join(j.output, filepath.Base(f.path)) }

// keepFailed puts the files of an image whose tests failed into the output folder after all, if that was asked for. They
// get no manifest: what has one is good.
func (j *job) keepFailed(cause error, files []file, tests []Test) error {
	failure := asFailure(StageTest, cause)
	j.failedTests = tests
	if !j.options.KeepFailed || failure.Cancelled() {
		return failure
	}
	var paths []string
	for _, f := range files {
		if t := j.sealed[f.path]; t != nil {
			<-t.done // and so flushed to the disk
		}
		paths = append(paths, f.path)
	}
	if _, err := (export.Folder{Path: j.output}).Publish(paths); err != nil {
		return errors.Join(failure, err)
	}
	failure.advise(fmt.Sprintf("the image is kept although its tests failed: %s", j.final(files[0])))
	return failure
}
