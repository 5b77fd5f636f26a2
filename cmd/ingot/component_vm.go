package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/ingot-image/ingot/builder/component"
)

// vmFlags are the flags of component run that are about the VM.
type vmFlags struct {
	base string
	keep bool
}

func (f *vmFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.base, "vm", "", "run in a throwaway VM of this base: debian-12, an image file, or NAME/VERSION of an image that was built")
	cmd.Flags().BoolVar(&f.keep, "keep", false, "keep the VM of --vm, for ingot shell")
}

// check finds what makes no sense before anything is done.
func (f *vmFlags) check(cmd *cobra.Command) error {
	if f.base == "" && f.keep {
		return usageError{errors.New("--keep is about the VM of --vm")}
	}
	return nil
}

// platform is what the documents are for.
func (f *vmFlags) platform() string {
	if f.base == "" {
		return ""
	}
	return "linux"
}

// run runs the request in a VM. Of services S3, Parameters and Components are of use. The log folder's path takes what else there is to keep.
func (f *vmFlags) run(ctx context.Context, request component.Request, services component.System, logFolder string, p *runProgress, events func(component.Event)) (*component.Result, error) {
	return nil, errors.New("not yet")
}
