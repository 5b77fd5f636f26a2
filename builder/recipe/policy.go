package recipe

import (
	"context"
	"fmt"
	"path"
	"regexp"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/policy"
	"github.com/ingot-image/ingot/builder/recipe/version"
)

// policyKeys are the keys of a distribution policy, which is Ingot's own.
var policyKeys = []string{"requiredComponents", "maximumParentAge", "requiredTests", "forbiddenPackages", "allowedRegions", "allowedAccounts"}

// The bounds of a policy, far above what people write.
const (
	maxPolicyEntries = 1000
	maxParentAge     = 3650 // days
)

// globWord is what a glob of names of packages, tests and regions may be written of.
var globWord = regexp.MustCompile(`^[-A-Za-z0-9+._:~*?\[\]^]{1,200}$`)

// ReadPolicy reads a distribution policy. The error is component.Problems with every mistake.
func ReadPolicy(ctx context.Context, file string) (*policy.Policy, error) {
	data, err := readFile(file)
	if err != nil {
		return nil, component.Problems{{File: file, Message: err.Error()}}
	}
	rd := &reader{file: file, what: "policy", needs: "at least one rule, such as maximumParentAge: 30", positions: map[string]position{}}
	p := &policy.Policy{}
	if root, ok := rd.read(data); ok {
		m := root.mapping("a mapping with rules, such as maximumParentAge: 30", policyKeys)
		if len(m.order) == 0 && len(rd.problems) == 0 {
			root.problem("the policy has no rule", "write at least one of requiredComponents, maximumParentAge, requiredTests, forbiddenPackages, allowedRegions and allowedAccounts")
		}
		m.requiredComponents(&p.RequiredComponents)
		m.integer("maximumParentAge", 1, maxParentAge, " days", &p.MaximumParentAge)
		p.RequiredTests = m.entries("requiredTests", "a list of tests, such as [boot-uefi]", field.glob)
		p.ForbiddenPackages = m.entries("forbiddenPackages", `a list of packages, such as [telnetd, "*-dbgsym"]`, field.glob)
		p.AllowedRegions = m.entries("allowedRegions", "a list of regions, such as [eu-west-1]", field.glob)
		p.AllowedAccounts = m.entries("allowedAccounts", `a list of accounts, such as ["123456789012"]`, field.account)
	}
	if err := rd.problems.Err(); err != nil {
		return nil, err
	}
	return p, ctx.Err()
}

func (m mapping) requiredComponents(to *[]version.Reference) {
	for _, text := range m.entries("requiredComponents", "a list of components, such as [cis-hardening/1.x.x]", field.reference) {
		if r, err := version.ParseReference(text); err == nil {
			*to = append(*to, r)
		}
	}
}

// entries gives the strings of a list under a key, each read by read, which gives "" for a mistake. An empty list, which could mean all and nothing, is a mistake.
func (m mapping) entries(key, wanted string, read func(field) string) []string {
	f, ok := m.at(key)
	if !ok {
		return nil
	}
	items := f.list(wanted, maxPolicyEntries)
	if items != nil && len(items) == 0 {
		f.problem("names nothing", "it must be "+wanted+"; remove the key if there is no such rule")
	}
	var all []string
	first := map[string]int{}
	for i, item := range items {
		s := read(item)
		if s == "" { // a mistake, which is told
			continue
		}
		if at, twice := first[s]; twice {
			item.problem(fmt.Sprintf("%q is given twice, as entry %d already", clip(s), at), "remove one of them")
			continue
		}
		first[s] = i + 1
		all = append(all, s)
	}
	return all
}

// reference gives a component with its version or pattern, as recipes spell it.
func (f field) reference() string {
	s, ok := f.text()
	if !ok {
		return ""
	}
	r, err := version.ParseReference(s)
	if err != nil {
		f.problem(err.Error(), "write it as in a recipe: NAME/1.0.3, NAME/1.x.x, or NAME/x.x.x for any version")
		return ""
	}
	return r.String()
}

// glob gives a name with *, ? and [a-z].
func (f field) glob() string {
	s, ok := f.text()
	if !ok {
		return ""
	}
	if _, err := path.Match(s, ""); err != nil || !globWord.MatchString(s) {
		f.problem(fmt.Sprintf("%q is not a name or a pattern of names", clip(s)), "use letters, digits and + - . _, with * for any text, ? for one character, and [ab] for a or b")
		return ""
	}
	return s
}
