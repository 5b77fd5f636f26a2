package version

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Pattern is a version whose nodes, from one of them to the right, may be the wildcard x: "1.0.3", "1.0.x", "1.x.x",
// "x.x.x". Once a node is x every node to its right is x too: "x.2.x" and "1.x.8" are errors.
// The zero value is invalid; patterns come from ParsePattern or Exactly.
type Pattern struct {
	nodes [3]int
	fixed int // how many of nodes are numbers: 3 is an exact version, 0 is x.x.x
	build int // only where fixed is 3; 0 is any build
	valid bool
}

// nodeNames are what messages call the three nodes.
var nodeNames = [3]string{"major version", "minor version", "patch version"}

// ParsePattern reads "1.0.3", "1.0.3/2" or a pattern with x. The error says what is wrong with the text.
func ParsePattern(text string) (Pattern, error) {
	fail := func(format string, arguments ...any) (Pattern, error) {
		return Pattern{}, fmt.Errorf("invalid version %q: "+format, append([]any{text}, arguments...)...)
	}
	const longest = 64 // far above 4 nodes of 10 digits: a bound for what is repeated in messages
	if len(text) > longest {
		return Pattern{}, fmt.Errorf("invalid version: longer than %d characters", longest)
	}
	numbers, build, hasBuild := strings.Cut(text, "/")
	nodes := strings.Split(numbers, ".")
	if len(nodes) != 3 {
		return fail("it needs three nodes, major.minor.patch")
	}
	p := Pattern{valid: true}
	for i, node := range nodes {
		if node == "x" {
			continue
		}
		n, err := parseNode(node, nodeNames[i])
		if err != nil {
			return fail("%w", err)
		}
		if p.fixed < i {
			return fail("every node to the right of an x must be x too")
		}
		p.nodes[i], p.fixed = n, i+1
	}
	if hasBuild {
		if p.fixed < 3 {
			return fail("a build number needs an exact version")
		}
		n, err := parseNode(build, "build number")
		if err != nil {
			return fail("%w", err)
		}
		if n == 0 {
			return fail("build numbers start at 1")
		}
		p.build = n
	}
	return p, nil
}

// Exactly is the pattern that only v matches; without a build number, every build of v.
func Exactly(v Version) Pattern {
	return Pattern{nodes: [3]int{v.Major, v.Minor, v.Patch}, fixed: 3, build: v.Build, valid: true}
}

// IsZero reports whether p is the zero value, which is no pattern.
func (p Pattern) IsZero() bool { return !p.valid }

// Exact gives the version p names, if it has no wildcard.
func (p Pattern) Exact() (Version, bool) {
	v := Version{Major: p.nodes[0], Minor: p.nodes[1], Patch: p.nodes[2], Build: p.build}
	return v, p.valid && p.fixed == 3
}

// Fixed gives the nodes that are numbers, from the left: none for x.x.x, one for 1.x.x, three for an exact version.
func (p Pattern) Fixed() []int { return p.nodes[:p.fixed:p.fixed] }

// Build is the build number asked for, 0 for any.
func (p Pattern) Build() int { return p.build }

// WithoutBuild is the pattern for every build of the version.
func (p Pattern) WithoutBuild() Pattern {
	p.build = 0
	return p
}

// String gives the pattern as ParsePattern reads it; "" for the zero value.
func (p Pattern) String() string {
	if !p.valid {
		return ""
	}
	nodes := []string{"x", "x", "x"}
	for i, n := range p.Fixed() {
		nodes[i] = strconv.Itoa(n)
	}
	s := strings.Join(nodes, ".")
	if p.build != 0 {
		s += "/" + strconv.Itoa(p.build)
	}
	return s
}

// Matches reports whether v is one of the versions p selects from.
func (p Pattern) Matches(v Version) bool {
	nodes := [3]int{v.Major, v.Minor, v.Patch}
	for i, n := range p.Fixed() {
		if nodes[i] != n {
			return false
		}
	}
	return p.valid && (p.build == 0 || p.build == v.Build)
}

// Select gives the newest of versions that matches, false if none does. With 2.2.4, 1.7.8 and 1.6.8, x.x.x selects
// 2.2.4, 1.x.x 1.7.8 and 1.6.x 1.6.8; a pattern without a build selects the latest build of the version.
func (p Pattern) Select(versions []Version) (latest Version, ok bool) {
	for _, v := range versions {
		if p.Matches(v) && (!ok || v.Compare(latest) > 0) {
			latest, ok = v, true
		}
	}
	return latest, ok
}

// ErrExhausted is wrapped by Next's error when the last node is at its limit.
var ErrExhausted = errors.New("no version is left")

// Next gives the version and build number that a new build gets, where existing are all versions and builds ever
// assigned. An exact version stays as it is and gets its next build number. A pattern with x takes the patch after the
// newest version that matches it, as build 1: with 1.0.4 and 1.2.7, the next of 1.0.x is 1.0.5, the next of 1.x.x is
// 1.2.8. The first version of a pattern has 0 for each x, but 1 for an x as the major version: 1.0.x starts at 1.0.0
// and so does x.x.x. A pattern with a build number assigns nothing and is an error.
func (p Pattern) Next(existing []Version) (Version, error) {
	if !p.valid || p.build != 0 {
		return Version{}, fmt.Errorf("version %q does not say which version comes next", p)
	}
	latest, found := p.Select(existing)
	next := latest
	switch {
	case p.fixed == 3:
		next, _ = p.Exact()
		next.Build = latest.Build + 1
	case found:
		next.Patch++
		next.Build = 1
	default:
		next = Version{Major: p.nodes[0], Minor: p.nodes[1], Patch: p.nodes[2], Build: 1}
		if p.fixed == 0 {
			next.Major = 1
		}
	}
	if next.Patch > MaxNode || next.Build > MaxNode {
		return Version{}, fmt.Errorf("version %s after %s: %w", p, latest, ErrExhausted)
	}
	return next, nil
}

// MarshalText writes the pattern as String does.
func (p Pattern) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (p *Pattern) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*p = Pattern{}
		return nil
	}
	parsed, err := ParsePattern(string(text))
	if err != nil {
		return err
	}
	*p = parsed
	return nil
}
