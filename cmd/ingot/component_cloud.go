package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ingot-image/ingot/builder/component"
)

// cloudFlags say what S3 and the Parameter Store are, and whose the bucket of documents must be.
type cloudFlags struct {
	serviceFlags
	documentOwner string
}

func (f *cloudFlags) register(cmd *cobra.Command) {
	f.serviceFlags.register(cmd)
	cmd.Flags().StringVar(&f.documentOwner, "document-s3-bucket-owner", "", "account that must own the bucket of documents at s3://, 12 digits")
}

// open gives S3, Parameters and Components.
func (f *cloudFlags) open(ctx context.Context) (component.System, error) {
	if f.documentOwner != "" && !accountNumber.MatchString(f.documentOwner) {
		return component.System{}, usageError{fmt.Errorf("--document-s3-bucket-owner %q: must be an account number of 12 digits", f.documentOwner)}
	}
	services, err := f.serviceFlags.open(ctx)
	return component.System{S3: services.S3, Parameters: services.Parameters, Components: services.Components}, err
}
