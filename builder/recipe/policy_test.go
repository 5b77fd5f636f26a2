package recipe

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder/component"
)

func writePolicy(t *testing.T, text string) string {
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestReadPolicy(t *testing.T) {
	p, err := ReadPolicy(t.Context(), writePolicy(t, `requiredComponents: [CIS hardening/1.x.x, agent/2.0.1]
maximumParentAge: 30
requiredTests: [boot-uefi]
forbiddenPackages: [telnetd, "*-dbgsym", "lib[ab]?"]
allowedRegions: [eu-*, us-east-1]
allowedAccounts: [123456789012, "012345678901"]
`))
	if err != nil {
		t.Fatal(err)
	}
	if got := []string{p.RequiredComponents[0].String(), p.RequiredComponents[1].String()}; !reflect.DeepEqual(got, []string{"cis-hardening/1.x.x", "agent/2.0.1"}) {
		t.Errorf("components %q", got)
	}
	if p.MaximumParentAge != 30 || !reflect.DeepEqual([][]string{p.RequiredTests, p.ForbiddenPackages, p.AllowedRegions, p.AllowedAccounts}, [][]string{
		{"boot-uefi"}, {"telnetd", "*-dbgsym", "lib[ab]?"}, {"eu-*", "us-east-1"}, {"123456789012", "012345678901"}}) {
		t.Errorf("read %+v", p)
	}
}

func TestPolicyMistakes(t *testing.T) {
	for _, c := range []struct{ name, text, field, message string }{
		{"empty", "", "", "the policy is empty"},
		{"no rule", "{}\n", "", "has no rule"},
		{"unknown", "forbidenPackages: [x]\n", "forbidenPackages", "unknown key"},
		{"age", "maximumParentAge: 30d\n", "maximumParentAge", "whole number"},
		{"no age", "maximumParentAge: 0\n", "maximumParentAge", "from 1"},
		{"component", "requiredComponents: [hardening]\n", "requiredComponents[0]", "NAME/VERSION"},
		{"version", "requiredComponents: [hardening/x.2.x]\n", "requiredComponents[0]", "right of an x"},
		{"empty list", "allowedRegions: []\n", "allowedRegions", "names nothing"},
		{"no list", "allowedRegions: eu-west-1\n", "allowedRegions", "must be a list"},
		{"glob", "forbiddenPackages: ['[a']\n", "forbiddenPackages[0]", "pattern of names"},
		{"account", "allowedAccounts: [12345]\n", "allowedAccounts[0]", "12 digits"},
		{"twice", "requiredTests: [a, b, a]\n", "requiredTests[2]", "given twice"},
	} {
		_, err := ReadPolicy(t.Context(), writePolicy(t, c.text))
		var problems component.Problems
		if !errors.As(err, &problems) || len(problems) != 1 || problems[0].Field != c.field || !strings.Contains(problems[0].Message, c.message) || problems[0].Line == 0 {
			t.Errorf("%s: %v; want one at %q that tells %q", c.name, err, c.field, c.message)
		}
	}
	_, err := ReadPolicy(t.Context(), writePolicy(t, "maximumParentAge: -1\nallowedAccounts: [x]\nrequiredTest: [y]\n"))
	var problems component.Problems
	if !errors.As(err, &problems) || len(problems) != 3 {
		t.Errorf("all at once: %v", err)
	}
}
