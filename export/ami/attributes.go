package ami

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ingot-image/ingot/export/account"
	"github.com/ingot-image/ingot/export/distribution"
)

// attributes gives an AMI what belongs to it and it has not got. Each is tried even if another one fails.
func (j *job) attributes(ctx context.Context, m *made, a *distribution.AMI, want map[string]string) error {
	tagged, err := ensureTags(ctx, m.ec2, &m.image, snapshots(m.image), want)
	if tagged {
		j.changed(m, "tagged")
	}
	return errors.Join(account.Explain(err), j.describe(ctx, m, a.Description), j.share(ctx, m, a.LaunchPermission),
		j.deprecate(ctx, m, a.DeprecateAfterDays), j.protect(ctx, m, a.DeregistrationProtection))
}

func (j *job) describe(ctx context.Context, m *made, description string) error {
	if description == "" || sdk.ToString(m.image.Description) == description {
		return nil
	}
	if _, err := m.ec2.ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{ImageId: m.image.ImageId,
		Description: &types.AttributeValue{Value: &description}}); err != nil {
		return fmt.Errorf("set the description: %w", account.Explain(err))
	}
	m.result.Description = description
	j.changed(m, "description set")
	return nil
}

// everybody is the user group that makes an AMI public.
const everybody = "all"

// public tells whether an AMI is to be everybody's.
func public(p *distribution.LaunchPermission) bool {
	return p != nil && slices.Contains(p.UserGroups, everybody)
}

// refusePublic is an error if an AMI is to be public and the account forbids that in the region. Who may not ask is told by EC2 later.
func refusePublic(ctx context.Context, at site, p *distribution.LaunchPermission) error {
	if !public(p) {
		return nil
	}
	out, err := at.ec2.GetImageBlockPublicAccessState(ctx, &ec2.GetImageBlockPublicAccessStateInput{})
	if err != nil || sdk.ToString(out.ImageBlockPublicAccessState) != string(types.ImageBlockPublicAccessEnabledStateBlockNewSharing) {
		return nil
	}
	return fmt.Errorf("account %s blocks public access to AMIs in %s; remove the user group %s, or run "+
		"aws ec2 disable-image-block-public-access --region %s first", at.account, at.region, everybody, at.region)
}

// share adds the launch permissions that are missing. Those that are there besides stay: others may have given them.
func (j *job) share(ctx context.Context, m *made, p *distribution.LaunchPermission) error {
	if !p.Shared() {
		return nil
	}
	out, err := m.ec2.DescribeImageAttribute(ctx, &ec2.DescribeImageAttributeInput{ImageId: m.image.ImageId,
		Attribute: types.ImageAttributeNameLaunchPermission})
	if err != nil {
		return fmt.Errorf("read the launch permissions: %w", account.Explain(err))
	}
	var missing []types.LaunchPermission
	for _, want := range permissions(p, m.account) {
		if !slices.ContainsFunc(out.LaunchPermissions, func(has types.LaunchPermission) bool { return samePermission(has, want) }) {
			missing = append(missing, want)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if slices.ContainsFunc(missing, func(l types.LaunchPermission) bool { return l.Group == types.PermissionGroupAll }) {
		if err := refusePublic(ctx, m.site, p); err != nil {
			return err
		}
	}
	if err := m.modifyPermission(ctx, &types.LaunchPermissionModifications{Add: missing}); err != nil {
		return fmt.Errorf("share it: %w", account.Explain(err))
	}
	j.changed(m, "shared with %d more", len(missing))
	return nil
}

// permissions are EC2's. The owner needs none.
func permissions(p *distribution.LaunchPermission, owner string) []types.LaunchPermission {
	var all []types.LaunchPermission
	for _, id := range p.UserIDs {
		if id != owner {
			all = append(all, types.LaunchPermission{UserId: &id})
		}
	}
	for _, group := range p.UserGroups {
		all = append(all, types.LaunchPermission{Group: types.PermissionGroup(group)})
	}
	for _, arn := range p.OrganizationARNs {
		all = append(all, types.LaunchPermission{OrganizationArn: &arn})
	}
	for _, arn := range p.OrganizationalUnitARNs {
		all = append(all, types.LaunchPermission{OrganizationalUnitArn: &arn})
	}
	return all
}

func samePermission(a, b types.LaunchPermission) bool {
	return a.Group == b.Group && sdk.ToString(a.UserId) == sdk.ToString(b.UserId) &&
		sdk.ToString(a.OrganizationArn) == sdk.ToString(b.OrganizationArn) &&
		sdk.ToString(a.OrganizationalUnitArn) == sdk.ToString(b.OrganizationalUnitArn)
}

// deprecate has the AMI deprecated so many days after its build.
func (j *job) deprecate(ctx context.Context, m *made, days int) error {
	if days == 0 {
		return nil
	}
	at := j.Variables.BuildDate.UTC().AddDate(0, 0, days).Truncate(time.Minute)
	// EC2 rounds to the minute.
	if has, err := time.Parse(time.RFC3339, sdk.ToString(m.image.DeprecationTime)); err == nil && has.Sub(at).Abs() <= time.Minute {
		return nil
	}
	if at.Before(time.Now()) {
		return fmt.Errorf("it would be deprecated since %s, which EC2 does not take; raise deprecateAfterDays (%d), or build the image anew",
			at.Format(time.DateOnly), days)
	}
	if _, err := m.ec2.EnableImageDeprecation(ctx, &ec2.EnableImageDeprecationInput{ImageId: m.image.ImageId, DeprecateAt: &at}); err != nil {
		return fmt.Errorf("set its deprecation: %w", account.Explain(err))
	}
	j.changed(m, "deprecated from %s on", at.Format(time.DateOnly))
	return nil
}

// protect has the AMI protected against deregistration.
func (j *job) protect(ctx context.Context, m *made, protection string) error {
	if protection == "" {
		return nil
	}
	const enabled, cooldown = "enabled", "enabled-with-cooldown"
	// EC2 says enabled-without-cooldown for the first.
	has := sdk.ToString(m.image.DeregistrationProtection)
	if protection == cooldown && has == cooldown || protection == enabled && strings.HasPrefix(has, enabled) {
		return nil
	}
	if _, err := m.ec2.EnableImageDeregistrationProtection(ctx, &ec2.EnableImageDeregistrationProtectionInput{ImageId: m.image.ImageId,
		WithCooldown: sdk.Bool(protection == cooldown)}); err != nil {
		return fmt.Errorf("protect it against deregistration: %w", account.Explain(err))
	}
	j.changed(m, "protected against deregistration")
	return nil
}
