// Package qcow2 reads QEMU's copy-on-write images: QEMU, docs/interop/qcow2.txt.
package qcow2

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/ingot-image/ingot/disk/image"
)

// Probe reads the headers of an image, size bytes long. Nothing outside of it is opened. The error is an [image.FormatError] when they are damaged or the file is cut off.
func Probe(r io.ReaderAt, size int64) (image.Info, error) {
	m := file{image.Headers{R: r, Size: size, Format: image.Qcow2}}
	info, err := m.info()
	info.Format, info.FileSize = image.Qcow2, size
	return info, err
}

// file is an image file under inspection.
type file struct{ image.Headers }

// Constants of the qcow2 format: QEMU docs/interop/qcow2.txt.
const (
	dirty           = 1 << 0
	corrupt         = 1 << 1
	dataFile        = 1 << 2
	compressionType = 1 << 3
	extendedL2      = 1 << 4
	known           = dirty | corrupt | dataFile | compressionType | extendedL2

	extEnd           = 0x00000000
	extBackingFormat = 0xe2792aca
	extDataFile      = 0x44415441

	maxL1      = 32 << 20 // bytes, QCOW_MAX_L1_SIZE of QEMU
	offsetMask = 0x00fffffffffffe00
)

// info reads a version 2 or 3 header, its extensions, and checks that the tables it names lie within the file.
func (m file) info() (image.Info, error) {
	be := binary.BigEndian
	h, err := m.At("header", 0, 72)
	if err != nil {
		return image.Info{}, err
	}
	version := be.Uint32(h[4:])
	if version != 2 && version != 3 {
		return image.Info{}, image.Damaged(image.Qcow2, "unknown version %d", version)
	}
	bits := be.Uint32(h[20:])
	if bits < 9 || bits > 21 {
		return image.Info{}, image.Damaged(image.Qcow2, "cluster_bits is %d, allowed are 9 to 21", bits)
	}
	cluster := int64(1) << bits
	size := be.Uint64(h[24:])
	if size > 1<<62 {
		return image.Info{}, image.Damaged(image.Qcow2, "virtual size of %d bytes", size)
	}
	info := image.Info{Variant: fmt.Sprintf("v%d", version), VirtualSize: int64(size), ClusterSize: cluster, Encrypted: be.Uint32(h[32:]) != 0}
	headerLen, incompatible := int64(72), uint64(0)
	if version == 3 {
		if h, err = m.At("header", 0, 104); err != nil {
			return info, err
		}
		incompatible = be.Uint64(h[72:])
		if order := be.Uint32(h[96:]); order > 6 {
			return info, image.Damaged(image.Qcow2, "refcount_order is %d, at most 6 is allowed", order)
		}
		headerLen = int64(be.Uint32(h[100:]))
		if headerLen < 104 || headerLen > cluster {
			return info, image.Damaged(image.Qcow2, "header_length is %d with clusters of %d bytes", headerLen, cluster)
		}
	}
	if incompatible&^known != 0 {
		return info, image.Damaged(image.Qcow2, "unknown incompatible features %#x", incompatible&^known)
	}
	if incompatible&corrupt != 0 {
		return info, image.Damaged(image.Qcow2, "marked as corrupt by the program that wrote it")
	}
	if incompatible&dataFile != 0 {
		info.References = append(info.References, image.Reference{Kind: "external data file", Name: ""})
	}
	if off, n := be.Uint64(h[8:]), int64(be.Uint32(h[16:])); off != 0 || n != 0 {
		if n < 1 || n > 1023 || off > uint64(cluster) || int64(off)+n > cluster {
			return info, image.Damaged(image.Qcow2, "backing file name of %d bytes at offset %d", n, off)
		}
		name, err := m.At("backing file name", int64(off), n)
		if err != nil {
			return info, err
		}
		info.References = append(info.References, image.Reference{Kind: "backing file", Name: string(name)})
	}
	if err := m.extensions(&info, headerLen, cluster); err != nil {
		return info, err
	}
	return info, m.tables(&info, h, incompatible)
}

// extensions walks the header extensions, which end with type 0 and lie within the first cluster.
func (m file) extensions(info *image.Info, off, cluster int64) error {
	be := binary.BigEndian
	limit := min(cluster, m.Size)
	for off+8 <= limit {
		e, err := m.At("header extension", off, 8)
		if err != nil {
			return err
		}
		kind, n := be.Uint32(e), int64(be.Uint32(e[4:]))
		if kind == extEnd {
			return nil
		}
		off += 8
		if n > limit-off {
			return image.Damaged(image.Qcow2, "header extension %#x of %d bytes does not fit into the first cluster", kind, n)
		}
		if kind == extDataFile {
			name, err := m.At("data file name", off, min(n, 1023))
			if err != nil {
				return err
			}
			if k := len(info.References); k > 0 && info.References[0].Kind == "external data file" && info.References[0].Name == "" {
				info.References[0].Name = string(name)
			} else {
				info.References = append(info.References, image.Reference{Kind: "external data file", Name: string(name)})
			}
		}
		off += (n + 7) &^ 7
	}
	return nil
}

// tables checks the L1 table, the L2 tables it names (each of them once) and the refcount table against the file's length.
func (m file) tables(info *image.Info, h []byte, incompatible uint64) error {
	be := binary.BigEndian
	cluster := info.ClusterSize
	entry := int64(8)
	if incompatible&extendedL2 != 0 {
		entry = 16
	}
	perTable := cluster / entry
	l1Entries := int64(be.Uint32(h[36:]))
	l1Off := be.Uint64(h[40:])
	span := perTable * cluster // bytes of disk per L2 table; at most 2^18 * 2^21
	need := info.VirtualSize / span
	if info.VirtualSize%span != 0 {
		need++
	}
	if l1Entries*8 > maxL1 || need > l1Entries {
		return image.Damaged(image.Qcow2, "L1 table of %d entries for a disk of %d bytes (needs %d, at most %d are read)", l1Entries, info.VirtualSize, need, maxL1/8)
	}
	refOff, refClusters := be.Uint64(h[48:]), int64(be.Uint32(h[56:]))
	if refClusters*cluster > 8<<20 || refOff%uint64(cluster) != 0 || refOff > 1<<62 {
		return image.Damaged(image.Qcow2, "refcount table of %d clusters at offset %d", refClusters, refOff)
	}
	if int64(refOff) > m.Size || refClusters*cluster > m.Size-int64(refOff) {
		return image.Damaged(image.Qcow2, "refcount table lies beyond the end of the file: the file is cut off or forged")
	}
	if n := be.Uint32(h[60:]); n > 65536 || (n > 0 && be.Uint64(h[64:]) >= uint64(m.Size)) {
		return image.Damaged(image.Qcow2, "table of %d internal snapshots at offset %d", n, be.Uint64(h[64:]))
	}
	if l1Entries == 0 {
		return nil
	}
	if l1Off%uint64(cluster) != 0 || l1Off > 1<<62 {
		return image.Damaged(image.Qcow2, "L1 table at unaligned offset %d", l1Off)
	}
	l1, err := m.At("L1 table", int64(l1Off), l1Entries*8)
	if err != nil {
		return err
	}
	seen := map[int64]bool{}
	for i := int64(0); i < l1Entries; i++ {
		off := int64(be.Uint64(l1[i*8:]) & offsetMask)
		if off == 0 || seen[off] {
			continue
		}
		seen[off] = true
		l2, err := m.At("L2 table", off, cluster)
		if err != nil {
			return err
		}
		for j := int64(0); j < cluster; j += entry {
			e := be.Uint64(l2[j:])
			data := int64(e & offsetMask)
			if e>>62&1 == 1 { // compressed cluster: offset in the low 62-(cluster_bits-8) bits
				bits := uint(0)
				for 1<<bits < cluster {
					bits++
				}
				data = int64(e & (1<<(62-(bits-8)) - 1))
				info.Compressed = true
			}
			if data >= m.Size && incompatible&dataFile == 0 { // else it is an offset in the data file
				return image.Damaged(image.Qcow2, "data cluster at offset %d lies beyond the end of the file (%d bytes): the file is cut off or forged", data, m.Size)
			}
		}
	}
	return nil
}
