package ami_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/licensemanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/ingot-image/ingot/export/ami"
	"github.com/ingot-image/ingot/export/distribution"
	"github.com/ingot-image/ingot/export/internal/ec2sim"
)

const (
	organization = "arn:aws:organizations::123456789012:organization/o-abcdefghij"
	unit         = "arn:aws:organizations::123456789012:ou/o-abcdefghij/ou-ab12-12345678"
)

// everything is a distribution to two regions and two accounts with all there is.
func (w *world) everything() []distribution.Distribution {
	there := w.sim.AccountConfig(w, far, other)
	at := &distribution.AMI{Name: name, Description: "the web", AMITags: map[string]string{"Build": "{{ imagebuilder:buildVersion }}", "Team": "ops"}, TargetAccountIDs: []string{other},
		LaunchPermission:   &distribution.LaunchPermission{UserIDs: []string{friend, ec2sim.Account}, OrganizationARNs: []string{organization}, OrganizationalUnitARNs: []string{unit}},
		DeprecateAfterDays: 90, DeregistrationProtection: "enabled-with-cooldown"}
	return []distribution.Distribution{
		{Region: home, AMI: &distribution.AMI{Name: name, LaunchPermission: &distribution.LaunchPermission{UserIDs: []string{friend}}},
			SSMParameters: []distribution.SSMParameter{{ParameterName: "/web/ami", DataType: "text"}}},
		{Region: far, AMI: at,
			LaunchTemplates: []distribution.LaunchTemplate{{LaunchTemplateID: w.template(w.sim.Config(w, far)), SetDefaultVersion: true},
				{LaunchTemplateID: w.template(there), AccountID: other}},
			SSMParameters: []distribution.SSMParameter{{ParameterName: "/web/ami"}, {ParameterName: "/web/ami", AMIAccountID: other}}},
		{Folder: "/elsewhere"},
	}
}

func TestDistribute(t *testing.T) {
	w := newWorld(t)
	all := w.everything()
	results, err := w.distribute(all...)
	w.must(err)
	if len(results) != 3 || results[home+" "+ec2sim.Account].ImageID != w.options.ImageID {
		t.Fatalf("results %+v", results)
	}
	for _, at := range []struct{ region, account, tags, permissions string }{
		{home, ec2sim.Account, "Team=web Tested=yes", friend},
		{far, ec2sim.Account, "Build=3 Team=ops Tested=yes", friend + " " + organization + " " + unit},
		{far, other, "Build=3 Team=ops Tested=yes", ec2sim.Account + " " + friend + " " + organization + " " + unit},
	} {
		client := ec2.NewFromConfig(w.sim.AccountConfig(w, at.region, at.account))
		r := results[at.region+" "+at.account]
		i := w.image(client, r.ImageID)
		if i.State != types.ImageStateAvailable || *i.Name != w.name() || r.Name != w.name() || len(r.Changed) == 0 {
			t.Errorf("%s %s: %+v, %s, %s", at.region, at.account, r, *i.Name, i.State)
		}
		snapshot := *i.BlockDeviceMappings[0].Ebs.SnapshotId
		s, err := client.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{snapshot}})
		w.must(err)
		if got := tagText(i.Tags); got != at.tags || tagText(s.Snapshots[0].Tags) != at.tags {
			t.Errorf("%s %s: tags %s, of the snapshot %s, want %s", at.region, at.account, got, tagText(s.Snapshots[0].Tags), at.tags)
		}
		if got := w.permissions(client, r.ImageID); got != at.permissions {
			t.Errorf("%s %s: permissions %s, want %s", at.region, at.account, got, at.permissions)
		}
		var first [8]byte
		disk, err := w.sim.Snapshot(snapshot)
		w.must(err)
		if _, err := disk.ReadAt(first[:], 512<<10-8); err != nil || string(first[:]) != "ingot!!\n" {
			t.Errorf("%s %s: the snapshot has %q, %v", at.region, at.account, first, err)
		}
		if at.region == far && (sdk.ToString(i.Description) != "the web" || sdk.ToString(i.DeregistrationProtection) != "enabled-with-cooldown" ||
			!strings.HasPrefix(sdk.ToString(i.DeprecationTime), time.Now().UTC().AddDate(0, 0, 90).Format("2006-01"))) {
			t.Errorf("%s %s: %s, %s, %s", at.region, at.account, *i.Description, *i.DeregistrationProtection, *i.DeprecationTime)
		}
		p, err := ssm.NewFromConfig(w.sim.AccountConfig(w, at.region, at.account)).GetParameter(t.Context(), &ssm.GetParameterInput{Name: sdk.String("/web/ami")})
		w.must(err)
		if want := map[string]string{home: "text", far: "aws:ec2:image"}[at.region]; *p.Parameter.Value != r.ImageID || *p.Parameter.DataType != want {
			t.Errorf("%s %s: parameter %+v", at.region, at.account, p.Parameter)
		}
	}
	for i, template := range all[1].LaunchTemplates {
		account := []string{ec2sim.Account, other}[i]
		v, err := ec2.NewFromConfig(w.sim.AccountConfig(w, far, account)).DescribeLaunchTemplateVersions(t.Context(), &ec2.DescribeLaunchTemplateVersionsInput{
			LaunchTemplateId: &template.LaunchTemplateID, Versions: []string{"$Latest"}})
		w.must(err)
		latest := v.LaunchTemplateVersions[0]
		if data := latest.LaunchTemplateData; *latest.VersionNumber != 2 || *latest.DefaultVersion != template.SetDefaultVersion ||
			*data.ImageId != results[far+" "+account].ImageID || data.InstanceType != types.InstanceTypeT3Micro {
			t.Errorf("template of %s: %+v, %+v", account, latest, data)
		}
	}
	if !slices.ContainsFunc(w.events, func(e ami.Event) bool {
		return e.Region == far && e.AccountID == other && strings.HasPrefix(e.Message, "copied from")
	}) {
		t.Errorf("events: %v", w.events)
	}

	sent := len(w.sim.Requests())
	for _, w.options.Record = range []ami.Record{w.options.Record, nil} { // and when the records are lost
		again, err := w.distribute(all...)
		w.must(err)
		for at, r := range again {
			if r.ImageID != results[at].ImageID || len(r.Changed) > 0 {
				t.Errorf("again, %s: %+v; before %s", at, r, results[at].ImageID)
			}
		}
		if changes := w.changes(sent); len(changes) > 0 {
			t.Errorf("the second run sent %v", changes)
		}
	}
	w.permitted()
	client := w.ec2(far)
	id := results[far+" "+ec2sim.Account].ImageID
	_, err = client.ModifyImageAttribute(t.Context(), &ec2.ModifyImageAttributeInput{ImageId: &id, Description: &types.AttributeValue{Value: sdk.String("x")}})
	w.must(err)
	sent = len(w.sim.Requests())
	_, err = w.distribute(all...)
	w.must(err)
	if changes := w.changes(sent); !slices.Equal(changes, []string{"ModifyImageAttribute"}) {
		t.Errorf("what was changed was mended by %v", changes)
	}
}

func TestARegionFailsAlone(t *testing.T) {
	w := newWorld(t)
	w.sim.Faults.Add(ec2sim.Times(-1, ec2sim.Fault{Service: "ec2", Action: "CopyImage", Region: far, Status: 403, Code: "UnauthorizedOperation", Message: "You are not authorized"}))
	results, err := w.distribute(
		distribution.Distribution{Region: far, AMI: &distribution.AMI{Name: name}},
		distribution.Distribution{Region: "eu-central-1", AMI: &distribution.AMI{Name: name, KMSKeyID: "alias/none"}},
		distribution.Distribution{Region: "eu-west-2", AMI: &distribution.AMI{Name: name, TargetAccountIDs: []string{other}},
			LaunchTemplates: []distribution.LaunchTemplate{{LaunchTemplateID: "lt-0123456789abcdef0"}},
			SSMParameters:   []distribution.SSMParameter{{ParameterName: "/web"}}},
		distribution.Distribution{Region: home})
	var failed *ami.DistributionError
	if !errors.As(err, &failed) || len(failed.RegionFailures) != 3 {
		t.Fatalf("%v", err)
	}
	for i, want := range []ami.RegionFailure{
		{Region: far, ErrorMessage: "UnauthorizedOperation: You are not authorized; the credentials do not allow this"},
		{Region: "eu-central-1", ErrorMessage: " is failed: The KMS key provided does not exist or is not accessible"},
		{Region: "eu-west-2", Step: ami.UpdateLaunchTemplates, ErrorMessage: "launch template lt-0123456789abcdef0: "},
	} {
		if f := failed.RegionFailures[i]; f.Region != want.Region || f.AccountID != ec2sim.Account || f.Status != ami.Failed || f.Step != want.Step ||
			!strings.Contains(f.ErrorMessage, want.ErrorMessage) {
			t.Errorf("failure %+v, want %+v", f, want)
		}
	}
	if len(results) != 3 || results["eu-west-2 "+other].ImageID == "" || results["eu-west-2 "+other].ImageID == results["eu-west-2 "+ec2sim.Account].ImageID {
		t.Errorf("results %+v", results)
	}
	p, err := ssm.NewFromConfig(w.sim.Config(w, "eu-west-2")).GetParameter(t.Context(), &ssm.GetParameterInput{Name: sdk.String("/web")})
	if err != nil || *p.Parameter.Value != results["eu-west-2 "+ec2sim.Account].ImageID {
		t.Errorf("the parameter of a region whose launch template failed: %v, %v", p, err)
	}
	// What failed for good is copied anew; the image that failed and has the name is in the way no more.
	w.sim.Faults.Clear()
	results, err = w.distribute(distribution.Distribution{Region: far, AMI: &distribution.AMI{Name: name}},
		distribution.Distribution{Region: "eu-central-1", AMI: &distribution.AMI{Name: name}})
	if err != nil || len(results) != 2 {
		t.Errorf("the next run: %+v, %v", results, err)
	}
}

// dies is a record of a process that ends once the last of so many values was to be put.
type dies struct {
	ami.Record
	puts int
	end  context.CancelFunc
}

func (d *dies) Put(key string, v any) error {
	if d.puts--; d.puts < 0 {
		d.end()
		return errors.New("killed")
	}
	return d.Record.Put(key, v)
}

func TestARunThatWasKilledGoesOn(t *testing.T) {
	for puts := range 5 {
		t.Run(fmt.Sprint(puts), func(t *testing.T) {
			w := newWorld(t)
			book := w.options.Record
			ctx, end := context.WithCancel(t.Context())
			w.options.Record = &dies{book, puts, end}
			w.options.Distributions = []distribution.Distribution{{Region: far, AMI: &distribution.AMI{Name: name, TargetAccountIDs: []string{other}}}}
			if _, err := ami.Distribute(ctx, w.clients, w.options); err == nil {
				t.Fatal("it was not killed")
			}
			w.options.Record = book
			results, err := ami.Distribute(t.Context(), w.clients, w.options)
			w.must(err)
			for _, account := range []string{ec2sim.Account, other} {
				all, err := ec2.NewFromConfig(w.sim.AccountConfig(w, far, account)).DescribeImages(t.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
				w.must(err)
				if len(all.Images) != 1 {
					t.Errorf("account %s has %d images", account, len(all.Images))
				}
			}
			if got := w.permissions(w.ec2(far), results[0].ImageID); got != "" {
				t.Errorf("it is still shared with %s", got)
			}
		})
	}
}

func TestAnEncryptedCopyInTheSourceRegion(t *testing.T) {
	w := newWorld(t)
	key, err := kms.NewFromConfig(w.sim.Config(w, home)).CreateKey(t.Context(), nil)
	w.must(err)
	d := distribution.Distribution{Region: home, AMI: &distribution.AMI{Name: name, KMSKeyID: *key.KeyMetadata.KeyId}}
	if _, err := w.distribute(d); err == nil || !strings.Contains(err.Error(), "register it under another name") {
		t.Errorf("under the name of the source: %v", err)
	}
	source, err := ami.SourceName(home, "", []distribution.Distribution{d}, w.options.Variables)
	w.must(err)
	w.options.ImageID = w.register(ami.RegisterOptions{Name: source, SnapshotID: w.snapshot(), Registration: distribution.Registration{Architecture: "x86_64"}})
	d.AMI.Name = "web 2"
	results, err := w.distribute(d)
	w.must(err)
	r := results[home+" "+ec2sim.Account]
	i := w.image(w.ec2(home), r.ImageID)
	if root := i.BlockDeviceMappings[0].Ebs; r.ImageID == w.options.ImageID || sdk.ToString(root.KmsKeyId) != *key.KeyMetadata.Arn {
		t.Errorf("%+v, %+v", r, root)
	}
	// An image that is encrypted with the key already stays what it is.
	w.options.ImageID = r.ImageID
	results, err = w.distribute(d)
	w.must(err)
	if again := results[home+" "+ec2sim.Account]; again.ImageID != r.ImageID || len(again.Changed) > 0 {
		t.Errorf("%+v", again)
	}
	w.permitted()
}

func TestACopyWithAnotherKey(t *testing.T) {
	w := newWorld(t)
	keys := kms.NewFromConfig(w.sim.Config(w, far))
	var ids []string
	for range 2 {
		key, err := keys.CreateKey(t.Context(), nil)
		w.must(err)
		ids = append(ids, *key.KeyMetadata.KeyId)
	}
	d := distribution.Distribution{Region: far, AMI: &distribution.AMI{Name: name, KMSKeyID: ids[0]}}
	_, err := w.distribute(d)
	w.must(err)
	d.AMI.Description = "another request for the same copy"
	_, err = w.distribute(d)
	w.must(err)
	d.AMI.KMSKeyID = ids[1]
	if _, err := w.distribute(d); err == nil || !strings.Contains(err.Error(), "is not encrypted with "+ids[1]) {
		t.Errorf("the copy that was encrypted with another key was taken: %v", err)
	}
}

func TestPublicAMIs(t *testing.T) {
	w := newWorld(t)
	w.options.ImageID = w.register(ami.RegisterOptions{Name: "open", SnapshotID: w.snapshot(), Registration: distribution.Registration{Architecture: "x86_64"}})
	d := []distribution.Distribution{
		{Region: home, AMI: &distribution.AMI{Name: "open", LaunchPermission: &distribution.LaunchPermission{UserGroups: []string{"all"}}}},
		{Region: far, AMI: &distribution.AMI{Name: "open", LaunchPermission: &distribution.LaunchPermission{UserGroups: []string{"all"}}}}}
	_, err := w.ec2(far).EnableImageBlockPublicAccess(t.Context(), &ec2.EnableImageBlockPublicAccessInput{
		ImageBlockPublicAccessState: types.ImageBlockPublicAccessEnabledStateBlockNewSharing})
	w.must(err)
	if _, err := w.distribute(d...); err == nil || !strings.Contains(err.Error(), "us-east-1, account 123456789012: copy ") ||
		!strings.Contains(err.Error(), "blocks public access to AMIs in us-east-1; remove the user group all, or run aws ec2 disable-image-block-public-access") {
		t.Errorf("where it is blocked: %v", err)
	}
	if got := w.permissions(w.ec2(home), w.options.ImageID); got != "all" {
		t.Errorf("where it is not: %s", got)
	}
	if n := w.sim.Count("ec2", "CopyImage"); n > 0 {
		t.Error("it was copied for nothing")
	}
	_, err = w.ec2(far).DisableImageBlockPublicAccess(t.Context(), &ec2.DisableImageBlockPublicAccessInput{})
	w.must(err)
	results, err := w.distribute(d...)
	w.must(err)
	if got := w.permissions(w.ec2(far), results[far+" "+ec2sim.Account].ImageID); got != "all" {
		t.Errorf("unblocked: %s", got)
	}
}

func TestDistributeWaits(t *testing.T) {
	w := newWorld(t)
	w.sim.Faults.Add(ec2sim.Times(2, ec2sim.Fault{Service: "ec2", Action: "CopyImage", Region: far, Status: 400, Code: "ResourceLimitExceeded", Message: "Too many snapshot copies"}),
		ec2sim.Lost("ec2", "CopyImage"), ec2sim.Throttle("ec2", "CopyImage"), ec2sim.Throttle("ec2", "DescribeImages"))
	if _, err := w.distribute(distribution.Distribution{Region: far, AMI: &distribution.AMI{Name: name}}); err != nil {
		t.Error(err)
	}
	images, err := w.ec2(far).DescribeImages(t.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
	if err != nil || len(images.Images) != 1 {
		t.Errorf("%d images, %v", len(images.Images), err)
	}
}

func TestACancelledDistribution(t *testing.T) {
	w := newWorld(t)
	w.sim.Faults.Add(ec2sim.Slow("ec2", "CopyImage", time.Minute))
	ctx, cancel := context.WithCancel(t.Context())
	w.options.Progress = func(e ami.Event) {
		if e.Region == home {
			cancel()
		}
	}
	w.options.Distributions = []distribution.Distribution{{Region: home, AMI: &distribution.AMI{Name: name, AMITags: map[string]string{"New": "yes"}}},
		{Region: far, AMI: &distribution.AMI{Name: name}}}
	_, err := ami.Distribute(ctx, w.clients, w.options)
	var failed *ami.DistributionError
	if !errors.As(err, &failed) || failed.RegionFailures[len(failed.RegionFailures)-1].Status != ami.Cancelled {
		t.Errorf("%v", err)
	}
}

func TestACopyThatTakesTooLong(t *testing.T) {
	w := newWorld(t)
	w.options.Limit = 200 * time.Millisecond
	w.sim.Faults.Add(ec2sim.Times(-1, ec2sim.Fault{Service: "ec2", Action: "DescribeImages", Region: far, Status: 503, Code: "Unavailable", Message: "overloaded", Skip: 2}))
	_, err := w.distribute(distribution.Distribution{Region: far, AMI: &distribution.AMI{Name: name}})
	var failed *ami.DistributionError
	if !errors.As(err, &failed) || failed.RegionFailures[0].Status != ami.TimedOut ||
		!strings.Contains(failed.RegionFailures[0].ErrorMessage, "more than 200ms; start the command again to go on waiting") {
		t.Errorf("%v", err)
	}
}

func TestValidateDistributions(t *testing.T) {
	for want, d := range map[string][]distribution.Distribution{
		"eu-west-1: region: the region is named twice":                                       {{Region: home}, {Region: home}},
		`eu-west-1: amiDistributionConfiguration.name: name "a" of the AMI has 1 characters`: {{Region: home, AMI: &distribution.AMI{Name: "a"}}},
		"amiTags: tag A: expand": {{Region: home, AMI: &distribution.AMI{AMITags: map[string]string{"A": "{{ b }}"}}}},
		"begins with aws:":       {{Region: home, AMI: &distribution.AMI{AMITags: map[string]string{"aws:a": ""}}}},
		"an encrypted AMI cannot be public": {{Region: home, AMI: &distribution.AMI{KMSKeyID: "k",
			LaunchPermission: &distribution.LaunchPermission{UserGroups: []string{"all"}}}}},
	} {
		_, err := ami.Distribute(t.Context(), nil, ami.Options{Distributions: d, Variables: ami.Variables{ImageName: "web"}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
}

// The tags of the source's own region are its own: a second run does not bring them to the copies.
func TestTagsStayInTheirRegion(t *testing.T) {
	w := newWorld(t)
	all := []distribution.Distribution{{Region: home, AMI: &distribution.AMI{Name: name, AMITags: map[string]string{"Tier": "home"}}}, {Region: far, AMI: &distribution.AMI{Name: name}}}
	for run := range 2 {
		results, err := w.distribute(all...)
		w.must(err)
		if changed := results[home+" "+ec2sim.Account].Changed; run > 0 && len(changed) > 0 {
			t.Errorf("the second run changed the source: %v", changed)
		}
		if got := tagText(w.image(w.ec2(far), results[far+" "+ec2sim.Account].ImageID).Tags); got != "Team=web Tested=yes" {
			t.Errorf("the copy has the tags %s", got)
		}
	}
}

// License configurations are associated with every AMI of a region, once; what an account may not use fails there alone.
func TestLicenses(t *testing.T) {
	w := newWorld(t)
	arn := func(account string) string {
		return "arn:aws:license-manager:" + far + ":" + account + ":license-configuration:lic-0123456789abcdef0123456789abcdef"
	}
	d := distribution.Distribution{Region: far, AMI: &distribution.AMI{Name: name}, LicenseConfigurationARNs: []string{arn(ec2sim.Account)}}
	results, err := w.distribute(d)
	w.must(err)
	r := results[far+" "+ec2sim.Account]
	image := "arn:aws:ec2:" + far + "::image/" + r.ImageID
	out, err := licensemanager.NewFromConfig(w.sim.Config(t, far)).ListLicenseSpecificationsForResource(t.Context(),
		&licensemanager.ListLicenseSpecificationsForResourceInput{ResourceArn: &image})
	if err != nil || len(out.LicenseSpecifications) != 1 || *out.LicenseSpecifications[0].LicenseConfigurationArn != d.LicenseConfigurationARNs[0] {
		t.Errorf("%+v, %v", out, err)
	}
	w.permitted()
	results, err = w.distribute(d)
	w.must(err)
	if changed := results[far+" "+ec2sim.Account].Changed; len(changed) > 0 {
		t.Errorf("the second run: %v", changed)
	}
	d.LicenseConfigurationARNs = append(d.LicenseConfigurationARNs, arn(other))
	_, err = w.distribute(d)
	var failed *ami.DistributionError
	if !errors.As(err, &failed) || len(failed.RegionFailures) != 1 || failed.RegionFailures[0].Step != ami.AssociateLicenses || !strings.Contains(err.Error(), "not found") {
		t.Errorf("%v", err)
	}
}
