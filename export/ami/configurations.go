package ami

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/google/uuid"

	"github.com/ingot-image/ingot/export/account"
	"github.com/ingot-image/ingot/export/distribution"
	"github.com/ingot-image/ingot/export/vmimport"
)

// launchTemplates gives each launch template a version with the AMI.
func (j *job) launchTemplates(ctx context.Context, d distribution.Distribution, own *made, there map[string]*made) {
	for _, t := range d.LaunchTemplates {
		owner := cmp.Or(t.AccountID, own.account)
		m := there[owner]
		if m == nil && slices.Contains(d.AMI.TargetAccountIDs, owner) {
			continue // it has no AMI, which was told
		}
		if m == nil { // an account that the AMI is shared with
			m = own
		}
		at, err := j.site(ctx, d.Region, owner)
		if err == nil {
			err = j.launchTemplate(ctx, at, m, t)
		}
		if err != nil {
			j.fail(ctx, at, UpdateLaunchTemplates, fmt.Errorf("launch template %s: %w", t.LaunchTemplateID, account.Explain(err)))
		}
	}
}

func (j *job) launchTemplate(ctx context.Context, at site, m *made, t distribution.LaunchTemplate) error {
	version, latest, err := findVersion(ctx, at.ec2, t.LaunchTemplateID, sdk.ToString(m.image.ImageId))
	if err != nil {
		return err
	}
	if version == nil {
		if version, err = j.newVersion(ctx, at, m, t.LaunchTemplateID, latest); err != nil {
			return fmt.Errorf("make a version: %w", err)
		}
		j.changed(m, "launch template %s has version %d", t.LaunchTemplateID, sdk.ToInt64(version.VersionNumber))
	}
	if !t.SetDefaultVersion || sdk.ToBool(version.DefaultVersion) {
		return nil
	}
	number := strconv.FormatInt(sdk.ToInt64(version.VersionNumber), 10)
	if _, err := at.ec2.ModifyLaunchTemplate(ctx, &ec2.ModifyLaunchTemplateInput{LaunchTemplateId: &t.LaunchTemplateID, DefaultVersion: &number}); err != nil {
		return fmt.Errorf("make version %s the default: %w", number, err)
	}
	j.changed(m, "version %s is the default of launch template %s", number, t.LaunchTemplateID)
	return nil
}

// findVersion looks for the newest version with an AMI, and for the newest version of all.
func findVersion(ctx context.Context, client *ec2.Client, template, image string) (with, latest *types.LaunchTemplateVersion, err error) {
	pages := ec2.NewDescribeLaunchTemplateVersionsPaginator(client, &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: &template,
		MaxResults: sdk.Int32(200)})
	newer := func(v types.LaunchTemplateVersion, than *types.LaunchTemplateVersion) bool {
		return than == nil || sdk.ToInt64(v.VersionNumber) > sdk.ToInt64(than.VersionNumber)
	}
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, nil, err
		}
		for _, v := range page.LaunchTemplateVersions {
			if newer(v, latest) {
				latest = &v
			}
			if v.LaunchTemplateData != nil && sdk.ToString(v.LaunchTemplateData.ImageId) == image && newer(v, with) {
				with = &v
			}
		}
	}
	if latest == nil {
		return nil, nil, errors.New("it has no version")
	}
	return with, latest, nil
}

// asked is what is recorded of a launch template's version before it is asked for.
type asked struct{ ImageID, Source, Token string }

// newVersion makes a version that is the latest one but for the AMI.
func (j *job) newVersion(ctx context.Context, at site, m *made, template string, latest *types.LaunchTemplateVersion) (*types.LaunchTemplateVersion, error) {
	var a asked
	key := at.key("launch-template/" + template)
	if _, err := j.Record.Get(key, &a); err != nil {
		return nil, err
	}
	id, source := sdk.ToString(m.image.ImageId), strconv.FormatInt(sdk.ToInt64(latest.VersionNumber), 10)
	if a.ImageID != id || a.Source != source {
		a = asked{ImageID: id, Source: source, Token: uuid.NewString()}
		if err := j.Record.Put(key, a); err != nil {
			return nil, err
		}
	}
	out, err := at.ec2.CreateLaunchTemplateVersion(ctx, &ec2.CreateLaunchTemplateVersionInput{
		LaunchTemplateId:   &template,
		SourceVersion:      &source,
		LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: m.image.ImageId},
		VersionDescription: m.image.Name,
		ClientToken:        &a.Token,
	})
	if err != nil {
		return nil, err
	}
	return out.LaunchTemplateVersion, nil
}

// parameters puts the AMI's id into SSM parameters.
func (j *job) parameters(ctx context.Context, d distribution.Distribution, own *made, there map[string]*made) {
	for _, p := range d.SSMParameters {
		owner := cmp.Or(p.AMIAccountID, own.account)
		m, at := there[owner], site{region: d.Region, account: owner}
		switch {
		case m != nil:
			if err := j.parameter(ctx, m, p); err != nil {
				j.fail(ctx, m.site, PutSSMParameters, fmt.Errorf("SSM parameter %s: %w", p.ParameterName, account.Explain(err)))
			}
		case slices.Contains(d.AMI.TargetAccountIDs, owner): // it has no AMI, which was told
		default:
			j.fail(ctx, at, PutSSMParameters, fmt.Errorf("SSM parameter %s: account %s gets no AMI in this region; add it to targetAccountIds", p.ParameterName, owner))
		}
	}
}

func (j *job) parameter(ctx context.Context, m *made, p distribution.SSMParameter) error {
	client := ssm.NewFromConfig(m.config, func(o *ssm.Options) { o.RetryMaxAttempts = attempts })
	value, dataType := sdk.ToString(m.image.ImageId), cmp.Or(p.DataType, "aws:ec2:image")
	out, err := client.GetParameter(ctx, &ssm.GetParameterInput{Name: &p.ParameterName})
	var none *ssmtypes.ParameterNotFound
	there := err == nil
	switch {
	case err != nil && !errors.As(err, &none):
		return err
	case there && sdk.ToString(out.Parameter.Value) == value && sdk.ToString(out.Parameter.DataType) == dataType:
		return nil
	}
	if _, err := client.PutParameter(ctx, &ssm.PutParameterInput{Name: &p.ParameterName, Value: &value, DataType: &dataType,
		Type: ssmtypes.ParameterTypeString, Overwrite: sdk.Bool(there)}); err != nil {
		return err
	}
	j.changed(m, "SSM parameter %s set", p.ParameterName)
	return nil
}

// exported is what is recorded of an export.
type exported struct {
	ImageID string
	To      distribution.S3Export
	Exported
}

// export writes the own account's AMI into a bucket, once.
func (j *job) export(ctx context.Context, d distribution.Distribution, own *made) {
	to := d.S3Export
	if to == nil {
		return
	}
	err := func() error {
		var done exported
		id := sdk.ToString(own.image.ImageId)
		if _, err := j.Record.Get(own.key("exported"), &done); err != nil {
			return err
		}
		if done.ImageID != id || done.To != *to {
			e, err := vmimport.ExportImage(ctx, own.ec2, vmimport.ExportOptions{ImageID: id, Format: to.DiskImageFormat, Bucket: to.S3Bucket, Prefix: to.S3Prefix,
				RoleName: to.RoleName, Record: j.Record, Poll: j.Poll, Limit: j.Limit,
				Progress: func(percent int, message string) { j.tell(own.site, id, percent, "exporting: %s", message) }})
			if err != nil {
				return err
			}
			done = exported{id, *to, Exported{TaskID: e.TaskID, Bucket: to.S3Bucket, Key: e.Key}}
			if err := j.Record.Put(own.key("exported"), done); err != nil {
				return err
			}
			j.changed(own, "exported to s3://%s/%s", to.S3Bucket, e.Key)
		}
		own.result.Exported = &done.Exported
		return nil
	}()
	if err != nil {
		j.fail(ctx, own.site, ExportAMI, fmt.Errorf("export to bucket %s: %w", to.S3Bucket, account.Explain(err)))
	}
}
