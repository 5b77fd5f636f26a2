package ami

import (
	"context"
	"fmt"
	"maps"
	"slices"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/licensemanager"
	"github.com/aws/aws-sdk-go-v2/service/licensemanager/types"

	"github.com/ingot-image/ingot/export/account"
	"github.com/ingot-image/ingot/export/distribution"
)

// licenses associates license configurations with all AMIs of a region, so that License Manager counts the instances of each.
func (j *job) licenses(ctx context.Context, d distribution.Distribution, there map[string]*made) {
	if len(d.LicenseConfigurationARNs) == 0 {
		return
	}
	for _, owner := range slices.Sorted(maps.Keys(there)) {
		if err := j.license(ctx, there[owner], d.LicenseConfigurationARNs); err != nil {
			j.fail(ctx, there[owner].site, AssociateLicenses, fmt.Errorf("associate licenses: %w", account.Explain(err)))
		}
	}
}

// license associates those license configurations that an AMI has not got (License Manager API reference, UpdateLicenseSpecificationsForResource).
func (j *job) license(ctx context.Context, m *made, configurations []string) error {
	client := licensemanager.NewFromConfig(m.config, func(o *licensemanager.Options) { o.RetryMaxAttempts = attempts })
	// An AMI's ARN has no account (Service Authorization Reference, resource types of EC2).
	partition, err := account.Partition(ctx, m.config, m.region)
	if err != nil {
		return err
	}
	arn := fmt.Sprintf("arn:%s:ec2:%s::image/%s", partition, m.region, sdk.ToString(m.image.ImageId))
	has := map[string]bool{}
	in := &licensemanager.ListLicenseSpecificationsForResourceInput{ResourceArn: &arn}
	for {
		page, err := client.ListLicenseSpecificationsForResource(ctx, in)
		if err != nil {
			return err
		}
		for _, s := range page.LicenseSpecifications {
			has[sdk.ToString(s.LicenseConfigurationArn)] = true
		}
		if in.NextToken = page.NextToken; in.NextToken == nil {
			break
		}
	}
	var missing []types.LicenseSpecification
	for _, c := range configurations {
		if !has[c] {
			missing = append(missing, types.LicenseSpecification{LicenseConfigurationArn: &c})
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if _, err := client.UpdateLicenseSpecificationsForResource(ctx, &licensemanager.UpdateLicenseSpecificationsForResourceInput{ResourceArn: &arn,
		AddLicenseSpecifications: missing}); err != nil {
		return err
	}
	j.changed(m, "%d license configurations associated", len(missing))
	return nil
}
