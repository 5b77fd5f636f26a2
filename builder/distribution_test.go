package builder

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/recipe"
	"github.com/ingot-image/ingot/builder/recipe/version"
	"github.com/ingot-image/ingot/export"
	"github.com/ingot-image/ingot/export/distribution"
)

// A policy judges the user's own account, and everybody else who may launch the AMI.
func TestPermitAccounts(t *testing.T) {
	const own, friend = "123456789012", "210987654321"
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	accounts := write("accounts.yaml", `allowedAccounts: ["`+own+`"]`+"\n")
	strangers := write("strangers.yaml", `allowedAccounts: ["`+friend+`"]`+"\n")
	regions := write("regions.yaml", "allowedRegions: [eu-*]\n")
	for _, c := range []struct {
		name            string
		policy, besides string
		region          string
		permission      *distribution.LaunchPermission
		want            string
	}{
		{"own account", accounts, "", "eu-west-1", nil, ""},
		{"own account is another", strangers, "", "eu-west-1", nil, "in account " + own},
		{"lent to another", accounts, "", "eu-west-1", &distribution.LaunchPermission{UserIDs: []string{friend}}, "in account " + friend},
		{"public", accounts, "", "eu-west-1", &distribution.LaunchPermission{UserGroups: []string{"all"}}, "in account all"},
		{"organization", accounts, "", "eu-west-1", &distribution.LaunchPermission{OrganizationARNs: []string{"arn:aws:o"}}, "in account arn:aws:o"},
		{"unit", accounts, "", "eu-west-1", &distribution.LaunchPermission{OrganizationalUnitARNs: []string{"arn:aws:ou"}}, "in account arn:aws:ou"},
		{"both policies met", regions, accounts, "eu-west-1", nil, ""},
		{"the configuration's is not put aside", regions, accounts, "us-east-1", nil, "allowedRegions"},
		{"the other one is judged too", accounts, regions, "us-east-1", nil, "allowedRegions"},
	} {
		d := &distributor{accountID: own, image: &outgoing{name: "web", version: version.Version{Major: 1, Build: 1}}, tell: func(Event) {},
			options: DistributeOptions{AllowUntested: true, Policy: c.besides, Configuration: &distribution.Configuration{Policy: c.policy,
				Distributions: []distribution.Distribution{{Region: c.region, AMI: &distribution.AMI{LaunchPermission: c.permission}}}}}}
		err := d.permit(t.Context())
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// What only EC2's rules for registration know is told with its place in the file, all of it at once.
func TestRegistrationMistakesHavePlaces(t *testing.T) {
	file := filepath.Join(t.TempDir(), "web.yaml")
	text := `name: web
semanticVersion: 1.0.0
parentImage: debian-12
blockDeviceMappings:
  - deviceName: /dev/xvda
    ebs: {volumeSize: 8}
  - deviceName: /dev/sdb
    ebs: {volumeSize: 8, volumeType: io2}
distribution:
  registration:
    tpmSupport: v2.0
    uefiData: vars.b64
  distributions:
    - folder: shelf
    - region: eu-west-1
      amiDistributionConfiguration:
        name: web-{{ imagebuilder:buildDate:yyyy-MM-dd HH:mm }}
        amiTags:
          Build: "{{ imagebuilder:build }}"
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := recipe.ReadDistribution(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	err = validate(c, &export.Image{Name: "web", Version: "1.0.0/1", Date: time.Now(), Architecture: "x86_64", BootMode: "legacy-bios",
		BlockDevices: blockDevices([]recipe.BlockDeviceMapping{{DeviceName: "/dev/xvda", EBS: &recipe.EBS{VolumeSize: 8}}, {DeviceName: "/dev/sdb", EBS: &recipe.EBS{VolumeSize: 8, VolumeType: "io2"}}})})
	var problems component.Problems
	if !errors.As(err, &problems) {
		t.Fatal(err)
	}
	want := map[string]struct {
		line    int
		message string
	}{
		"blockDeviceMappings[1]":                                             {7, "iops is missing"},
		"distribution.registration.tpmSupport":                               {11, "this one is to boot by legacy-bios"},
		"distribution.registration.uefiData":                                 {12, "no such file"},
		"distribution.distributions[1].amiDistributionConfiguration.name":    {17, "letters, digits"},
		"distribution.distributions[1].amiDistributionConfiguration.amiTags": {19, "there is no variable"},
	}
	for _, p := range problems {
		if w := want[p.Field]; p.File != file || p.Line != w.line || w.message == "" || !strings.Contains(p.Message, w.message) {
			t.Errorf("%s; want line %d and %q", p, w.line, w.message)
		}
		delete(want, p.Field)
	}
	if len(want) > 0 {
		t.Errorf("not told: %v", want)
	}
}

func TestDeliverable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "d.yaml")
	if err := os.WriteFile(file, []byte("distributions:\n  - folder: a\n  - folder: b\n    formats: [vmdk, raw]\n  - folder: c\n    formats: [ova]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := recipe.ReadDistribution(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	if err := deliverable(c, []string{"raw", "ova"}); err != nil {
		t.Error(err)
	}
	var problems component.Problems
	if err := deliverable(c, []string{"raw", "qcow2"}); !errors.As(err, &problems) || len(problems) != 1 || problems[0].Line != 6 || problems[0].Field != "distributions[2].formats" {
		t.Errorf("%v", err)
	}
}

func TestEncryptedAsRoot(t *testing.T) {
	yes := true
	root := []recipe.BlockDeviceMapping{{DeviceName: "/dev/sdb", EBS: &recipe.EBS{Encrypted: &yes, KMSKeyID: "other"}}, {DeviceName: "/dev/xvda", EBS: &recipe.EBS{Encrypted: &yes, KMSKeyID: "alias/golden"}}}
	c := &distribution.Configuration{}
	if got := encryptedAsRoot(c, root); !got.Import.Encrypt || got.Import.KMSKeyID != "alias/golden" || c.Import.Encrypt {
		t.Errorf("%+v, of %+v", got.Import, c.Import)
	}
	c.Import.KMSKeyID = "mine"
	if got := encryptedAsRoot(c, root); got != c {
		t.Errorf("%+v", got.Import)
	}
	if got := encryptedAsRoot(&distribution.Configuration{}, root[:1]); got.Import.Encrypt || got.Import.KMSKeyID != "" {
		t.Errorf("as a further volume: %+v", got.Import)
	}
}
