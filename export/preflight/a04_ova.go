package preflight

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/disk/ova"
)

const unsupportedOVA = "ClientError: Disk validation failed [Unsupported OVA format]"

// ovaLayout walks the archive as AWS does: DMTF DSP0243 1.1, sections 5.1 and 5.3, and what VM Import asks for beyond that.
func ovaLayout() Check {
	return Check{
		ID: "A04", Title: "an OVA begins with its OVF, its digests are right, its disks are whole and streamOptimized", Needs: NeedFile,
		Looks:    "the order of the archive's members, the OVF's References and DiskSection, the manifest's digests, each disk's header",
		Levels:   Levels{ImportImage: Fatal},
		Prevents: unsupportedOVA,
		Fix:      "write it anew: ingot convert IMAGE FILE.ova", Fixable: true,
		NoComponent: "a build writes its files itself, in the formats of distribution.formats",
		look: func(ctx context.Context, t *Target) ([]Seen, error) {
			switch {
			case t.Info.Format != disk.OVA:
				return nil, meaningless("the file is no OVA")
			case t.Request.Converted && t.Disk != nil:
				return nil, meaningless("the disk is written anew on its way")
			}
			s, damage := ova.Look(t.content, t.Info.FileSize)
			seen, err := badLayout(ctx, t, s, damage)
			for i := range seen {
				seen[i].NotFixable = t.Disk == nil
			}
			return seen, err
		},
	}
}

func badLayout(ctx context.Context, t *Target, s *ova.Survey, damage error) ([]Seen, error) {
	var seen []Seen
	var damaged *disk.FormatError
	switch {
	case errors.As(damage, &damaged):
		seen = append(seen, Seen{Where: "the archive", What: damaged.Reason})
	case damage != nil:
		return nil, damage
	}
	if len(s.Members) > 0 && !s.DescriptorFirst() {
		seen = append(seen, Seen{Where: "member 1", What: fmt.Sprintf("%q comes first, where the OVF has to be", s.Members[0].Name)})
	}
	for _, f := range s.Files {
		if f.Chunked {
			seen = append(seen, Seen{Where: "the OVF, References", What: fmt.Sprintf("the file %q is in chunks", f.Name),
				Prevents: "ClientError: Disk validation failed [OVF file parsing error: OVA with chunked disk files is not supported]"})
		}
		if f.Compression != "" && f.Compression != "identity" {
			seen = append(seen, Seen{Where: "the OVF, References", What: fmt.Sprintf("the file %q is compressed as a whole by %s", f.Name, f.Compression)})
		}
	}
	for _, d := range s.Disks {
		if !strings.HasSuffix(d.Format, "#streamOptimized") {
			seen = append(seen, Seen{Where: fmt.Sprintf("the OVF, disk %q", d.Name), What: fmt.Sprintf("format %q, which does not end in #streamOptimized", d.Format), Prevents: unsupportedVMDK})
		}
		for _, m := range s.Members {
			if m.Name != path.Clean(d.Name) {
				continue
			}
			wrong, err := notStreamOptimized(s.Content(m), m.Size)
			if err != nil {
				return nil, err
			}
			for _, w := range wrong {
				w.Where = fmt.Sprintf("member %q, %s", m.Name, w.Where)
				if w.Prevents == "" {
					w.Prevents = unsupportedVMDK
				}
				seen = append(seen, w)
			}
		}
	}
	if damage == nil && t.Disk == nil { // else its digests were compared when it was opened
		err := s.Verify(ctx)
		switch {
		case errors.As(err, &damaged):
			seen = append(seen, Seen{Where: "the manifest", What: damaged.Reason})
		case err != nil && !errors.Is(err, ova.ErrNoManifest):
			return nil, err
		}
	}
	return seen, nil
}
