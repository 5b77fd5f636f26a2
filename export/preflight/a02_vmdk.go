package preflight

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/disk/vmdk"
)

// streamOptimized wants the one kind of VMDK that AWS reads: "Virtual Disk Format 5.0", section "Stream-Optimized Compressed Sparse Extents".
func streamOptimized() Check {
	return Check{
		ID: "A02", Title: "a VMDK is streamOptimized: compressed by deflate, with a footer", Needs: NeedFile,
		Looks:    "the VMDK's header, its embedded descriptor, and the footer at the file's end",
		Levels:   Levels{ImportImage: Fatal, ImportSnapshot: Fatal},
		Prevents: unsupportedVMDK,
		Fix:      "write it anew: ingot convert IMAGE FILE.vmdk", Fixable: true,
		NoComponent: "a build writes its files itself, in the formats of distribution.formats",
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			switch {
			case t.Info.Format != disk.VMDK:
				return nil, meaningless("the file is no VMDK")
			case t.Request.Converted && t.Disk != nil:
				return nil, meaningless("the disk is written anew on its way")
			}
			seen, err := notStreamOptimized(t.content, t.Info.FileSize)
			for i := range seen {
				seen[i].NotFixable = t.Disk == nil
			}
			return seen, err
		},
	}
}

const unsupportedVMDK = "ClientError: Disk validation failed [Unsupported VMDK File Format]"

// notStreamOptimized tells why a VMDK of size bytes is not what AWS reads. The error is one of reading it.
func notStreamOptimized(r io.ReaderAt, size int64) ([]Seen, error) {
	info, damage := vmdk.Probe(r, size)
	header := make([]byte, min(size, 512))
	if _, err := io.ReadFull(io.NewSectionReader(r, 0, int64(len(header))), header); err != nil {
		return nil, fmt.Errorf("read the header of the VMDK: %w", err)
	}
	if !bytes.HasPrefix(header, []byte("KDMV")) || len(header) < 512 {
		return []Seen{{Where: "the header", What: fmt.Sprintf("createType %q", info.Variant)}}, nil
	}
	// The members of SparseExtentHeader: flags, gdOffset and compressAlgorithm.
	le := binary.LittleEndian
	flags, directory, algorithm := le.Uint32(header[8:]), le.Uint64(header[56:]), le.Uint16(header[77:])
	const (
		compressed = 1 << 16
		markers    = 1 << 17
		atEnd      = 1<<64 - 1
	)
	var seen []Seen
	switch {
	case flags&compressed == 0 || flags&markers == 0 || damage == nil && info.Variant != "streamOptimized":
		return append(seen, Seen{Where: "the header", What: fmt.Sprintf("createType %q, flags %#x", info.Variant, flags)}), nil
	case algorithm != 1:
		seen = append(seen, Seen{Where: "offset 77", What: fmt.Sprintf("compression algorithm %d, and deflate is 1", algorithm),
			Prevents: fmt.Sprintf("ClientError: File uses unsupported compression algorithm %d", algorithm)})
	case !hasFooter(r, size) && directory == atEnd:
		seen = append(seen, Seen{Where: "the file's end", What: "no footer, though the header says that the grain directory's place is in it: the file is cut off"})
	case !hasFooter(r, size):
		seen = append(seen, Seen{Where: "the file's end", Level: Warning, What: "no footer: the file was written by a program such as qemu-img, which AWS takes as a rule"})
	}
	if damage != nil && len(seen) == 0 {
		seen = append(seen, Seen{Where: "the tables", What: damage.Error(), Prevents: "ClientError: Uncompressed data has an invalid length"})
	}
	return seen, nil
}

// hasFooter tells whether a file ends in a footer's marker, a footer and the marker of the stream's end, a sector each.
func hasFooter(r io.ReaderAt, size int64) bool {
	const sector, markerFooter = 512, 3
	b := make([]byte, 3*sector)
	if size < int64(len(b)) {
		return false
	}
	if _, err := io.ReadFull(io.NewSectionReader(r, size-int64(len(b)), int64(len(b))), b); err != nil {
		return false
	}
	return binary.LittleEndian.Uint32(b[12:]) == markerFooter && bytes.HasPrefix(b[sector:], []byte("KDMV")) && len(bytes.Trim(b[2*sector:], "\x00")) == 0
}
