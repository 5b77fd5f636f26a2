package builder

import (
	"context"
)

// Build casts the image that the recipe describes. What it does, stage by stage:
//
//	resolve     read the recipe and its components, pin every input, take a build number
//	base        make or find the parent image's disk
//	boot        start a VM on a copy-on-write overlay of it, with the agent inside, or go on from a layer
//	apply       run the components' build and validate phases in the guest, and save layers on the way
//	finalise    make an image out of the instance, trim, shut down in order
//	flatten     turn the overlay into the files that were asked for, beside their final place
//	test        boot those very files in throwaway VMs and run the components' test phases
//	distribute  move the files into place with their manifest, record the image, and bring it where the recipe wants it besides: to AWS
//
// Mistakes of the recipe or its components are returned as component.Problems, and nothing has been changed then. Every
// other failure is a *Failure. When Build returns, nothing of it is left running, and nothing is left on disk but a
// finished image, its logs, cached bases and layers. If the very image is there already nothing is built, and what is missing where it
// is to go is done. An image that cannot be brought there is finished all the same: its manifest is returned with the failure.
func (b *Builder) Build(ctx context.Context, o Options) (manifest *Manifest, err error) {
	j := b.newJob(o)
	defer func() { err = j.end(ctx, manifest, err) }()

	plan, err := stage(ctx, j, StageResolve, j.resolve)
	if err != nil {
		return nil, err
	}
	if j.reused != nil {
		return j.reused, j.releaseAgain(ctx)
	}
	parent, err := stage(ctx, j, StageBase, j.base)
	if err != nil {
		return nil, err
	}
	guest, err := stage(ctx, j, StageBoot, func(ctx context.Context) (*guest, error) { return j.boot(ctx, parent) })
	if err != nil {
		return nil, err
	}
	defer func() { err = guest.leave(ctx, err) }()
	if _, err = stage(ctx, j, StageApply, guest.apply); err != nil {
		return nil, err
	}
	facts, err := stage(ctx, j, StageFinalise, guest.finalise)
	if err != nil {
		return nil, err
	}
	files, err := stage(ctx, j, StageFlatten, func(ctx context.Context) ([]file, error) { return j.flatten(ctx, guest) })
	if err != nil {
		return nil, err
	}
	tests, err := stage(ctx, j, StageTest, func(ctx context.Context) ([]Test, error) { return j.test(ctx, parent.modes, files) })
	if err != nil {
		return nil, j.keepFailed(err, files, tests)
	}
	return stage(ctx, j, StageDistribute, func(ctx context.Context) (*Manifest, error) {
		m, err := j.distribute(ctx, j.manifest(plan, parent, facts, tests), files)
		if err != nil {
			return nil, err
		}
		j.remember(m)
		return m, j.release(ctx, m)
	})
}
