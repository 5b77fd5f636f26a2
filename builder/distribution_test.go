package builder

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder/recipe/version"
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
