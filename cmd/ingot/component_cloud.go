package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ingot-image/ingot/builder/aws"
	"github.com/ingot-image/ingot/builder/component"
)

// cloudFlags say what S3 and the Parameter Store are, and where documents and logs are in S3.
type cloudFlags struct {
	documentOwner string
	ssmParameters string
	s3Map         []string
}

// registerDocuments adds the flags about reading documents.
func (f *cloudFlags) registerDocuments(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.documentOwner, "document-s3-bucket-owner", "", "account that must own the bucket of documents at s3://, 12 digits")
	flags.StringArrayVar(&f.s3Map, "s3-map", nil, "s3://BUCKET=DIR, a folder that stands in for a bucket of S3; may be repeated")
}

// registerRun adds the flags about what running documents reach.
func (f *cloudFlags) registerRun(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.ssmParameters, "ssm-parameters", "", "file that stands in for the Parameter Store")
}

// open gives S3, Parameters and Components.
func (f *cloudFlags) open(ctx context.Context) (component.System, error) {
	if f.documentOwner != "" && !accountNumber.MatchString(f.documentOwner) {
		return component.System{}, usageError{fmt.Errorf("--document-s3-bucket-owner %q: must be an account number of 12 digits", f.documentOwner)}
	}
	services, err := aws.Open(ctx, aws.Options{SSMParameters: f.ssmParameters, S3Map: f.s3Map})
	if err != nil {
		return component.System{}, usageError{err}
	}
	return component.System{S3: services.S3, Parameters: services.Parameters, Components: services.Components}, nil
}
