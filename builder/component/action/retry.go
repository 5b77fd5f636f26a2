package action

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ingot-image/ingot/builder/component"
)

// permanentError is one that another attempt would not change.
type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

const retryAttempts = 5

// retry calls f up to five times, waiting 1, 2, 4 and 8 seconds in between.
func retry(ctx context.Context, x *component.Execution, f func() error) error {
	for attempt := 1; ; attempt++ {
		err := f()
		if err == nil || ctx.Err() != nil || attempt == retryAttempts {
			return err
		}
		if permanent, ok := errors.AsType[permanentError](err); ok {
			return permanent.error
		}
		delay := time.Second << (attempt - 1)
		x.Notice(fmt.Sprintf("attempt %d of %d failed: %v; trying again in %s", attempt, retryAttempts, err, delay))
		if err := x.Sleep(ctx, delay); err != nil {
			return err
		}
	}
}
