// Package aws reaches what component documents name outside of the machine they run on: objects in S3, parameters of the Systems
// Manager Parameter Store, and components. It runs on the host, whose credentials stay there; package agent carries single requests
// of a guest to it, as far as the guest's documents grant them (package grants).
//
//	services, err := aws.Open(ctx, aws.Options{
//		SSMParameters: "parameters.yaml",
//		S3Map:         []string{"s3://artifacts=./artifacts"},
//	})
//	system := component.System{S3: services.S3, Parameters: services.Parameters, Components: services.Components}
//
// Without options S3 and the Parameter Store are Amazon's, or whatever the AWS SDK is told by its own settings: the profile, the region
// and the endpoints (AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL_SSM, and the shared files
// ~/.aws/config and ~/.aws/credentials). They are read when a document first asks for something: who uses neither S3 nor parameters
// needs no credentials.
//
// Both have a stand-in on this machine, so that what reads S3 or parameters runs offline. An S3 map puts a folder in the place of a
// bucket: the object s3://artifacts/app/1.2/app.tar of the example is the file artifacts/app/1.2/app.tar. Buckets without a map are
// Amazon's. A parameter file stands for the whole Parameter Store, see [ReadParameters].
package aws

import (
	"context"
	"errors"

	"github.com/ingot-image/ingot/builder/component"
)

// Options says what stands in for AWS. The zero value is AWS itself.
type Options struct {
	// SSMParameters is the name of a file with parameters, instead of the Parameter Store.
	SSMParameters string
	// S3Map puts folders in the place of buckets, or of what begins with a prefix in them, each as s3://BUCKET[/PREFIX]=FOLDER.
	S3Map []string
}

// Services are what documents may ask for.
type Services struct {
	S3         component.S3
	Parameters component.ParameterStore
	Components component.ComponentSource
}

// Open reads the stand-ins. It does not ask AWS for anything: that happens when a document does.
//
// Mistakes in the file of parameters are [component.Problems], all at once; those of the maps are joined [S3MapError]s.
func Open(ctx context.Context, o Options) (*Services, error) {
	account := new(account)
	services := &Services{S3: &bucketStore{account: account}, Parameters: &parameterStore{account: account}, Components: Managed{}}
	var mistakes []error
	if len(o.S3Map) > 0 {
		folders, err := openFolders(o.S3Map)
		if err != nil {
			mistakes = append(mistakes, err)
		}
		services.S3 = &mappedStore{folders: folders, other: services.S3}
	}
	if o.SSMParameters != "" {
		parameters, err := ReadParameters(o.SSMParameters)
		if err != nil {
			mistakes = append(mistakes, err)
		}
		services.Parameters = parameters
	}
	if err := errors.Join(mistakes...); err != nil {
		return nil, err
	}
	return services, ctx.Err()
}
