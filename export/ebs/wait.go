package ebs

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ingot-image/ingot/export/account"
)

// look gives a snapshot as EC2 describes it, nil if it does not exist, or not yet.
func (u *upload) look(ctx context.Context, id string) (*ec2types.Snapshot, error) {
	out, err := u.Describe.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})
	if account.Code(err) == "InvalidSnapshot.NotFound" {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("describe snapshot %s: %w", id, account.Explain(err))
	}
	if len(out.Snapshots) == 0 {
		return nil, nil
	}
	return &out.Snapshots[0], nil
}

// maxPause is the longest pause between two looks, in times of the first.
const maxPause = 8

// await waits until the snapshot is completed. That EC2 does not know it yet, soon after it was started, or has no time to tell is waited out.
func (u *upload) await(ctx context.Context, limit time.Duration) error {
	end := time.Now().Add(limit)
	for pause := u.Poll; ; pause = min(pause*3/2, maxPause*u.Poll) {
		s, err := u.look(ctx, u.state.SnapshotID)
		seen := "EC2 does not know it"
		switch {
		case err != nil && account.Code(err) != "RequestLimitExceeded":
			return err
		case err != nil:
			seen = "EC2 has too many requests to answer"
		case s == nil:
		case s.State == ec2types.SnapshotStateCompleted:
			return nil
		case s.State == ec2types.SnapshotStateError:
			return fmt.Errorf("AWS ended it with an error: %q", aws.ToString(s.StateMessage))
		default:
			seen = fmt.Sprintf("it is %s (%s)", s.State, aws.ToString(s.Progress))
		}
		if time.Now().After(end) {
			return fmt.Errorf("everything was sent, but AWS has not completed the snapshot in %s: %s; the same command goes on waiting", limit, seen)
		}
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
