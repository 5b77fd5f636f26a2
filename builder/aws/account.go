package aws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	sdk "github.com/aws/aws-sdk-go-v2/aws"

	"github.com/ingot-image/ingot/builder/component"
	accounts "github.com/ingot-image/ingot/export/account"
)

// account is the user's account as the SDK's settings name it, read on first use.
type account struct {
	mu     sync.Mutex
	loaded *sdk.Config
}

// config reads the SDK's settings and makes sure that there are credentials. A failure is not kept: who logs in meanwhile may go on.
func (a *account) config(ctx context.Context) (sdk.Config, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.loaded != nil {
		return *a.loaded, nil
	}
	c, err := accounts.Load(ctx, accounts.Options{})
	switch {
	case errors.Is(err, accounts.ErrNoRegion), errors.Is(err, accounts.ErrNoCredentials):
		return c, fmt.Errorf("%w; or work offline with --s3-map s3://BUCKET=FOLDER and --ssm-parameters FILE", err)
	case err != nil:
		return c, err
	}
	a.loaded = &c
	return c, nil
}

// explain makes an error of the SDK one that says what to do. What does not exist becomes component.ErrNotFound.
func explain(err error) error {
	switch accounts.Code(err) {
	case "NoSuchKey", "NoSuchBucket", "NotFound", "ParameterNotFound", "ParameterVersionNotFound":
		return fmt.Errorf("%w (%w)", component.ErrNotFound, accounts.Explain(err))
	}
	err = accounts.Explain(err)
	var known *accounts.Error
	if errors.As(err, &known) && known.Status == http.StatusForbidden {
		return fmt.Errorf("%w; or the bucket is not the expected owner's", err)
	}
	return err
}
