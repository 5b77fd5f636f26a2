package preflight

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ingot-image/ingot/disk"
)

// containerFormat compares what the file is said to be with what it is: a VHD that is uploaded as raw passes ImportSnapshot, and never boots.
func containerFormat() Check {
	return Check{
		ID: "A01", Title: "the file is of a format that AWS takes, and of the one that it is declared to be", Needs: NeedFile,
		Looks:    "the file's first and last bytes, and its name or --format",
		Levels:   Levels{ImportImage: Fatal, ImportSnapshot: Fatal, EBSDirect: Fatal},
		Prevents: "ClientError: No valid partitions. Not a valid volume.",
		Fix:      "convert it: ingot convert IMAGE FILE.vmdk, or FILE.raw for EBS direct", Fixable: true,
		NoComponent: "a build writes its files itself, in the formats of distribution.formats",
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			var seen []Seen
			content := t.Info.Format
			if declared := t.declared(); declared != "" && declared != content {
				seen = append(seen, Seen{Where: "the file's first bytes", What: fmt.Sprintf("%s, but it is declared as %s", content, declared),
					Fix: "give it the name or the format that it has: --format " + string(content)})
			}
			takes := takenBy(t.Request.Path)
			switch {
			case slices.Contains(takes, content) || t.Request.Converted && t.Disk != nil:
			case t.Request.Path == EBSDirect:
				seen = append(seen, Seen{Where: "the file's first bytes", What: fmt.Sprintf("%s: EBS direct takes the disk's blocks as they are, which is raw", content),
					Prevents: "no message: the AMI does not boot", NotFixable: t.Disk == nil})
			default:
				seen = append(seen, Seen{Where: "the file's first bytes", What: fmt.Sprintf("%s, and %s takes %s", content, t.Request.Path, names(takes)),
					Prevents: "InvalidParameter: disk-image-size=0 has an invalid format", NotFixable: t.Disk == nil})
			}
			return seen, nil
		},
	}
}

// takenBy lists the formats that a path takes.
func takenBy(p Path) []disk.Format {
	switch p {
	case EBSDirect:
		return []disk.Format{disk.Raw}
	case ImportImage:
		return []disk.Format{disk.OVA, disk.VMDK, disk.VHD, disk.VHDX, disk.Raw}
	}
	return []disk.Format{disk.VMDK, disk.VHD, disk.VHDX, disk.Raw}
}

func names(formats []disk.Format) string {
	var out []string
	for _, f := range formats {
		out = append(out, string(f))
	}
	return strings.Join(out, ", ")
}

// declared is the format that the request or the file's name says that the content has, "" if neither does. Of variants the content's format is told, and
// of an .img nothing: many of that name are qcow2.
func (t *Target) declared() disk.Format {
	f, ok := t.Request.Format, true
	if f == "" {
		if filepath.Ext(t.Name) == ".img" {
			return ""
		}
		if f, ok = disk.FormatToWrite(t.Name); !ok {
			return ""
		}
	}
	switch f {
	case disk.RawGzip:
		return disk.Gzip
	case disk.RawZstd:
		return disk.Zstd
	case disk.Qcow2Zstd:
		return disk.Qcow2
	case disk.VHDFixed:
		return disk.VHD
	}
	return f
}
