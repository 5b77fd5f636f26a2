package ami

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ingot-image/ingot/export/account"
	"github.com/ingot-image/ingot/export/distribution"
)

// fastLaunches has EC2 keep snapshots from which Windows AMIs start faster (EC2 user guide, "Configure EC2 Fast Launch settings for your Windows AMI").
func (j *job) fastLaunches(ctx context.Context, d distribution.Distribution, own *made, there map[string]*made) {
	for _, f := range d.FastLaunches {
		owner := cmp.Or(f.AccountID, own.account)
		m, at := there[owner], site{region: d.Region, account: owner}
		switch {
		case m != nil:
			if err := j.fastLaunch(ctx, m, f); err != nil {
				j.fail(ctx, m.site, UpdateFastLaunch, fmt.Errorf("fast launch: %w", account.Explain(err)))
			}
		case slices.Contains(d.AMI.TargetAccountIDs, owner): // it has no AMI, which was told
		default:
			j.fail(ctx, at, UpdateFastLaunch, fmt.Errorf("fast launch: account %s gets no AMI in this region; add it to targetAccountIds", owner))
		}
	}
}

// The defaults of EnableFastLaunch.
const (
	defaultParallelLaunches = 6
	defaultLaunchSnapshots  = 5
)

// fastLaunch makes an AMI's fast launch what it is to be. EC2 goes on with it by itself, for hours perhaps; nobody waits for that.
func (j *job) fastLaunch(ctx context.Context, m *made, f distribution.FastLaunch) error {
	out, err := m.ec2.DescribeFastLaunchImages(ctx, &ec2.DescribeFastLaunchImagesInput{ImageIds: []string{*m.image.ImageId}})
	if err != nil {
		return err
	}
	var has *types.DescribeFastLaunchImagesSuccessItem
	for i, image := range out.FastLaunchImages {
		if image.State == types.FastLaunchStateCodeEnabled || image.State == types.FastLaunchStateCodeEnabling {
			has = &out.FastLaunchImages[i]
		}
	}
	switch {
	case !f.Enabled && has == nil, f.Enabled && has != nil && sameFastLaunch(has, f):
		return nil
	case !f.Enabled:
		if _, err := m.ec2.DisableFastLaunch(ctx, &ec2.DisableFastLaunchInput{ImageId: m.image.ImageId}); err != nil {
			return err
		}
		j.changed(m, "fast launch ended")
		return nil
	}
	in := &ec2.EnableFastLaunchInput{ImageId: m.image.ImageId, ResourceType: sdk.String(string(types.FastLaunchResourceTypeSnapshot))}
	if f.MaxParallelLaunches > 0 {
		in.MaxParallelLaunches = sdk.Int32(int32(f.MaxParallelLaunches))
	}
	if f.TargetResourceCount > 0 {
		in.SnapshotConfiguration = &types.FastLaunchSnapshotConfigurationRequest{TargetResourceCount: sdk.Int32(int32(f.TargetResourceCount))}
	}
	if t := f.LaunchTemplate; t != nil {
		in.LaunchTemplate = &types.FastLaunchLaunchTemplateSpecificationRequest{LaunchTemplateId: optional(t.LaunchTemplateID), LaunchTemplateName: optional(t.LaunchTemplateName),
			Version: sdk.String(cmp.Or(t.LaunchTemplateVersion, "$Default"))}
	}
	if _, err := m.ec2.EnableFastLaunch(ctx, in); err != nil {
		return err
	}
	j.changed(m, "fast launch begun")
	return nil
}

func sameFastLaunch(has *types.DescribeFastLaunchImagesSuccessItem, f distribution.FastLaunch) bool {
	count := defaultLaunchSnapshots
	if s := has.SnapshotConfiguration; s != nil && s.TargetResourceCount != nil {
		count = int(*s.TargetResourceCount)
	}
	same := cmp.Or(int(sdk.ToInt32(has.MaxParallelLaunches)), defaultParallelLaunches) == cmp.Or(f.MaxParallelLaunches, defaultParallelLaunches) &&
		count == cmp.Or(f.TargetResourceCount, defaultLaunchSnapshots)
	t, want := has.LaunchTemplate, f.LaunchTemplate
	if want == nil { // EC2 may tell of one of its own
		return same
	}
	if t == nil {
		return false
	}
	named := want.LaunchTemplateID != "" && want.LaunchTemplateID == sdk.ToString(t.LaunchTemplateId) ||
		want.LaunchTemplateName != "" && want.LaunchTemplateName == sdk.ToString(t.LaunchTemplateName)
	// $Default and $Latest may be told as the number that they stand for.
	v := cmp.Or(want.LaunchTemplateVersion, "$Default")
	return same && named && (strings.HasPrefix(v, "$") || v == sdk.ToString(t.Version))
}

// optional is nil for an empty string.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
