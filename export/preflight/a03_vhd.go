package preflight

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ingot-image/ingot/disk"
)

// vhdFooters reads both copies of a VHD's footer: "Virtual Hard Disk Image Format Specification" 1.0, section "Hard Disk Footer Format".
func vhdFooters() Check {
	return Check{
		ID: "A03", Title: "the footers of a VHD agree, their checksums are right, and it is fixed or dynamic", Needs: NeedFile,
		Looks:    "the VHD's footer, the copy of it at the file's start, and the dynamic disk's header",
		Levels:   Levels{ImportImage: Fatal, ImportSnapshot: Fatal},
		Prevents: "ClientError: Footers not identical",
		Fix:      "write it anew from the disk that it was made of: ingot convert IMAGE FILE.vhd", Fixable: true,
		NoComponent: "a build writes its files itself, in the formats of distribution.formats",
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			if t.Info.Format != disk.VHD {
				return nil, meaningless("the file is no VHD")
			}
			seen, err := badFooters(t.content, t.Info.FileSize)
			if err != nil {
				return nil, err
			}
			var damaged *disk.FormatError
			if len(seen) == 0 && errors.As(t.InfoErr, &damaged) {
				seen = append(seen, Seen{Where: "the headers", What: damaged.Reason})
			}
			for i := range seen {
				seen[i].NotFixable = t.Disk == nil
			}
			return seen, nil
		},
	}
}

func badFooters(r io.ReaderAt, size int64) ([]Seen, error) {
	const length, fixed, dynamic = 512, 2, 3
	if size < length {
		return []Seen{{Where: "the file's end", What: fmt.Sprintf("the file has %d bytes: not even a footer", size)}}, nil
	}
	foot, head := make([]byte, length), make([]byte, length)
	for off, b := range map[int64][]byte{size - length: foot, 0: head} {
		if _, err := io.ReadFull(io.NewSectionReader(r, off, length), b); err != nil {
			return nil, fmt.Errorf("read the footers of the VHD: %w", err)
		}
	}
	be, end := binary.BigEndian, fmt.Sprintf("offset %d", size-length)
	if !bytes.HasPrefix(foot, []byte("conectix")) {
		return []Seen{{Where: end, What: "no footer: the file is cut off, or something was added to it"}}, nil
	}
	var seen []Seen
	if stored, right := be.Uint32(foot[64:]), vhdChecksum(foot); stored != right {
		seen = append(seen, Seen{Where: fmt.Sprintf("offset %d", size-length+64), What: fmt.Sprintf("the footer's checksum is %#08x, and %#08x would be right", stored, right)})
	}
	kind := be.Uint32(foot[60:])
	if kind != fixed && kind != dynamic {
		seen = append(seen, Seen{Where: fmt.Sprintf("offset %d", size-length+60), What: fmt.Sprintf("disk type %d: fixed is 2, dynamic 3, a differencing disk 4", kind)})
	}
	if kind != fixed && !bytes.Equal(foot, head) {
		at := 0
		for foot[at] == head[at] {
			at++
		}
		seen = append(seen, Seen{Where: fmt.Sprintf("offset %d and offset %d", at, size-length+int64(at)), What: fmt.Sprintf("the footer's copies differ: %#02x and %#02x", head[at], foot[at])})
	}
	return seen, nil
}

// vhdChecksum is the one's complement of the sum of all bytes but the checksum's own.
func vhdChecksum(footer []byte) uint32 {
	var sum uint32
	for i, b := range footer {
		if i < 64 || i >= 68 {
			sum += uint32(b)
		}
	}
	return ^sum
}
