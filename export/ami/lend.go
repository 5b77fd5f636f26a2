package ami

import (
	"context"
	"errors"
	"fmt"
	"slices"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ingot-image/ingot/export/account"
	"github.com/ingot-image/ingot/export/distribution"
)

// An account copies an image of another one only while it may launch the image and make volumes of its snapshots (EC2 user guide, "Copy an AMI",
// cross-account copying). It is lent the image for that time; the record knows, so that a run that was killed leaves nothing lent for good.

// lend shares an AMI and its snapshots with an account.
func (j *job) lend(ctx context.Context, m *made, to string) error {
	if err := j.Record.Put(m.key("lent/"+to), m.image.ImageId); err != nil {
		return err
	}
	err := m.modifyPermission(ctx, &types.LaunchPermissionModifications{Add: []types.LaunchPermission{{UserId: &to}}})
	if err != nil {
		return fmt.Errorf("share %s with account %s: %w", sdk.ToString(m.image.ImageId), to, account.Explain(err))
	}
	return m.shareSnapshots(ctx, &types.CreateVolumePermissionModifications{Add: []types.CreateVolumePermission{{UserId: &to}}})
}

// takeBack ends what lend did, if it did. An account that may launch the AMI by the configuration keeps that.
func (j *job) takeBack(ctx context.Context, m *made, from string, p *distribution.LaunchPermission) error {
	var lent string
	if found, err := j.Record.Get(m.key("lent/"+from), &lent); err != nil || !found {
		return err
	}
	err := m.shareSnapshots(ctx, &types.CreateVolumePermissionModifications{Remove: []types.CreateVolumePermission{{UserId: &from}}})
	if p == nil || !slices.Contains(p.UserIDs, from) {
		err = errors.Join(err, m.modifyPermission(ctx, &types.LaunchPermissionModifications{Remove: []types.LaunchPermission{{UserId: &from}}}))
	}
	if err != nil {
		return fmt.Errorf("end sharing %s with account %s: %w", lent, from, account.Explain(err))
	}
	return j.Record.Delete(m.key("lent/" + from))
}

func (m *made) modifyPermission(ctx context.Context, change *types.LaunchPermissionModifications) error {
	_, err := m.ec2.ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{ImageId: m.image.ImageId, LaunchPermission: change})
	return err
}

func (m *made) shareSnapshots(ctx context.Context, change *types.CreateVolumePermissionModifications) error {
	for _, id := range snapshots(m.image) {
		if _, err := m.ec2.ModifySnapshotAttribute(ctx, &ec2.ModifySnapshotAttributeInput{SnapshotId: &id,
			Attribute: types.SnapshotAttributeNameCreateVolumePermission, CreateVolumePermission: change}); err != nil {
			return fmt.Errorf("change who may use %s: %w", id, account.Explain(err))
		}
	}
	return nil
}
