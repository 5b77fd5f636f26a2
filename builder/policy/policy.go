// Package policy judges whether an image may be distributed: an organization's rules beside Ingot's own one, that an image is AVAILABLE with its
// tests passed. A policy is a file (distributionPolicy) that package recipe reads:
//
//	requiredComponents: [cis-hardening/1.x.x]
//	maximumParentAge: 30
//	requiredTests: [boot-uefi]
//	forbiddenPackages: [telnetd, "*-dbgsym"]
//	allowedRegions: [eu-*]
//	allowedAccounts: ["123456789012"]
//
//	p, err := recipe.ReadPolicy(ctx, "policy.yaml")
//	for _, v := range p.Judge(facts, destinations) {
//		fmt.Println(v)
//	}
//
// What is not known of an image, such as the packages of somebody's disk, breaks a rule that asks for it.
package policy

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ingot-image/ingot/builder/recipe/version"
)

// Policy is a set of rules. An empty one of them asks for nothing.
type Policy struct {
	RequiredComponents []version.Reference
	MaximumParentAge   int      // in days, 0: any
	RequiredTests      []string // names, as in the manifest
	ForbiddenPackages  []string // globs of names (path.Match)
	AllowedRegions     []string // globs of names
	AllowedAccounts    []string // 12 digits each
}

// Facts are what is known of an image.
type Facts struct {
	Components []Component
	// ParentDate is when the base that the image was made from came to be, zero if nobody knows.
	ParentDate time.Time
	Now        time.Time
	Tests      []Test
	// Packages are the names of those that are installed, nil if they are not known.
	Packages []string
}

// Component is one that the image was built with.
type Component struct {
	Name    string
	Version version.Version
}

// Test is one that the image was put to.
type Test struct {
	Name   string
	Passed bool
}

// Destination is where the image shall go: a region, and an account in it, "" for the own one whose number is not known.
type Destination struct{ Region, AccountID string }

func (d Destination) String() string {
	if d.AccountID == "" {
		return d.Region
	}
	return d.Region + " in account " + d.AccountID
}

// Violation is a rule that is broken.
type Violation struct {
	Rule string `json:"rule"` // the policy's key: requiredComponents
	Seen string `json:"seen"`
	Hint string `json:"hint"`
}

func (v Violation) String() string { return v.Rule + ": " + v.Seen + "; " + v.Hint }

// Judge gives every rule that the image or a destination breaks.
func (p *Policy) Judge(f Facts, destinations []Destination) []Violation {
	var all []Violation
	broken := func(rule, hint, seen string, a ...any) {
		all = append(all, Violation{Rule: rule, Seen: fmt.Sprintf(seen, a...), Hint: hint})
	}
	for _, want := range p.RequiredComponents {
		if seen := missing(want, f.Components); seen != "" {
			broken("requiredComponents", fmt.Sprintf("add %s to the recipe's components, and build the image anew", want), "%s", seen)
		}
	}
	p.judgeParent(f, broken)
	for _, name := range p.RequiredTests {
		i := slices.IndexFunc(f.Tests, func(t Test) bool { return t.Name == name })
		switch {
		case i < 0:
			broken("requiredTests", "build the image with tests enabled that have it", "the image was not put to the test %s", name)
		case slices.ContainsFunc(f.Tests, func(t Test) bool { return t.Name == name && !t.Passed }):
			broken("requiredTests", "mend the image, and build it anew", "the test %s has failed", name)
		}
	}
	if len(p.ForbiddenPackages) > 0 && f.Packages == nil {
		broken("forbiddenPackages", "distribute an image whose manifest lists its packages", "the image's packages are not known")
	}
	for _, pattern := range p.ForbiddenPackages {
		for _, name := range f.Packages {
			if matches(pattern, name) {
				broken("forbiddenPackages", "remove the package in a component, and build the image anew", "the package %s is installed, which %s forbids", name, pattern)
			}
		}
	}
	p.judgeDestinations(destinations, broken)
	return all
}

func (p *Policy) judgeParent(f Facts, broken func(rule, hint, seen string, a ...any)) {
	if p.MaximumParentAge == 0 {
		return
	}
	const rule = "maximumParentAge"
	if f.ParentDate.IsZero() {
		broken(rule, "build the image with a base whose date is known", "nobody knows how old the image's base is")
		return
	}
	if age := f.Now.Sub(f.ParentDate); age > time.Duration(p.MaximumParentAge)*24*time.Hour {
		broken(rule, "get a newer base (ingot cache), and build the image anew", "the image's base is of %s, %d days old, and at most %d are allowed",
			f.ParentDate.UTC().Format(time.DateOnly), int(age.Hours()/24), p.MaximumParentAge)
	}
}

func (p *Policy) judgeDestinations(destinations []Destination, broken func(rule, hint, seen string, a ...any)) {
	const hint = "remove it from the distributions, or have the policy allow it"
	told := map[string]bool{}
	for _, d := range destinations {
		if len(p.AllowedRegions) > 0 && !told[d.Region] && !slices.ContainsFunc(p.AllowedRegions, func(pattern string) bool { return matches(pattern, d.Region) }) {
			told[d.Region] = true
			broken("allowedRegions", hint, "the region %s is not allowed", d.Region)
		}
		switch {
		case len(p.AllowedAccounts) == 0 || slices.Contains(p.AllowedAccounts, d.AccountID):
		case d.AccountID == "":
			broken("allowedAccounts", "log in, so that AWS tells the account", "the account of %s is not known", d.Region)
		default:
			broken("allowedAccounts", hint, "%s: the account is not allowed", d)
		}
	}
}

// matches tells whether a glob, which was checked when it was read, is of a name.
func matches(pattern, name string) bool {
	ok, err := path.Match(strings.ToLower(pattern), strings.ToLower(name))
	return ok && err == nil
}

// missing says what lacks, "" if a component satisfies the reference.
func missing(want version.Reference, there []Component) string {
	var other []string
	for _, c := range there {
		if version.ResourceName(c.Name) != want.Name {
			continue
		}
		if want.Pattern.Matches(c.Version) {
			return ""
		}
		other = append(other, c.Version.String())
	}
	if other != nil {
		return fmt.Sprintf("the image has %s %s, and %s is required", want.Name, strings.Join(other, ", "), want.Pattern)
	}
	return fmt.Sprintf("the image has no component %s", want)
}
