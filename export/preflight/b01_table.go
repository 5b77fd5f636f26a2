package preflight

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ingot-image/ingot/disk/inspect"
)

// partitionTable wants what firmware and AWS find partitions by: UEFI specification 2.10, section 5.3.2, for GPT's second copy.
func partitionTable() Check {
	return Check{
		ID: "B01", Title: "there is a partition table, and both copies of a GPT are in order and in their places", Needs: NeedContent,
		Looks:    "the partition table; of a GPT the checksums of both headers and both lists of entries, and where they are",
		Levels:   Levels{ImportImage: Fatal, ImportSnapshot: Warning, EBSDirect: Warning},
		Prevents: "ClientError: No valid partitions. Not a valid volume.",
		Fix:      "write both copies of the GPT anew: sgdisk -e FILE", Fixable: true,
		NoComponent: "what runs in a system leaves the partition table that it was booted from",
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			if t.Report == nil {
				seen := Seen{Where: "offset 0x1b8 to 0x1fe, and sector 1", What: "neither a partition table nor a file system", NotFixable: true, Fix: "check that this is the image that you mean"}
				if !errors.Is(t.ReportErr, inspect.ErrNoDisk) {
					seen.What = t.ReportErr.Error()
				}
				return []Seen{seen}, nil
			}
			p := t.Report.PartitionTable
			switch {
			case p.Kind == "none":
				return []Seen{{Where: "sector 0", What: "no partition table: a file system fills the disk", Prevents: noBootable, NotFixable: true,
					Fix: "put the file system into a partition, with a boot loader before it"}}, nil
			case p.Problem != "":
				// A disk that was cut off, as a rule: nothing finds its way on it.
				return []Seen{{Where: "the partition table", What: p.Problem, Level: Fatal, NotFixable: true, Fix: "copy the image again, whole, or correct the entry: sfdisk, or gdisk's expert menu"}}, nil
			case len(p.Partitions) == 0:
				return []Seen{{Where: "the partition table", What: "it has no partitions", Prevents: noBootable, NotFixable: true, Fix: "check that this is the image that you mean"}}, nil
			case p.Kind == "mbr":
				if !slices.ContainsFunc(p.Partitions, func(p inspect.Partition) bool { return p.Active }) {
					return []Seen{{Where: "offset 0x1be to 0x1fe", What: "no partition is marked active", Level: Warning, Prevents: noBootable,
						NotFixable: true, Fix: "mark the one that is booted: sfdisk --activate FILE NUMBER"}}, nil
				}
				return nil, nil
			}
			last := t.Report.Size/512 - 1
			switch {
			case !p.PrimaryValid:
				return []Seen{{Where: "sector 1", What: "the first copy of the GPT is damaged"}}, nil
			case !p.BackupValid:
				return []Seen{{Where: fmt.Sprintf("sector %d", last), What: "the second copy of the GPT is missing or damaged: the disk may have been cut off"}}, nil
			case !p.BackupAtEnd:
				return []Seen{{Where: fmt.Sprintf("sector %d", last), What: "the second copy of the GPT is not in the disk's last sector: the disk has grown"}}, nil
			}
			return nil, nil
		},
	}
}

const noBootable = "Client.Unsupported: No bootable partition found"
