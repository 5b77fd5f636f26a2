package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/ingot-image/ingot/builder/agent"
	"github.com/ingot-image/ingot/builder/aws"
)

// serviceFlags say what stands in for AWS when component documents ask for S3 or the Parameter Store.
type serviceFlags struct {
	ssmParameters string
	s3Map         []string
}

func (f *serviceFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.ssmParameters, "ssm-parameters", "", "file that stands in for the SSM Parameter Store")
	flags.StringArrayVar(&f.s3Map, "s3-map", nil, "s3://BUCKET=FOLDER, a folder that stands in for a bucket (may be repeated)")
}

// open gives the services. Without the flags they are those of AWS, which are asked only when a document asks.
func (f *serviceFlags) open(ctx context.Context) (agent.Services, error) {
	services, err := openServices(ctx, aws.Options{SSMParameters: f.ssmParameters, S3Map: f.s3Map})
	if err != nil {
		return agent.Services{}, err
	}
	return agent.Services{S3: services.S3, Parameters: services.Parameters, Components: services.Components}, nil
}

// openServices makes a mistake in an S3 map one of the command line. Those in a file of parameters are component.Problems.
func openServices(ctx context.Context, o aws.Options) (*aws.Services, error) {
	services, err := aws.Open(ctx, o)
	var wrong *aws.S3MapError
	if errors.As(err, &wrong) {
		return nil, usageError{err}
	}
	return services, err
}
