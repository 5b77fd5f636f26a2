package export_test

import (
	"errors"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ingot-image/ingot/export"
	"github.com/ingot-image/ingot/export/ami"
	"github.com/ingot-image/ingot/export/distribution"
	"github.com/ingot-image/ingot/export/internal/ec2sim"
	"github.com/ingot-image/ingot/export/internal/ec2sim/guest"
	"github.com/ingot-image/ingot/export/preflight"
)

// describe gives the AMI of a region.
func (c *cloud) describe(region, id string) types.Image {
	c.Helper()
	out, err := ec2.NewFromConfig(c.sim.Config(c.T, region)).DescribeImages(c.Context(), &ec2.DescribeImagesInput{ImageIds: []string{id}})
	if err != nil {
		c.Fatal(err)
	}
	return out.Images[0]
}

// An image for Graviton becomes an AMI of arm64 that boots by UEFI, in every region.
func TestDistributeARM64(t *testing.T) {
	for _, path := range []string{distribution.ImportSnapshot, distribution.EBSDirect} {
		c := newCloud(t, path)
		c.image.Architecture, c.image.BootMode = "arm64", "uefi"
		c.add(far)
		for region, id := range c.everywhere() {
			if i := c.describe(region, id); i.Architecture != types.ArchitectureValuesArm64 || i.BootMode != types.BootModeValuesUefi || !sdk.ToBool(i.EnaSupport) {
				t.Errorf("%s, %s: %s, %s, %v", path, region, i.Architecture, i.BootMode, i.EnaSupport)
			}
		}
	}
	c := newCloud(t, distribution.ImportImage)
	c.image.Architecture, c.image.BootMode = "arm64", "uefi"
	if _, err := export.Distribute(t.Context(), c.image, c.config, c.options); err == nil || !strings.Contains(err.Error(), "import.path: import-image takes x86_64 only") {
		t.Error(err)
	}
	if n := c.sim.Count("s3", "PutObject"); n != 0 {
		t.Errorf("%d objects were uploaded", n)
	}
}

// Windows goes by ImportImage, with the licence that is asked for, and passes its checks; by the other paths it is warned of.
func TestDistributeWindows(t *testing.T) {
	file := guest.Windows(t)
	for path, want := range map[preflight.Path]preflight.Status{preflight.ImportImage: preflight.Passed, preflight.ImportSnapshot: preflight.Failed} {
		target, err := preflight.Open(t.Context(), file, preflight.Request{Path: path}, preflight.Options{})
		if err != nil {
			t.Fatal(err)
		}
		report, err := preflight.Run(t.Context(), target)
		target.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range report.Findings {
			if f.ID == "B02" && f.Status != want || f.Status == preflight.Failed && f.Level == preflight.Fatal {
				t.Errorf("%s: %+v", path, f)
			}
		}
	}
	for license, usage := range map[string]string{"": "RunInstances:0002", "BYOL": "RunInstances:0800"} {
		c := newCloud(t, distribution.ImportImage)
		c.use(file)
		c.config.Import.Platform, c.config.Import.LicenseType = "Windows", license
		c.add(far)
		for region, id := range c.everywhere() {
			if i := c.describe(region, id); !strings.EqualFold(string(i.Platform), "windows") || sdk.ToString(i.UsageOperation) != usage || sdk.ToString(i.Name) != "web-1" {
				t.Errorf("%q in %s: %s, %s, %s", license, region, i.Platform, sdk.ToString(i.UsageOperation), sdk.ToString(i.Name))
			}
		}
		c.holds(ec2sim.Region, 1, "web-1")
	}
}

// A Windows AMI is prepared for fast launches as it is asked for, changed, and no more; another system's region fails alone.
func TestDistributeFastLaunch(t *testing.T) {
	c := newCloud(t, distribution.ImportImage)
	c.use(guest.Windows(t))
	c.config.Import.Platform = "Windows"
	want := &c.config.Distributions[0]
	want.FastLaunches = []distribution.FastLaunch{{Enabled: true, TargetResourceCount: 7, LaunchTemplate: &distribution.FastLaunchTemplate{LaunchTemplateName: "win"}}}
	id := c.everywhere()[ec2sim.Region]
	state := func() []types.DescribeFastLaunchImagesSuccessItem {
		out, err := ec2.NewFromConfig(c.options.Config).DescribeFastLaunchImages(t.Context(), &ec2.DescribeFastLaunchImagesInput{ImageIds: []string{id}})
		if err != nil {
			t.Fatal(err)
		}
		return out.FastLaunchImages
	}
	if has := state(); len(has) != 1 || sdk.ToInt32(has[0].SnapshotConfiguration.TargetResourceCount) != 7 || sdk.ToInt32(has[0].MaxParallelLaunches) != 6 ||
		sdk.ToString(has[0].LaunchTemplate.LaunchTemplateName) != "win" || sdk.ToString(has[0].LaunchTemplate.Version) != "$Default" {
		t.Errorf("%+v", has)
	}
	c.unchanging(map[string]string{ec2sim.Region: id})
	want.FastLaunches[0].MaxParallelLaunches = 8
	c.unchanging(map[string]string{ec2sim.Region: id}, "EnableFastLaunch")
	if has := state(); len(has) != 1 || sdk.ToInt32(has[0].MaxParallelLaunches) != 8 {
		t.Errorf("%+v", has)
	}
	want.FastLaunches[0].Enabled = false
	c.unchanging(map[string]string{ec2sim.Region: id}, "DisableFastLaunch")
	c.unchanging(map[string]string{ec2sim.Region: id})
	if has := state(); len(has) != 0 {
		t.Errorf("%+v", has)
	}

	linux := newCloud(t, distribution.ImportSnapshot)
	linux.config.Distributions[0].FastLaunches = []distribution.FastLaunch{{Enabled: true}, {Enabled: true, AccountID: "210987654321"}}
	results, err := export.Distribute(t.Context(), linux.image, linux.config, linux.options)
	var failed *ami.DistributionError
	if !errors.As(err, &failed) || len(failed.RegionFailures) != 2 || failed.RegionFailures[0].Step != ami.UpdateFastLaunch || len(results) != 1 {
		t.Errorf("%+v, %v", results, err)
	}
}
