package aws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	sdkhttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"

	"github.com/ingot-image/ingot/builder/component"
)

// account is the user's account as the SDK's settings name it, read on first use.
type account struct {
	mu     sync.Mutex
	loaded *sdk.Config
}

// credentialsLimit is how long the search for credentials may take. Its last resort is an instance's metadata service, which off EC2
// does not answer.
const credentialsLimit = 20 * time.Second

// config reads the SDK's settings and makes sure that there are credentials. A failure is not kept: who logs in meanwhile may go on.
func (a *account) config(ctx context.Context) (sdk.Config, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.loaded != nil {
		return *a.loaded, nil
	}
	c, err := config.LoadDefaultConfig(ctx, config.WithLogger(logging.Nop{}))
	if err != nil {
		return c, fmt.Errorf("read the settings of the AWS SDK: %w", err)
	}
	if c.Region == "" {
		return c, errors.New("no AWS region is set; set AWS_REGION, or name a profile that has one with AWS_PROFILE, " + offline)
	}
	limited, cancel := context.WithTimeout(ctx, credentialsLimit)
	defer cancel()
	if _, err := c.Credentials.Retrieve(limited); err != nil {
		if ctx.Err() != nil {
			return c, ctx.Err()
		}
		return c, fmt.Errorf("no AWS credentials were found (%w); log in with the AWS command line, or set AWS_PROFILE or AWS_ACCESS_KEY_ID, %s", err, offline)
	}
	a.loaded = &c
	return c, nil
}

const offline = "or work offline with --s3-map s3://BUCKET=FOLDER and --ssm-parameters FILE"

// explain makes an error of the SDK one that says what to do. What does not exist becomes component.ErrNotFound.
func explain(err error) error {
	var api smithy.APIError
	var response *sdkhttp.ResponseError
	errors.As(err, &response)
	if !errors.As(err, &api) {
		return err
	}
	status := 0
	if response != nil {
		status = response.HTTPStatusCode()
	}
	text := api.ErrorCode()
	if message := api.ErrorMessage(); message != "" && message != text {
		text += ": " + message
	}
	switch code := api.ErrorCode(); {
	case code == "NoSuchKey", code == "NoSuchBucket", code == "NotFound", code == "ParameterNotFound", code == "ParameterVersionNotFound":
		return fmt.Errorf("%w (%s)", component.ErrNotFound, text)
	case status == http.StatusMovedPermanently:
		region := response.Response.Header.Get("X-Amz-Bucket-Region")
		return fmt.Errorf("%s; the bucket is in another region, set AWS_REGION=%s", text, region)
	case strings.Contains(code, "ExpiredToken"):
		return fmt.Errorf("%s; the credentials have expired, log in again", text)
	case status == http.StatusForbidden || strings.HasPrefix(code, "AccessDenied"):
		return fmt.Errorf("%s; the host's credentials do not allow this, or the bucket is not the expected owner's", text)
	}
	return errors.New(text)
}
