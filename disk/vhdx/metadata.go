package vhdx

import (
	"encoding/binary"
	"unicode/utf16"

	"github.com/ingot-image/ingot/disk/image"
)

const (
	fixed        = "fixed"
	dynamic      = "dynamic"
	differencing = "differencing"

	maxBlock = 256 * mib
	maxItem  = 1 * mib
	maxDisk  = 64 << 40
)

// metadata is what section 2.6.2 names.
type metadata struct {
	variant string
	size    int64 // of the disk
	block   int64 // size of a block
	sector  int64 // logical
	parent  string
}

// readMetadata reads the metadata table and the items that matter here. With an error it returns what it has found.
func readMetadata(file image.Headers, at region) (metadata, error) {
	le := binary.LittleEndian
	var m metadata
	table, err := file.At("metadata table", at.start, tableSize)
	if err != nil {
		return m, err
	}
	if string(table[:8]) != "metadata" {
		return m, image.Damaged(image.VHDX, "no metadata table at offset %d", at.start)
	}
	n := le.Uint16(table[10:])
	if n > maxEntries {
		return m, image.Damaged(image.VHDX, "metadata table of %d entries", n)
	}
	type item struct{ off, size int64 }
	items := map[guid]item{}
	known := knownItems()
	for i := range int(n) {
		e := table[32+32*i:]
		id, off, size, flags := guid(e[:16]), int64(le.Uint32(e[16:])), int64(le.Uint32(e[20:])), le.Uint32(e[24:])
		const isUser, isRequired = 1, 4
		if flags&isUser != 0 {
			if flags&isRequired != 0 {
				return m, image.Damaged(image.VHDX, "it has a metadata item %s, which this program does not know and must not leave out", id)
			}
			continue
		}
		if _, ok := known[id]; !ok {
			if flags&isRequired != 0 {
				return m, image.Damaged(image.VHDX, "it has a metadata item %s, which this program does not know and must not leave out", id)
			}
			continue
		}
		if _, twice := items[id]; twice {
			return m, image.Damaged(image.VHDX, "two metadata items %s", id)
		}
		if size > maxItem || off < tableSize || off > at.size || size > at.size-off {
			return m, image.Damaged(image.VHDX, "metadata item %s of %d bytes at offset %d of a region of %d", id, size, off, at.size)
		}
		items[id] = item{at.start + off, size}
	}
	read := func(id guid, least int64) ([]byte, error) {
		i, ok := items[id]
		if !ok || i.size < least {
			return nil, image.Damaged(image.VHDX, "its metadata lacks the %s", known[id])
		}
		return file.At(known[id], i.off, i.size)
	}
	for _, i := range []struct {
		id    guid
		least int64
		set   func([]byte) error
	}{
		{idFile(), 8, func(b []byte) error { return m.setFile(le.Uint32(b), le.Uint32(b[4:])) }},
		{idSectorSize(), 4, func(b []byte) error { return m.setSector(le.Uint32(b)) }},
		{idDiskSize(), 8, func(b []byte) error { return m.setSize(le.Uint64(b)) }},
	} {
		b, err := read(i.id, i.least)
		if err == nil {
			err = i.set(b)
		}
		if err != nil {
			return m, err
		}
	}
	if m.size%m.sector != 0 {
		return m, image.Damaged(image.VHDX, "disk of %d bytes in sectors of %d", m.size, m.sector)
	}
	if m.variant == differencing {
		b, err := read(idParent(), 20)
		if err != nil {
			return m, err
		}
		m.parent = parentName(b)
	}
	return m, nil
}

func idFile() guid       { return parseGUID("CAA16737-FA36-4D43-B3B6-33F0AA44E76B") }
func idDiskSize() guid   { return parseGUID("2FA54224-CD1B-4876-B211-5DBED83BF4B8") }
func idSectorSize() guid { return parseGUID("8141BF1D-A96F-4709-BA47-F233A8FAAB5F") }
func idParent() guid     { return parseGUID("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C") }

// knownItems names the items of section 2.6.2.
func knownItems() map[guid]string {
	return map[guid]string{
		idFile(): "file parameters", idDiskSize(): "virtual disk size", idSectorSize(): "logical sector size", idParent(): "parent locator",
		parseGUID("BECA12AB-B2E6-4523-93EF-C309E000C746"): "virtual disk ID",
		parseGUID("CDA348C7-445D-4471-9CC9-E9885251C556"): "physical sector size",
	}
}

func (m *metadata) setSize(size uint64) error {
	if size > maxDisk {
		return image.Damaged(image.VHDX, "disk of %d bytes, 64 TiB is the most", size)
	}
	m.size = int64(size)
	return nil
}

func (m *metadata) setSector(size uint32) error {
	if size != 512 && size != 4096 {
		return image.Damaged(image.VHDX, "sectors of %d bytes", size)
	}
	m.sector = int64(size)
	return nil
}

func (m *metadata) setFile(block, flags uint32) error {
	const leaveAllocated, hasParent = 1, 2
	if block < mib || block > maxBlock || block&(block-1) != 0 {
		return image.Damaged(image.VHDX, "blocks of %d bytes", block)
	}
	m.block = int64(block)
	switch {
	case flags&hasParent != 0:
		m.variant = differencing
	case flags&leaveAllocated != 0:
		m.variant = fixed
	default:
		m.variant = dynamic
	}
	return nil
}

// parentName finds the parent's path in a parent locator, section 2.6.2.6: in the order in which an implementation has to try them.
func parentName(b []byte) string {
	le := binary.LittleEndian
	text := func(off uint32, size uint16) string {
		if int64(off)+int64(size) > int64(len(b)) {
			return ""
		}
		u := make([]uint16, size/2)
		for i := range u {
			u[i] = le.Uint16(b[int(off)+2*i:])
		}
		return string(utf16.Decode(u))
	}
	values := map[string]string{}
	for i := range int(le.Uint16(b[18:])) {
		if 20+12*(i+1) > len(b) {
			break
		}
		e := b[20+12*i:]
		if key := text(le.Uint32(e), le.Uint16(e[8:])); len(key) <= len("absolute_win32_path") {
			values[key] = text(le.Uint32(e[4:]), le.Uint16(e[10:]))
		}
	}
	for _, key := range []string{"relative_path", "volume_path", "absolute_win32_path"} {
		if v := values[key]; v != "" {
			return v
		}
	}
	return "a file that it does not name"
}
