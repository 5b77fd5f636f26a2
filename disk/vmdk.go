package disk

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
)

// vmdkMaxDescriptor is the longest descriptor that is read; real ones are a few hundred bytes.
const vmdkMaxDescriptor = 1 << 20

// vmdk reads a VMDK: either a sparse extent with its descriptor embedded, or a descriptor alone.
// VMware, "Virtual Disk Format 5.0", sections "Hosted Sparse Extent" and "The Descriptor File".
func (m image) vmdk() (Info, error) {
	magic, err := m.at(VMDK, "header", 0, min(m.size, 4))
	if err != nil {
		return Info{}, err
	}
	switch string(magic) {
	case "KDMV":
		return m.vmdkSparse()
	case "COWD":
		return Info{Variant: "COWD (ESX 3)"}, nil
	}
	text, err := m.at(VMDK, "descriptor", 0, min(m.size, vmdkMaxDescriptor))
	if err != nil {
		return Info{}, err
	}
	d := parseVMDKDescriptor(string(text))
	info := Info{Variant: d.createType, VirtualSize: d.sectors * 512, References: d.parents}
	for _, e := range d.extents {
		info.References = append(info.References, Reference{"extent", e.name})
	}
	if info.Variant == "" {
		info.Variant = "descriptor"
	}
	return info, nil
}

const (
	vmdkCompressed = 1 << 16
	vmdkMarkers    = 1 << 17
	vmdkGDAtEnd    = 1<<64 - 1
)

func (m image) vmdkSparse() (Info, error) {
	le := binary.LittleEndian
	info := Info{Variant: "monolithicSparse"}
	h, err := m.at(VMDK, "header", 0, 512)
	if err != nil {
		return info, err
	}
	// A streamOptimized file has its grain directory's place only in the footer, the 512 bytes before the end-of-stream marker.
	if le.Uint64(h[56:]) == vmdkGDAtEnd {
		f, err := m.at(VMDK, "footer", m.size-1024, 512)
		if err != nil {
			return info, err
		}
		if string(f[:4]) != "KDMV" || le.Uint64(f[56:]) == vmdkGDAtEnd {
			return info, damaged(VMDK, "no footer at the end: the file is cut off")
		}
		if le.Uint64(f[12:]) != le.Uint64(h[12:]) || le.Uint64(f[20:]) != le.Uint64(h[20:]) || le.Uint32(f[44:]) != le.Uint32(h[44:]) {
			return info, damaged(VMDK, "header and footer do not agree")
		}
		copy(h[56:64], f[56:64])
	}
	if v := le.Uint32(h[4:]); v < 1 || v > 3 {
		return info, damaged(VMDK, "unknown version %d", v)
	}
	flags := le.Uint32(h[8:])
	info.Compressed = flags&vmdkCompressed != 0
	if alg := le.Uint16(h[77:]); info.Compressed && alg != 1 {
		return info, damaged(VMDK, "unknown compression algorithm %d", alg)
	}
	capacity, grain := le.Uint64(h[12:]), le.Uint64(h[20:])
	// Readers take capacity 0 to mean "use the descriptor instead", and with it any file it names.
	if capacity == 0 || capacity > 1<<53 {
		return info, damaged(VMDK, "capacity of %d sectors", capacity)
	}
	if grain < 1 || grain > 0x200000 || grain&(grain-1) != 0 {
		return info, damaged(VMDK, "grain size of %d sectors", grain)
	}
	info.VirtualSize, info.ClusterSize = int64(capacity)*512, int64(grain)*512
	d, err := m.vmdkEmbedded(le.Uint64(h[28:]), le.Uint64(h[36:]))
	if err != nil {
		return info, err
	}
	info.References = append(info.References, d.parents...)
	if d.createType != "" {
		info.Variant = d.createType
	}
	// The embedded descriptor names its own file, often by an earlier name. More than one extent, or a path, is somebody else's file.
	if len(d.extents) > 1 {
		for _, e := range d.extents[1:] {
			info.References = append(info.References, Reference{"extent", e.name})
		}
	}
	if len(d.extents) > 0 {
		if e := d.extents[0]; e.kind != "SPARSE" || strings.ContainsAny(e.name, "/\\") || e.name == ".." {
			info.References = append(info.References, Reference{"extent", e.name})
		}
	}
	return info, m.vmdkTables(info, capacity, grain, le.Uint32(h[44:]), le.Uint64(h[56:]))
}

func (m image) vmdkEmbedded(off, n uint64) (vmdkDescriptor, error) {
	if off == 0 || n == 0 {
		return vmdkDescriptor{}, nil
	}
	if off > 1<<40 || n > vmdkMaxDescriptor/512 {
		return vmdkDescriptor{}, damaged(VMDK, "descriptor of %d sectors at sector %d", n, off)
	}
	text, err := m.at(VMDK, "descriptor", int64(off)*512, int64(n)*512)
	if err != nil {
		return vmdkDescriptor{}, err
	}
	s, _, _ := strings.Cut(string(text), "\x00")
	return parseVMDKDescriptor(s), nil
}

// vmdkTables checks the grain directory and the grain tables it names (each of them once) against the file's length.
func (m image) vmdkTables(info Info, capacity, grain uint64, perTable uint32, gd uint64) error {
	le := binary.LittleEndian
	if perTable < 1 || perTable > 512 {
		return damaged(VMDK, "grain tables of %d entries", perTable)
	}
	span := grain * uint64(perTable)
	n := (capacity + span - 1) / span
	if n > 32<<20 {
		return damaged(VMDK, "grain directory of %d entries", n)
	}
	if gd > 1<<53 {
		return damaged(VMDK, "grain directory at sector %d", gd)
	}
	dir, err := m.at(VMDK, "grain directory", int64(gd)*512, int64(n)*4)
	if err != nil {
		return err
	}
	seen, last := map[uint32]bool{}, int64(0)
	for i := 0; i < len(dir); i += 4 {
		sector := le.Uint32(dir[i:])
		if sector == 0 || seen[sector] {
			continue
		}
		seen[sector] = true
		table, err := m.at(VMDK, "grain table", int64(sector)*512, int64(perTable)*4)
		if err != nil {
			return err
		}
		for j := 0; j < len(table); j += 4 {
			g := int64(le.Uint32(table[j:]))
			if g*512 >= m.size {
				return damaged(VMDK, "grain at sector %d lies beyond the end of the file (%d bytes): the file is cut off or forged", g, m.size)
			}
			last = max(last, g)
		}
	}
	if !info.Compressed || last <= 1 { // 1 marks a grain of zeros
		return nil
	}
	// A compressed grain starts with a marker: its first sector (8 bytes) and its length.
	marker, err := m.at(VMDK, "grain marker", last*512, 12)
	if err != nil {
		return err
	}
	if length := int64(le.Uint32(marker[8:])); length > m.size-last*512-12 {
		return damaged(VMDK, "grain at sector %d, %d bytes, reaches beyond the end of the file (%d bytes): the file is cut off or forged", last, length, m.size)
	}
	return nil
}

type vmdkExtent struct{ kind, name string }

type vmdkDescriptor struct {
	createType string
	sectors    int64
	extents    []vmdkExtent
	parents    []Reference
}

// parseVMDKDescriptor reads the descriptor's text. It is lenient about form and strict about what may point elsewhere: any
// mention of a parent counts. At most 1024 extents are kept.
func parseVMDKDescriptor(text string) vmdkDescriptor {
	var d vmdkDescriptor
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
		if _, err := fmt.Sscanf(f[1], "%d", &n); err == nil && n > 0 && n < 1<<53 && d.sectors < 1<<53 {
			d.sectors += n
		}
		name := ""
		if _, rest, ok := strings.Cut(line, `"`); ok {
			name, _, _ = strings.Cut(rest, `"`)
		}
		d.extents = append(d.extents, vmdkExtent{f[2], bounded(name, 1024)})
	}
	if hint != "" || (cid != "" && cid != "ffffffff") {
		d.parents = append(d.parents, Reference{"parent", hint})
	}
	return d
}

func bounded(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// renameVMDKExtent puts the file's real name into the embedded descriptor. qemu-img wrote it by another name, and VMware's
// tools expect the extent line to name the file itself.
func renameVMDKExtent(f io.ReadWriteSeeker, name string) error {
	h := make([]byte, 512)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.ReadFull(f, h); err != nil {
		return err
	}
	off, n := binary.LittleEndian.Uint64(h[28:]), binary.LittleEndian.Uint64(h[36:])
	if string(h[:4]) != "KDMV" || off == 0 || off > 1<<40 || n == 0 || n > vmdkMaxDescriptor/512 {
		return fmt.Errorf("rename vmdk extent: no embedded descriptor")
	}
	area := make([]byte, n*512)
	if _, err := f.Seek(int64(off)*512, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.ReadFull(f, area); err != nil {
		return err
	}
	text, _, _ := strings.Cut(string(area), "\x00")
	before, rest, ok := strings.Cut(text, `SPARSE "`)
	_, after, ok2 := strings.Cut(rest, `"`)
	if !ok || !ok2 {
		return fmt.Errorf("rename vmdk extent: no sparse extent in the descriptor")
	}
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == '"' {
			return '_'
		}
		return r
	}, name)
	text = before + `SPARSE "` + name + `"` + after
	if len(text) > len(area) {
		return fmt.Errorf("rename vmdk extent: the name is too long for the descriptor")
	}
	clear(area)
	copy(area, text)
	if _, err := f.Seek(int64(off)*512, io.SeekStart); err != nil {
		return err
	}
	_, err := f.Write(area)
	return err
}
