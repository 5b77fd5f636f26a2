// Package account finds the user's AWS account: region, credentials and endpoints as the AWS SDK's own settings name them (AWS_PROFILE,
// AWS_REGION, AWS_ENDPOINT_URL and their kin, the shared files of the AWS command line), and tells in plain words what is missing or not allowed. Every part
// of Ingot that talks to AWS starts here, and none of them has settings of its own for it.
package account

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	sdkhttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
)

// credentialsLimit is how long the search for credentials may take. Its last resort is an instance's metadata service, which off EC2
// does not answer.
const credentialsLimit = 20 * time.Second

// Options are what a caller knows better than the settings.
type Options struct {
	Region  string // instead of the settings'
	Profile string // instead of AWS_PROFILE
}

// What may be missing in the settings: Load's errors wrap these.
var (
	ErrNoRegion      = errors.New("no AWS region is set; set AWS_REGION, or name a profile that has one with AWS_PROFILE")
	ErrNoCredentials = errors.New("no AWS credentials were found; log in with the AWS command line, or set AWS_PROFILE or AWS_ACCESS_KEY_ID")
)

// Load reads the settings and makes sure that there are a region and credentials.
func Load(ctx context.Context, o Options) (sdk.Config, error) {
	options := []func(*config.LoadOptions) error{config.WithLogger(logging.Nop{})}
	if o.Region != "" {
		options = append(options, config.WithRegion(o.Region))
	}
	if o.Profile != "" {
		options = append(options, config.WithSharedConfigProfile(o.Profile))
	}
	c, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return c, fmt.Errorf("read the settings of the AWS SDK: %w", err)
	}
	if c.Region == "" {
		return c, ErrNoRegion
	}
	limited, cancel := context.WithTimeout(ctx, credentialsLimit)
	defer cancel()
	if _, err := c.Credentials.Retrieve(limited); err != nil {
		if ctx.Err() != nil {
			return c, context.Cause(ctx)
		}
		return c, fmt.Errorf("%w (%w)", ErrNoCredentials, err)
	}
	return c, nil
}

// In gives the configuration for another region.
func In(c sdk.Config, region string) sdk.Config {
	c = c.Copy()
	c.Region = region
	return c
}

// Error is an answer of AWS in the words of people.
type Error struct {
	Code, Message string // AWS's own
	Status        int    // HTTP's, 0 if there was no answer
	Hint          string // what to do, "" where nothing is known
	Err           error  // the SDK's
}

func (e *Error) Error() string {
	text := e.Code
	if e.Message != "" && e.Message != e.Code {
		text += ": " + strings.TrimSuffix(e.Message, ".")
	}
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// Explain makes an error of the SDK an [Error]. Others it gives back as they are.
func Explain(err error) error {
	var api smithy.APIError
	var known *Error
	if err == nil || errors.As(err, &known) || !errors.As(err, &api) {
		return err
	}
	e := &Error{Code: api.ErrorCode(), Message: api.ErrorMessage(), Err: err}
	var response *sdkhttp.ResponseError
	if errors.As(err, &response) {
		e.Status = response.HTTPStatusCode()
	}
	switch {
	case e.Status == http.StatusMovedPermanently:
		if region := response.Response.Header.Get("X-Amz-Bucket-Region"); region != "" {
			e.Hint = "the bucket is in another region, set AWS_REGION=" + region
		}
	case strings.Contains(e.Code, "ExpiredToken"), e.Code == "RequestExpired":
		e.Hint = "the credentials have expired, log in again"
	case e.Code == "RegionDisabledException":
		e.Hint = "STS is not active in this region for the account: activate it in the account settings of IAM"
	case e.Code == "OptInRequired":
		e.Hint = "the region is not enabled for the account, or the account has not signed up for the service"
	case e.Code == "AuthFailure", e.Code == "InvalidClientTokenId", e.Code == "UnrecognizedClientException", e.Code == "SignatureDoesNotMatch":
		e.Hint = "the credentials are not valid in this region"
	case e.Status == http.StatusForbidden, strings.HasPrefix(e.Code, "AccessDenied"), e.Code == "UnauthorizedOperation":
		e.Hint = "the credentials do not allow this"
	}
	return e
}

// Code gives AWS's code of an error, "" for one that is no answer of AWS.
func Code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}
