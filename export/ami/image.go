package ami

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ingot-image/ingot/export/account"
)

// snapshots are those of an image's volumes, the root's among them.
func snapshots(i types.Image) []string {
	var ids []string
	for _, m := range i.BlockDeviceMappings {
		if m.Ebs != nil && sdk.ToString(m.Ebs.SnapshotId) != "" {
			ids = append(ids, *m.Ebs.SnapshotId)
		}
	}
	return ids
}

// usable tells whether an image is there or will be.
func usable(s types.ImageState) bool {
	return s == types.ImageStateAvailable || s == types.ImageStatePending
}

// notFound tells whether EC2 does not know an image or a snapshot, which it also says of one that was made a moment ago.
func notFound(err error) bool {
	code := account.Code(err)
	return strings.HasPrefix(code, "InvalidAMIID.") && code != "InvalidAMIID.Malformed" || code == "InvalidSnapshot.NotFound"
}

// passing tells whether an error goes away by itself.
func passing(err error) bool {
	switch account.Code(err) {
	case "RequestLimitExceeded", "Throttling", "ThrottlingException", "Unavailable", "ServiceUnavailable", "InternalError", "InternalFailure":
		return true
	}
	return false
}

// FailedError says that EC2 gave an image up.
type FailedError struct {
	ImageID string
	State   string // EC2's: failed, invalid, error, deregistered…
	Reason  string // EC2's, word for word; "" where it gives none
}

func (e *FailedError) Error() string {
	text := fmt.Sprintf("%s is %s", e.ImageID, e.State)
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return text
}

// waiting is how images are waited for.
type waiting struct {
	poll  time.Duration // between two looks, before jitter
	limit time.Duration
	// appear is how long an image that was just made may be unknown to EC2.
	appear time.Duration
}

// errLate is why a wait ended that took longer than its limit.
var errLate = errors.New("it took too long")

// sleep waits for a poll's time, a quarter more or less, so that many waits do not ask all at once.
func (w waiting) sleep(ctx context.Context) error {
	d := w.poll*3/4 + rand.N(w.poll/2+1)
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// available waits until an image is, and gives it as it is then. It tells progress in percent where EC2 gives it.
func (w waiting) available(ctx context.Context, client *ec2.Client, id string, progress func(percent int)) (*types.Image, error) {
	what := fmt.Sprintf("wait for %s to be available", id)
	ctx, cancel := context.WithTimeoutCause(ctx, w.limit, errLate)
	defer cancel()
	for started := time.Now(); ; {
		out, err := client.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{id}})
		unknown := err == nil && len(out.Images) == 0 || notFound(err)
		switch {
		case unknown && time.Since(started) > w.appear:
			return nil, fmt.Errorf("%s: EC2 does not know it after %s; was it deregistered?", what, w.appear)
		case unknown, passing(err):
		case ctx.Err() != nil:
		case err != nil:
			return nil, fmt.Errorf("%s: %w", what, account.Explain(err))
		default:
			i := out.Images[0]
			switch {
			case i.State == types.ImageStateAvailable:
				return &i, nil
			case i.State != types.ImageStatePending && i.State != types.ImageStateTransient:
				failed := &FailedError{ImageID: id, State: string(i.State)}
				if i.StateReason != nil {
					failed.Reason = sdk.ToString(i.StateReason.Message)
				}
				return nil, failed
			}
			progress(copied(ctx, client, i))
		}
		if err := w.sleep(ctx); err != nil {
			if errors.Is(err, errLate) {
				err = fmt.Errorf("%w: more than %s; start the command again to go on waiting", errLate, w.limit)
			}
			return nil, fmt.Errorf("%s: %w", what, err)
		}
	}
}

// copied is how much of a pending image's snapshots is there, in percent; -1 if EC2 does not tell.
func copied(ctx context.Context, client *ec2.Client, i types.Image) int {
	ids := snapshots(i)
	if len(ids) == 0 {
		return -1
	}
	out, err := client.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: ids})
	if err != nil || len(out.Snapshots) == 0 {
		return -1
	}
	least := 100
	for _, s := range out.Snapshots {
		percent := 0
		if _, err := fmt.Sscanf(sdk.ToString(s.Progress), "%d%%", &percent); err != nil {
			return -1
		}
		least = min(least, percent)
	}
	return least
}
