// Package vmdk reads and writes VMware virtual disks: VMware, "Virtual Disk Format 5.0".
package vmdk

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/ingot-image/ingot/disk/image"
)

// Probe reads the headers of an image, size bytes long. Nothing outside of it is opened. The error is an [image.FormatError] when they are damaged or the file is cut off.
func Probe(r io.ReaderAt, size int64) (image.Info, error) {
	m := file{image.Headers{R: r, Size: size, Format: image.VMDK}}
	info, err := m.info()
	info.Format, info.FileSize = image.VMDK, size
	return info, err
}

// file is an image file under inspection.
type file struct{ image.Headers }

// maxDescriptor is the longest descriptor that is read; real ones are a few hundred bytes.
const maxDescriptor = 1 << 20

// info reads a VMDK: either a sparse extent with its descriptor embedded, or a descriptor alone.
// VMware, "Virtual Disk Format 5.0", sections "Hosted Sparse Extent" and "The Descriptor File".
func (m file) info() (image.Info, error) {
	magic, err := m.At("header", 0, min(m.Size, 4))
	if err != nil {
		return image.Info{}, err
	}
	switch string(magic) {
	case "KDMV":
		return m.sparse()
	case "COWD":
		return image.Info{Variant: "COWD (ESX 3)"}, nil
	}
	text, err := m.At("descriptor", 0, min(m.Size, maxDescriptor))
	if err != nil {
		return image.Info{}, err
	}
	d := parseDescriptor(string(text))
	info := image.Info{Variant: d.createType, VirtualSize: d.sectors * 512, References: d.parents}
	for _, e := range d.extents {
		info.References = append(info.References, image.Reference{Kind: "extent", Name: e.name})
	}
	if info.Variant == "" {
		info.Variant = "descriptor"
	}
	return info, nil
}

const (
	compressed     = 1 << 16
	markers        = 1 << 17
	directoryAtEnd = 1<<64 - 1
)

func (m file) sparse() (image.Info, error) {
	le := binary.LittleEndian
	info := image.Info{Variant: "monolithicSparse"}
	h, err := m.At("header", 0, 512)
	if err != nil {
		return info, err
	}
	// A streamOptimized file has its grain directory's place only in the footer, the 512 bytes before the end-of-stream marker.
	if le.Uint64(h[56:]) == directoryAtEnd {
		f, err := m.At("footer", m.Size-1024, 512)
		if err != nil {
			return info, err
		}
		if string(f[:4]) != "KDMV" || le.Uint64(f[56:]) == directoryAtEnd {
			return info, image.Damaged(image.VMDK, "no footer at the end: the file is cut off")
		}
		if le.Uint64(f[12:]) != le.Uint64(h[12:]) || le.Uint64(f[20:]) != le.Uint64(h[20:]) || le.Uint32(f[44:]) != le.Uint32(h[44:]) {
			return info, image.Damaged(image.VMDK, "header and footer do not agree")
		}
		copy(h[56:64], f[56:64])
	}
	if v := le.Uint32(h[4:]); v < 1 || v > 3 {
		return info, image.Damaged(image.VMDK, "unknown version %d", v)
	}
	flags := le.Uint32(h[8:])
	info.Compressed = flags&compressed != 0
	if alg := le.Uint16(h[77:]); info.Compressed && alg != 1 {
		return info, image.Damaged(image.VMDK, "unknown compression algorithm %d", alg)
	}
	capacity, grain := le.Uint64(h[12:]), le.Uint64(h[20:])
	// Readers take capacity 0 to mean "use the descriptor instead", and with it any file it names.
	if capacity == 0 || capacity > 1<<53 {
		return info, image.Damaged(image.VMDK, "capacity of %d sectors", capacity)
	}
	if grain < 1 || grain > 0x200000 || grain&(grain-1) != 0 {
		return info, image.Damaged(image.VMDK, "grain size of %d sectors", grain)
	}
	info.VirtualSize, info.ClusterSize = int64(capacity)*512, int64(grain)*512
	d, err := m.embedded(le.Uint64(h[28:]), le.Uint64(h[36:]))
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
			info.References = append(info.References, image.Reference{Kind: "extent", Name: e.name})
		}
	}
	if len(d.extents) > 0 {
		if e := d.extents[0]; e.kind != "SPARSE" || strings.ContainsAny(e.name, "/\\") || e.name == ".." {
			info.References = append(info.References, image.Reference{Kind: "extent", Name: e.name})
		}
	}
	return info, m.tables(info, capacity, grain, le.Uint32(h[44:]), le.Uint64(h[56:]))
}

func (m file) embedded(off, n uint64) (descriptor, error) {
	if off == 0 || n == 0 {
		return descriptor{}, nil
	}
	if off > 1<<40 || n > maxDescriptor/512 {
		return descriptor{}, image.Damaged(image.VMDK, "descriptor of %d sectors at sector %d", n, off)
	}
	text, err := m.At("descriptor", int64(off)*512, int64(n)*512)
	if err != nil {
		return descriptor{}, err
	}
	s, _, _ := strings.Cut(string(text), "\x00")
	return parseDescriptor(s), nil
}

// tables checks the grain directory and the grain tables it names (each of them once) against the file's length.
func (m file) tables(info image.Info, capacity, grain uint64, perTable uint32, gd uint64) error {
	le := binary.LittleEndian
	if perTable < 1 || perTable > 512 {
		return image.Damaged(image.VMDK, "grain tables of %d entries", perTable)
	}
	span := grain * uint64(perTable)
	n := (capacity + span - 1) / span
	if n > 32<<20 {
		return image.Damaged(image.VMDK, "grain directory of %d entries", n)
	}
	if gd > 1<<53 {
		return image.Damaged(image.VMDK, "grain directory at sector %d", gd)
	}
	dir, err := m.At("grain directory", int64(gd)*512, int64(n)*4)
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
		table, err := m.At("grain table", int64(sector)*512, int64(perTable)*4)
		if err != nil {
			return err
		}
		for j := 0; j < len(table); j += 4 {
			g := int64(le.Uint32(table[j:]))
			if g*512 >= m.Size {
				return image.Damaged(image.VMDK, "grain at sector %d lies beyond the end of the file (%d bytes): the file is cut off or forged", g, m.Size)
			}
			last = max(last, g)
		}
	}
	if !info.Compressed || last <= 1 { // 1 marks a grain of zeros
		return nil
	}
	// A compressed grain starts with a marker: its first sector (8 bytes) and its length.
	marker, err := m.At("grain marker", last*512, 12)
	if err != nil {
		return err
	}
	if length := int64(le.Uint32(marker[8:])); length > m.Size-last*512-12 {
		return image.Damaged(image.VMDK, "grain at sector %d, %d bytes, reaches beyond the end of the file (%d bytes): the file is cut off or forged", last, length, m.Size)
	}
	return nil
}

type extent struct{ kind, name string }

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
		if _, err := fmt.Sscanf(f[1], "%d", &n); err == nil && n > 0 && n < 1<<53 && d.sectors < 1<<53 {
			d.sectors += n
		}
		name := ""
		if _, rest, ok := strings.Cut(line, `"`); ok {
			name, _, _ = strings.Cut(rest, `"`)
		}
		d.extents = append(d.extents, extent{f[2], bounded(name, 1024)})
	}
	if hint != "" || (cid != "" && cid != "ffffffff") {
		d.parents = append(d.parents, image.Reference{Kind: "parent", Name: hint})
	}
	return d
}

func bounded(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
