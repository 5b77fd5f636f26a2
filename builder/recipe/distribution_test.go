package recipe

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/export/distribution"
)

const everywhere = `name: everywhere
description: all that there is
tags: {team: images}
distributionPolicy: policy.yaml
import:
  path: import-image
  region: us-east-1
  bucket: my-bucket
  roleName: vmimport
  encrypted: true
  kmsKeyId: alias/images
  licenseType: BYOL
registration: {architecture: x86_64, bootMode: uefi, tpmSupport: v2.0, imdsSupport: v2.0, enaSupport: false, uefiData: vars.b64, rootDeviceName: /dev/sda1}
distributions:
  - region: eu-west-1
    amiDistributionConfiguration:
      name: web-{{ imagebuilder:buildDate:yyyyMMddHHmm }}
      description: web
      targetAccountIds: [123456789012, "012345678901"]
      amiTags: {Name: "{{ imagebuilder:buildVersion }}"}
      kmsKeyId: alias/images
      launchPermission:
        userIds: ["123456789012"]
        organizationArns: ["arn:aws:organizations::123456789012:organization/o-abcdefghij"]
        organizationalUnitArns: ["arn:aws:organizations::123456789012:ou/o-abcdefghij/ou-abcd-abcdefgh"]
      deprecateAfterDays: 90
      deregistrationProtection: enabled-with-cooldown
    launchTemplateConfigurations: [{launchTemplateId: lt-0123456789abcdef0, accountId: "123456789012", setDefaultVersion: true}]
    ssmParameterConfigurations: [{parameterName: /golden/web}, {parameterName: web, dataType: text, amiAccountId: 123456789012}]
    s3ExportConfiguration: {roleName: vmimport, diskImageFormat: VMDK, s3Bucket: my-exports, s3Prefix: web/}
    fastLaunchConfigurations: [{enabled: true, maxParallelLaunches: 6, snapshotConfiguration: {targetResourceCount: 10}, launchTemplate: {launchTemplateName: win, launchTemplateVersion: 3}}]
    licenseConfigurationArns: [arn:aws:license-manager:eu-west-1:123456789012:license-configuration:lic-0123456789abcdef0123456789abcdef]
    containerDistributionConfiguration: {targetRepository: {service: ECR, repositoryName: web}}
  - region: us-east-1
  - {folder: images, formats: [vmdk]}
  - s3: {bucket: artifacts, prefix: web/, endpoint: "https://objects.example:9000", region: here, profile: onprem}
  - http: {url: "https://files.example/web/", headerEnv: {Authorization: FILES_TOKEN}}
  - libvirtPool: {path: /var/lib/libvirt/images, name: default}
`

func TestReadDistribution(t *testing.T) {
	dir := t.TempDir()
	read := func(text string) (*distribution.Configuration, error) {
		t.Helper()
		file := filepath.Join(dir, "distribution.yaml")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return ReadDistribution(context.Background(), file)
	}
	c, err := read(everywhere)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"eu-west-1", "us-east-1"}; !reflect.DeepEqual(c.Regions(), want) {
		t.Errorf("regions %v, want %v", c.Regions(), want)
	}
	if got := []string{c.Policy, c.Registration.UEFIData, c.Distributions[2].Folder, c.Distributions[5].LibvirtPool.Path}; !reflect.DeepEqual(got,
		[]string{filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "vars.b64"), filepath.Join(dir, "images"), "/var/lib/libvirt/images"}) {
		t.Errorf("paths %v", got)
	}
	first := c.Distributions[0]
	if got := first.AMI.TargetAccountIDs; !reflect.DeepEqual(got, []string{"123456789012", "012345678901"}) {
		t.Errorf("accounts %v", got)
	}
	if first.SSMParameters[0].DataType != "aws:ec2:image" || len(first.Kept) != 1 || len(first.LicenseConfigurationARNs) != 1 || !reflect.DeepEqual(first.FastLaunches, []distribution.FastLaunch{{Enabled: true, MaxParallelLaunches: 6, TargetResourceCount: 10,
		LaunchTemplate: &distribution.FastLaunchTemplate{LaunchTemplateName: "win", LaunchTemplateVersion: "3"}}}) || *c.Registration.ENASupport {
		t.Errorf("read %+v", c)
	}
	// The part of a recipe is the same.
	inRecipe := minimal + "distribution:\n  formats: [vmdk]\n"
	for line := range strings.Lines(everywhere) {
		inRecipe += "  " + line
	}
	again, err := read(inRecipe)
	for _, c := range []*distribution.Configuration{c, again} {
		file, field, at := c.Locate(&distribution.Mistake{Region: "us-east-1", Field: "amiDistributionConfiguration.name"})
		if at.Line == 0 || at != c.Origin.Places[strings.TrimSuffix(field, ".amiDistributionConfiguration.name")] || file != filepath.Join(dir, "distribution.yaml") {
			t.Errorf("the second region is at %s, %s, %+v", file, field, at)
		}
		c.Origin = nil
	}
	if err != nil || !reflect.DeepEqual(again, c) {
		t.Errorf("in a recipe: %+v, %v", again, err)
	}
	if _, err := read(minimal); err == nil {
		t.Error("a recipe without distributions was taken for a distribution configuration")
	}
}

func TestDistributionMistakes(t *testing.T) {
	for _, c := range []struct{ name, text, place, message string }{
		{"no places", "name: x\n", "distributions", "is missing"},
		{"none", "distributions: []\n", "distributions", "names no place"},
		{"nowhere", "distributions: [{amiDistributionConfiguration: {name: web}}]\n", "distributions[0]", "names no place"},
		{"two places", "distributions: [{region: eu-west-1, folder: out}]\n", "distributions[0].folder", "there is region already"},
		{"region twice", "distributions: [{region: eu-west-1}, {region: eu-west-1}]\n", "distributions[1]", "eu-west-1 is named twice"},
		{"no region", "distributions: [{region: Ireland}]\n", "distributions[0].region", "is not a region"},
		{"formats", "distributions: [{folder: out, formats: [vdmk]}]\n", "distributions[0].formats[0]", "is not one of"},
		{"variable", "distributions: [{region: eu-west-1, amiDistributionConfiguration: {name: 'web-{{ imagebuilder:date }}'}}]\n", "distributions[0].amiDistributionConfiguration.name", "a variable that there is not"},
		{"characters", "distributions: [{region: eu-west-1, amiDistributionConfiguration: {name: 'web:1'}}]\n", "distributions[0].amiDistributionConfiguration.name", "may not have"},
		{"account", "distributions: [{region: eu-west-1, amiDistributionConfiguration: {targetAccountIds: [12345]}}]\n", "distributions[0].amiDistributionConfiguration.targetAccountIds[0]", "12 digits"},
		{"public and encrypted", "distributions: [{region: eu-west-1, amiDistributionConfiguration: {kmsKeyId: k, launchPermission: {userGroups: [all]}}}]\n", "distributions[0].amiDistributionConfiguration.launchPermission", "cannot be public"},
		{"import elsewhere", "distributions: [{region: eu-west-1}]\nimport: {region: us-east-1}\n", "import.region", "not among the distributions"},
		{"license", "distributions: [{region: eu-west-1}]\nimport: {path: ebs-direct, licenseType: BYOL}\n", "import.licenseType", "import-image only"},
		{"fast launch", "distributions: [{region: eu-west-1, fastLaunchConfigurations: [{enabled: true, launchTemplate: {launchTemplateVersion: '1'}}]}]\n", "distributions[0].fastLaunchConfigurations[0].launchTemplate", "one of them"},
		{"fast launch's launches", "distributions: [{region: eu-west-1, fastLaunchConfigurations: [{enabled: true, maxParallelLaunches: 5}]}]\n", "distributions[0].fastLaunchConfigurations[0].maxParallelLaunches", "6"},
		{"license's region", "distributions: [{region: us-east-1, licenseConfigurationArns: ['arn:aws:license-manager:eu-west-1:123456789012:license-configuration:lic-0123456789abcdef0123456789abcdef']}]\n", "distributions[0].licenseConfigurationArns", "another region"},
		{"zeros", "distributions: [{region: eu-west-1}]\nimport: {writeZeros: true}\n", "import.writeZeros", "ebs-direct only"},
		{"bucket", "distributions: [{region: eu-west-1}]\nimport: {bucket: Bad_Bucket}\n", "import.bucket", "is not the name of a bucket"},
		{"uefi-preferred", "distributions: [{region: eu-west-1}]\nimport: {path: import-image}\nregistration: {bootMode: uefi-preferred}\n", "registration", "does not take"},
		{"tpm", "distributions: [{region: eu-west-1}]\nregistration: {bootMode: legacy-bios, tpmSupport: v2.0}\n", "registration.tpmSupport", "needs bootMode uefi"},
		{"arm", "distributions: [{region: eu-west-1}]\nregistration: {bootMode: legacy-bios, architecture: arm64}\n", "registration.bootMode", "uefi only"},
		{"import without region", "distributions: [{folder: out}]\nimport: {bucket: my-imports}\n", "import", "no distribution names a region"},
		{"password", "distributions: [{http: {url: 'https://me:secret@files.example/'}}]\n", "distributions[0].http.url", "password"},
		{"AMI in a folder", "distributions: [{folder: out, s3ExportConfiguration: {}}]\n", "distributions[0].s3ExportConfiguration", "belongs to a region"},
	} {
		file := filepath.Join(t.TempDir(), "d.yaml")
		if err := os.WriteFile(file, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := ReadDistribution(context.Background(), file)
		var problems component.Problems
		if !errors.As(err, &problems) || len(problems) != 1 || problems[0].Field != c.place || !strings.Contains(problems[0].Message, c.message) || problems[0].Line == 0 {
			t.Errorf("%s: %v; want one at %s that tells %q", c.name, err, c.place, c.message)
		}
	}
}

func TestLicenceChoosesPath(t *testing.T) {
	for text, want := range map[string]string{
		"licenseType: BYOL":                         distribution.ImportImage,
		"platform: Windows":                         distribution.ImportImage,
		"usageOperation: 'RunInstances:0002'":       distribution.ImportImage,
		"bucket: my-imports":                        "",
		"path: import-image, licenseType: AWS":      distribution.ImportImage,
		"path: import-snapshot, roleName: vmimport": distribution.ImportSnapshot,
	} {
		file := filepath.Join(t.TempDir(), "d.yaml")
		if err := os.WriteFile(file, []byte("distributions: [{region: eu-west-1}]\nimport: {"+text+"}\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		c, err := ReadDistribution(t.Context(), file)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if c.Import.Path != want {
			t.Errorf("%s: path %q; want %q", text, c.Import.Path, want)
		}
	}
}
