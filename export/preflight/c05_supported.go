package preflight

import (
	"cmp"
	"context"
	"fmt"
	"strings"
)

// supportedSystem looks the distribution, its version and the default kernel up in AWS's table: see [OSList].
func supportedSystem() Check {
	return Check{
		ID: "C05", Title: "the distribution, its version and its default kernel are in AWS's table", Needs: NeedSystem,
		Looks:       "os-release, /etc/debian_version and its kin, the version in the default kernel's header, and AWS's table (oslist.json, of 2026-10)",
		Levels:      Levels{ImportImage: Fatal},
		Prevents:    unknownOS,
		Fix:         "import by import-snapshot or ebs-direct, which take any system",
		NoComponent: "AWS takes the systems of its table only",
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			list, err := ReadOSList()
			if err != nil {
				return nil, err
			}
			os := t.Report.System.OS
			version, table := os.VersionID, "the table of "+list.Date
			if strings.HasPrefix(os.Minor, version) {
				version = os.Minor
			}
			where := cmp.Or(os.From, "/etc/os-release")
			d := list.Distribution(os.ID)
			if d == nil {
				return []Seen{{Where: where, What: fmt.Sprintf("%s is not in %s", cmp.Or(os.PrettyName, os.ID, "a system without a name"), table)}}, nil
			}
			release, exact := d.Release(version)
			if release == nil {
				return []Seen{{Where: where, What: fmt.Sprintf("%s %s is not in %s", d.Name, version, table)}}, nil
			}
			k := t.kernel()
			if k == nil || k.Version == "" {
				return []Seen{{Where: "/boot", What: "the version of the default kernel is not known", Prevents: "ClientError: Unable to determine kernel version"}}, nil
			}
			if !release.Takes(k.Version) {
				return []Seen{{Where: k.Path, What: fmt.Sprintf("kernel %s; %s has for %s %s: %s", k.Version, table, d.Name, strings.Join(release.Versions, ", "), strings.Join(release.Kernels, ", ")),
					Prevents: "ClientError: Unsupported kernel version " + k.Version,
					Fix:      "boot a kernel of the table by default, or import by import-snapshot or ebs-direct"}}, nil
			}
			if !exact {
				return []Seen{{Where: where, Level: Warning, What: fmt.Sprintf("%s %s: %s has %s, and the same kernel", d.Name, version, table, strings.Join(release.Versions, ", "))}}, nil
			}
			return nil, nil
		},
	}
}
