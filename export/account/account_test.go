package account_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	sdkhttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/ingot-image/ingot/export/account"
)

func TestLoadSaysWhatIsMissing(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "none")
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", nowhere)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", nowhere)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	if _, err := account.Load(t.Context(), account.Options{}); !errors.Is(err, account.ErrNoRegion) {
		t.Errorf("without a region: %v", err)
	}
	if _, err := account.Load(t.Context(), account.Options{Region: "eu-west-1"}); !errors.Is(err, account.ErrNoCredentials) {
		t.Errorf("without credentials: %v", err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	c, err := account.Load(t.Context(), account.Options{Region: "eu-west-1"})
	if err != nil || c.Region != "eu-west-1" || account.In(c, "us-east-1").Region != "us-east-1" || c.Region != "eu-west-1" {
		t.Errorf("%s, %v", c.Region, err)
	}
}

func TestExplain(t *testing.T) {
	answer := func(status int, code, bucketRegion string) error {
		header := http.Header{"X-Amz-Bucket-Region": {bucketRegion}}
		response := &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status, Header: header}}, Err: &smithy.GenericAPIError{Code: code, Message: "words"}}
		return fmt.Errorf("operation: %w", &sdkhttp.ResponseError{ResponseError: response})
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{answer(301, "PermanentRedirect", "us-east-1"), "PermanentRedirect: words; the bucket is in another region, set AWS_REGION=us-east-1"},
		{answer(400, "ExpiredToken", ""), "ExpiredToken: words; the credentials have expired, log in again"},
		{answer(401, "AuthFailure", ""), "AuthFailure: words; the credentials are not valid in this region"},
		{answer(403, "UnauthorizedOperation", ""), "UnauthorizedOperation: words; the credentials do not allow this"},
		{answer(404, "NoSuchBucket", ""), "NoSuchBucket: words"},
		{errors.New("no answer"), "no answer"},
	} {
		got := account.Explain(c.err)
		if got.Error() != c.want || account.Explain(got) != got {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	if got := account.Code(answer(404, "NoSuchBucket", "")); got != "NoSuchBucket" || account.Code(errors.New("x")) != "" {
		t.Errorf("code %q", got)
	}
}

func TestPartition(t *testing.T) {
	for region, want := range map[string][2]string{
		"eu-west-1":      {"aws", "us-east-1"},
		"cn-north-1":     {"aws-cn", "cn-north-1"},
		"us-gov-east-1":  {"aws-us-gov", "us-gov-west-1"},
		"us-iso-west-1":  {"aws-iso", "us-iso-east-1"},
		"us-isob-east-1": {"aws-iso-b", "us-isob-east-1"},
		"eusc-de-east-1": {"aws-eusc", "eusc-de-east-1"},
	} {
		got, err := account.Partition(t.Context(), sdk.Config{}, region)
		if err != nil || got != want[0] || account.Home(region) != want[1] {
			t.Errorf("%s: %s, %v, home %s", region, got, err, account.Home(region))
		}
	}
	// One that is not known is asked for, not guessed.
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/xml")
		fmt.Fprint(w, `<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws-mars:iam::123456789012:user/u</Arn><Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`)
	}))
	defer server.Close()
	c := sdk.Config{BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("id", "secret", "")}
	if got, err := account.Partition(t.Context(), c, "mars-olympus-1"); err != nil || got != "aws-mars" || account.Home("mars-olympus-1") != "" {
		t.Errorf("%s, %v", got, err)
	}
}
