package vmdk

import (
	"fmt"
	"strings"

	"github.com/ingot-image/ingot/disk/image"
)

type extent struct {
	sectors    int64
	kind, name string
}

type descriptor struct {
	createType string
	sectors    int64
	extents    []extent
	parents    []image.Reference
}

// parseDescriptor reads the descriptor's text. It is lenient about form and strict about what may point elsewhere: any
// mention of a parent counts. At most 1024 extents are kept.
func parseDescriptor(text string) descriptor {
	var d descriptor
	cid, hint := "", ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			continue
		}
		if key, value, ok := strings.Cut(line, "="); ok && !strings.ContainsAny(strings.TrimSpace(key), " \t\"") {
			value = strings.Trim(strings.TrimSpace(value), `"`)
			switch strings.ToLower(strings.TrimSpace(key)) {
			case "createtype":
				d.createType = bounded(value, 64)
			case "parentcid":
				cid = strings.ToLower(value)
			case "parentfilenamehint":
				hint = bounded(value, 1024)
			}
			continue
		}
		f := strings.Fields(line)
		if len(f) < 3 || (f[0] != "RW" && f[0] != "RDONLY" && f[0] != "NOACCESS") || len(d.extents) >= 1024 {
			continue
		}
		var n int64
		if _, err := fmt.Sscanf(f[1], "%d", &n); err != nil || n < 0 || n >= 1<<53 {
			n = 0
		}
		if d.sectors < 1<<53 {
			d.sectors += n
		}
		name := ""
		if _, rest, ok := strings.Cut(line, `"`); ok {
			name, _, _ = strings.Cut(rest, `"`)
		}
		d.extents = append(d.extents, extent{n, f[2], bounded(name, 1024)})
	}
	if hint != "" || (cid != "" && cid != "ffffffff") {
		d.parents = append(d.parents, image.Reference{Kind: "parent", Name: hint})
	}
	return d
}

// references are the files that a reader would open with one in which the descriptor is embedded. It names its own file, often by an earlier
// name. More than one extent, or a path, is somebody else's file.
func (d descriptor) references() []image.Reference {
	refs := d.parents
	for i, e := range d.extents {
		if i > 0 || e.kind != "SPARSE" || strings.ContainsAny(e.name, "/\\") || e.name == ".." {
			refs = append(refs, image.Reference{Kind: "extent", Name: e.name})
		}
	}
	return refs
}

func bounded(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
