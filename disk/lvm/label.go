package lvm

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/ingot-image/ingot/disk/image"
)

const (
	sector       = image.SectorSize
	labelSectors = 4 // that are searched for the label (LABEL_SCAN_SECTORS)
	idLength     = 32
	// headerSize is that of a metadata area's header (MDA_HEADER_SIZE).
	headerSize = 512
	// maxMetadata bounds a text, in bytes. LVM's areas are 1 MiB by default; a group of 10 000 volumes takes about 5 MiB.
	maxMetadata = 32 << 20
	maxAreas    = 8 // of metadata: LVM makes two at most
)

var (
	labelMagic    = []byte("LABELONE")
	labelType     = []byte("LVM2 001")
	metadataMagic = []byte(" LVM2 x[5A%r0N*>")
)

// area is a part of a physical volume, in bytes.
type area struct{ offset, size int64 }

// label is what a physical volume's label and header say (struct label_header and struct pv_header).
type label struct {
	uuid     string // without dashes
	metadata []area
}

// checksum is LVM's CRC-32: that of IEEE 802.3 with another start and no inversion at the end (lib/misc/crc.c).
func checksum(b []byte) uint32 {
	const initial = 0xf597a6cf
	return ^crc32.Update(^uint32(initial), crc32.IEEETable, b)
}

func readLabel(src image.Source) (*label, error) {
	b := make([]byte, min(labelSectors*sector, max(src.Size(), 0)))
	if _, err := io.ReadFull(io.NewSectionReader(src, 0, int64(len(b))), b); err != nil {
		return nil, fmt.Errorf("read the label: %w", err)
	}
	var damage error
	for at := 0; at+sector <= len(b); at += sector {
		s := b[at : at+sector]
		if !bytes.Equal(s[:8], labelMagic) || !bytes.Equal(s[24:32], labelType) {
			continue
		}
		l, err := parseLabel(s, uint64(at/sector))
		if err == nil {
			return l, nil
		}
		damage = cmp.Or(damage, fmt.Errorf("the label in sector %d: %w", at/sector, err))
	}
	if damage != nil {
		return nil, damage
	}
	return nil, ErrNoLabel
}

// parseLabel reads a label in a sector.
func parseLabel(s []byte, number uint64) (*label, error) {
	le := binary.LittleEndian
	if got := le.Uint64(s[8:]); got != number {
		return nil, fmt.Errorf("it says that it is in sector %d", got)
	}
	if le.Uint32(s[16:]) != checksum(s[20:]) {
		return nil, errors.New("its checksum is wrong")
	}
	at := le.Uint32(s[20:])
	if at < 32 || at > sector-idLength-8 {
		return nil, fmt.Errorf("its header is at byte %d", at)
	}
	l := &label{uuid: string(s[at : at+idLength])}
	rest := s[at+idLength+8:]
	// Two lists of areas, each ended by an empty one: data, then metadata.
	for list := range 2 {
		for {
			if len(rest) < 16 {
				return nil, errors.New("its lists of areas do not end")
			}
			offset, size := le.Uint64(rest), le.Uint64(rest[8:])
			rest = rest[16:]
			if offset == 0 {
				break
			}
			if list == 1 {
				if len(l.metadata) == maxAreas {
					return nil, fmt.Errorf("it names more than %d metadata areas", maxAreas)
				}
				l.metadata = append(l.metadata, area{int64(offset), int64(size)})
			}
		}
	}
	return l, nil
}

// readMetadata gives the current text of a metadata area, nil if it has none or is not to be used.
func readMetadata(src image.Source, a area) ([]byte, error) {
	fail := func(format string, args ...any) ([]byte, error) {
		return nil, fmt.Errorf("the metadata area at byte %d: %s", a.offset, fmt.Sprintf(format, args...))
	}
	if a.offset < 0 || a.size < headerSize || a.offset > src.Size() || a.size > src.Size()-a.offset {
		return fail("it is %d bytes, and reaches beyond the end of the physical volume (%d bytes)", a.size, src.Size())
	}
	header := make([]byte, headerSize)
	if _, err := io.ReadFull(io.NewSectionReader(src, a.offset, headerSize), header); err != nil {
		return nil, fmt.Errorf("read the metadata area at byte %d: %w", a.offset, err)
	}
	le := binary.LittleEndian
	switch {
	case !bytes.Equal(header[4:20], metadataMagic):
		return fail("its header is not there")
	case le.Uint32(header) != checksum(header[4:]):
		return fail("the checksum of its header is wrong")
	case le.Uint32(header[20:]) != 1:
		return fail("it is of version %d, which is not known", le.Uint32(header[20:]))
	}
	// The first place (struct raw_locn) is that of the committed text.
	const ignored = 1
	offset, size := le.Uint64(header[40:]), le.Uint64(header[48:])
	sum, flags := le.Uint32(header[56:]), le.Uint32(header[60:])
	if offset == 0 || flags&ignored != 0 {
		return nil, nil
	}
	if offset < headerSize || offset >= uint64(a.size) || size > uint64(a.size)-headerSize || size > maxMetadata {
		return fail("its text of %d bytes at %d does not fit", size, offset)
	}
	text := make([]byte, size)
	first := min(size, uint64(a.size)-offset)
	_, err := io.ReadFull(io.NewSectionReader(src, a.offset+int64(offset), int64(first)), text[:first])
	if err == nil { // it goes on behind the header
		_, err = io.ReadFull(io.NewSectionReader(src, a.offset+headerSize, int64(size-first)), text[first:])
	}
	if err != nil {
		return nil, fmt.Errorf("read the metadata area at byte %d: %w", a.offset, err)
	}
	if checksum(text) != sum {
		return fail("the checksum of its text is wrong")
	}
	return text, nil
}
