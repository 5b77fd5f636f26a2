package builder

import (
	"context"
	"fmt"

	"github.com/ingot-image/ingot/builder/recipe"
	"github.com/ingot-image/ingot/builder/recipe/version"
	"github.com/ingot-image/ingot/export"
	"github.com/ingot-image/ingot/export/account"
	"github.com/ingot-image/ingot/export/distribution"
)

// destinations is where the recipe wants the image to go beyond the output folder, nil for nowhere.
func (j *job) destinations() *distribution.Configuration {
	if c := j.plan.Distribution.Configuration; !c.Empty() && !j.options.NoDistribute {
		return c
	}
	return nil
}

// ready finds out, before an hour is spent on a build, whether its image could go where it is to go at all.
func (j *job) ready(ctx context.Context) error {
	c := j.destinations()
	if c == nil || !j.releasing() {
		return nil
	}
	if c.Policy != "" {
		if _, err := recipe.ReadPolicy(ctx, c.Policy); err != nil {
			return err
		}
	}
	var formats []string
	for _, f := range j.plan.Distribution.Formats {
		formats = append(formats, string(f))
	}
	if err := deliverable(c, formats); err != nil {
		return err
	}
	for _, p := range c.Distributions {
		if p.Region != "" {
			continue
		}
		if _, err := export.NewPlace(ctx, p, export.PlaceOptions{}); err != nil {
			return fmt.Errorf("the recipe brings the image to %s: %w; --no-distribute builds it without", destinationName(p), err)
		}
	}
	regions := c.Regions()
	if len(regions) == 0 {
		return nil
	}
	if err := validate(c, j.planned()); err != nil {
		return err
	}
	if _, err := account.Load(ctx, account.Options{Region: regions[0]}); err != nil {
		return fmt.Errorf("the recipe distributes the image to %s: %w; --no-distribute builds it without", regions[0], err)
	}
	return nil
}

// releasing tells whether the image will be tested well enough to be distributed.
func (j *job) releasing() bool { return j.testing() && j.options.Test != TestQuick }

// releaseAgain is release for an image that was there already.
func (j *job) releaseAgain(ctx context.Context) error {
	if j.destinations() == nil {
		return nil
	}
	_, err := stage(ctx, j, StageDistribute, func(ctx context.Context) (struct{}, error) { return struct{}{}, j.release(ctx, j.reused) })
	return err
}

// release brings the finished image, which is recorded, to the places that the recipe names. What fails here fails the build and leaves the image.
func (j *job) release(ctx context.Context, m *Manifest) error {
	c := j.destinations()
	if c == nil {
		return nil
	}
	if !j.releasing() {
		j.event(Event{Type: Warning, Detail: "the image is not distributed, for it was not tested in full; ingot distribute does that"})
		return nil
	}
	reference := version.ResourceName(m.Name) + "/" + m.Version
	image, err := j.builder.outgoingBuilt(ctx, reference)
	if err != nil {
		return err
	}
	work := j.work
	if work == nil { // the image was there already
		if work, err = newWorkspace(j.builder.Home); err != nil {
			return err
		}
		defer work.close()
	}
	d := &distributor{builder: j.builder, options: DistributeOptions{Image: reference, Configuration: c}, image: image, work: work, tell: j.event}
	if _, err = d.run(ctx); err == nil || isInputError(err) {
		return err
	}
	failure := asFailure(StageDistribute, err)
	failure.advise("the image itself is finished: ingot distribute " + reference + " --distribution " + j.options.Recipe + " goes on where this ended, and so does the same build")
	return failure
}

// rehearsed names what an image must have been rehearsed for, as part of what it must have been tested by.
func (j *job) rehearsed() string {
	if c := j.destinations(); len(c.Regions()) > 0 {
		return "rehearsed " + c.Registration.BootMode
	}
	return ""
}
