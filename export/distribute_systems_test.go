package export_test

import (
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ingot-image/ingot/export"
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
