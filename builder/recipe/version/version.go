// Package version holds Image Builder's semantic versions: four nodes,
//
//	<major>.<minor>.<patch>/<build>
//
// of which the first three are chosen by the user (0 to 2^30-1 each) and the build number is assigned, from 1.
// A Pattern is a version whose last nodes may be the wildcard x. It is used in two ways:
//
//	p, _ := version.ParsePattern("1.x.x")
//	latest, ok := p.Select(versions)   // selecting: the newest version that matches
//	next, err := p.Next(versions)      // assigning: the version the next build gets
//
// A Reference names something by name and pattern: "web-server/1.0.x", "web-server/1.0.3/2".
//
// The rules are those of "Semantic versioning in Image Builder" in the EC2 Image Builder user guide. The package has
// no state and imports nothing but the standard library.
package version

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// MaxNode is the largest value of a version's node, 2^30-1.
const MaxNode = 1<<30 - 1

// Version is one version, exact in all its nodes. Build is 0 where no build is meant.
type Version struct {
	Major, Minor, Patch int
	// Build is the build number, from 1; 0 means the version as such, without a build.
	Build int
}

// Parse reads "1.0.3" or "1.0.3/2". The error says what is wrong with the text.
func Parse(text string) (Version, error) {
	p, err := ParsePattern(text)
	if err != nil {
		return Version{}, err
	}
	v, ok := p.Exact()
	if !ok {
		return Version{}, fmt.Errorf("version %q has a wildcard where an exact version is needed", text)
	}
	return v, nil
}

// String gives "1.0.3", or "1.0.3/2" where Build is set.
func (v Version) String() string {
	s := fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch)
	if v.Build != 0 {
		s += "/" + strconv.Itoa(v.Build)
	}
	return s
}

// WithoutBuild is the version without its build number.
func (v Version) WithoutBuild() Version {
	v.Build = 0
	return v
}

// Compare orders versions node by node, the build last: -1, 0 or 1.
func (v Version) Compare(w Version) int {
	return cmp.Or(
		cmp.Compare(v.Major, w.Major),
		cmp.Compare(v.Minor, w.Minor),
		cmp.Compare(v.Patch, w.Patch),
		cmp.Compare(v.Build, w.Build),
	)
}

// MarshalText writes the version as String does.
func (v Version) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (v *Version) UnmarshalText(text []byte) error {
	parsed, err := Parse(string(text))
	if err != nil {
		return err
	}
	*v = parsed
	return nil
}

// parseNode reads one node: decimal digits only, at most MaxNode. Leading zeros are accepted, because the service
// suggests dates such as 2021.01.01 as versions.
func parseNode(text, what string) (int, error) {
	if text == "" {
		return 0, fmt.Errorf("the %s is empty", what)
	}
	if strings.Trim(text, "0123456789") != "" {
		return 0, fmt.Errorf("the %s %q is not a number", what, text)
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n > MaxNode {
		return 0, fmt.Errorf("the %s %s is above the limit of %d", what, text, MaxNode)
	}
	return int(n), nil
}
