package preflight

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

//go:embed oslist.json
var osListFile []byte

// OSList is what ImportImage takes: a dated copy of AWS's table, which changes every few months.
type OSList struct {
	Date          string         `json:"date"`   // year and month of the copy
	Source        string         `json:"source"` // the page that it is of
	Distributions []Distribution `json:"distributions"`
}

// Distribution is a Linux distribution in an [OSList].
type Distribution struct {
	Name     string    `json:"name"`
	IDs      []string  `json:"ids"` // as ID in os-release(5)
	Releases []Release `json:"releases"`
}

// Release are versions with the kernels that are taken with them.
type Release struct {
	Versions []string `json:"versions"` // "9" with all below it, "12.7", or "9.0-9.7" with both ends
	// Kernels are beginnings of versions: "5.15.0" is also 5.15.0-100; "5.15.0 uek" wants uek in the rest. Empty: the page names none.
	Kernels []string `json:"kernels"`
	Except  []string `json:"except,omitempty"` // beginnings that are refused all the same
}

// ReadOSList reads the table that this program was built with.
func ReadOSList() (*OSList, error) {
	var l OSList
	if err := json.Unmarshal(osListFile, &l); err != nil {
		return nil, fmt.Errorf("read the list of operating systems: %w", err)
	}
	return &l, nil
}

// Distribution finds a distribution by its ID of os-release(5), nil if it is not listed.
func (l *OSList) Distribution(id string) *Distribution {
	for i := range l.Distributions {
		if slices.Contains(l.Distributions[i].IDs, id) {
			return &l.Distributions[i]
		}
	}
	return nil
}

// Release finds the release of a version such as 12.7. Exact is false where only others of the same major version are listed: Release is then the nearest
// one, nil if there is none.
func (d *Distribution) Release(version string) (r *Release, exact bool) {
	major, _, _ := strings.Cut(version, ".")
	for i := range d.Releases {
		for _, listed := range d.Releases[i].Versions {
			if inVersions(version, listed) {
				return &d.Releases[i], true
			}
			if m, _, _ := strings.Cut(listed, "."); m == major {
				r = &d.Releases[i]
			}
		}
	}
	return r, false
}

// Takes tells whether a kernel, as uname -r says, is one of the release's.
func (r *Release) Takes(kernel string) bool {
	if slices.ContainsFunc(r.Except, func(e string) bool { return begins(kernel, e) }) {
		return false
	}
	uek := strings.Contains(kernel, "uek")
	return len(r.Kernels) == 0 || slices.ContainsFunc(r.Kernels, func(k string) bool {
		listed, flavour, _ := strings.Cut(k, " ")
		return begins(kernel, listed) && uek == (flavour == "uek")
	})
}

// begins tells whether a version begins with another one, number by number: 4.15.0-1021 with 4.15, and 4.150 not.
func begins(version, with string) bool {
	rest, ok := strings.CutPrefix(version, with)
	return ok && (rest == "" || rest[0] < '0' || rest[0] > '9')
}

// inVersions tells whether a version is one of those listed as "9", "12.7" or "9.0-9.7". A version that says less, such as 9 of a rolling release, is in.
func inVersions(version, listed string) bool {
	first, last, ok := strings.Cut(listed, "-")
	if !ok {
		last = first
	}
	v := numbers(version)
	return compareNumbers(v, numbers(first)) >= 0 && compareNumbers(v, numbers(last)) <= 0
}

func numbers(version string) []int {
	var out []int
	for part := range strings.SplitSeq(version, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			break
		}
		out = append(out, n)
	}
	return out
}

// compareNumbers compares as many numbers as both have.
func compareNumbers(a, b []int) int {
	n := min(len(a), len(b))
	return slices.Compare(a[:n], b[:n])
}
