package policy_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder/policy"
	"github.com/ingot-image/ingot/builder/recipe/version"
)

func reference(t *testing.T, text string) version.Reference {
	r, err := version.ParseReference(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestJudge(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	facts := func(change func(*policy.Facts)) policy.Facts {
		f := policy.Facts{
			Components: []policy.Component{{Name: "cis-hardening", Version: version.Version{Major: 1, Minor: 4, Patch: 2}}},
			ParentDate: now.AddDate(0, 0, -10), Now: now,
			Tests: []policy.Test{{Name: "boot-bios", Passed: true}, {Name: "boot-uefi", Passed: true}}, Packages: []string{"openssh-server", "nginx"},
		}
		change(&f)
		return f
	}
	same := func(*policy.Facts) {}
	here := []policy.Destination{{Region: "eu-west-1", AccountID: "123456789012"}}
	strict := policy.Policy{
		RequiredComponents: []version.Reference{reference(t, "CIS hardening/1.x.x")}, MaximumParentAge: 10, RequiredTests: []string{"boot-uefi"},
		ForbiddenPackages: []string{"telnetd", "*-dbgsym"}, AllowedRegions: []string{"eu-*"}, AllowedAccounts: []string{"123456789012"},
	}
	for _, c := range []struct {
		name         string
		policy       policy.Policy
		facts        policy.Facts
		destinations []policy.Destination
		want         []string // rule and what is in Seen
	}{
		{"all right", strict, facts(same), here, nil},
		{"no rules", policy.Policy{}, policy.Facts{}, []policy.Destination{{Region: "mars-1"}}, nil},
		{"component missing", strict, facts(func(f *policy.Facts) { f.Components = nil }), here, []string{"requiredComponents: the image has no component cis-hardening/1.x.x"}},
		{"component of another version", strict, facts(func(f *policy.Facts) { f.Components[0].Version.Major = 2 }), here, []string{"requiredComponents: the image has cis-hardening 2.4.2, and 1.x.x is required"}},
		{"old parent", strict, facts(func(f *policy.Facts) { f.ParentDate = now.AddDate(0, 0, -11) }), here, []string{"maximumParentAge: the image's base is of 2026-11-11, 11 days old, and at most 10 are allowed"}},
		{"unknown parent", strict, facts(func(f *policy.Facts) { f.ParentDate = time.Time{} }), here, []string{"maximumParentAge: nobody knows"}},
		{"test failed", strict, facts(func(f *policy.Facts) { f.Tests[1].Passed = false }), here, []string{"requiredTests: the test boot-uefi has failed"}},
		{"test missing", strict, facts(func(f *policy.Facts) { f.Tests = f.Tests[:1] }), here, []string{"requiredTests: the image was not put to the test boot-uefi"}},
		{"packages", strict, facts(func(f *policy.Facts) { f.Packages = []string{"telnetd", "nginx-dbgsym", "nginx"} }), here, []string{
			"forbiddenPackages: the package telnetd is installed", "forbiddenPackages: the package nginx-dbgsym is installed, which *-dbgsym forbids"}},
		{"unknown packages", strict, facts(func(f *policy.Facts) { f.Packages = nil }), here, []string{"forbiddenPackages: the image's packages are not known"}},
		{"region and account", strict, facts(same), append(here, policy.Destination{Region: "us-east-1", AccountID: "210987654321"}), []string{
			"allowedRegions: the region us-east-1 is not allowed", "allowedAccounts: us-east-1 in account 210987654321"}},
		{"unknown account", strict, facts(same), []policy.Destination{{Region: "eu-west-1"}}, []string{"allowedAccounts: the account of eu-west-1 is not known"}},
	} {
		var got []string
		for _, v := range c.policy.Judge(c.facts, c.destinations) {
			if v.Hint == "" {
				t.Errorf("%s: %s without a hint", c.name, v)
			}
			got = append(got, v.Rule+": "+v.Seen)
		}
		if !slices.EqualFunc(got, c.want, strings.HasPrefix) {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
	}
}
