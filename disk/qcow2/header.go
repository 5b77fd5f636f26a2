package qcow2

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/ingot-image/ingot/disk/image"
)

// Probe reads the headers of an image, size bytes long. Nothing outside of it is opened. The error is an [image.FormatError] when they are damaged or the file is cut off.
func Probe(r io.ReaderAt, size int64) (image.Info, error) {
	m := file{image.Headers{R: r, Size: size, Format: image.Qcow2}}
	info, l, err := m.parse()
	if err == nil {
		err = m.tables(&info, l)
	}
	info.Format, info.FileSize = image.Qcow2, size
	return info, err
}

// layout is what the header says about where things are.
type layout struct {
	version      uint32
	bits         uint // of the cluster size
	cluster      int64
	entry        int64 // bytes of an entry of an L2 table
	size         int64 // of the disk
	incompatible uint64
	zstd         bool  // compresses clusters, not zlib
	l1           int64 // offset of the L1 table
	l1Entries    int64
	l1Needed     int64 // entries that the disk's size needs
}

// span is how many bytes of the disk an L2 table describes: at most 2^39, or 2^38 with extended entries.
func (l layout) span() int64 { return l.cluster / l.entry * l.cluster }

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

	compressedFlag = 1 << 62 // of an L2 entry
	zeroFlag       = 1 << 0
)

// parse reads a version 2 or 3 header and its extensions, and checks that the tables that it names lie within the file.
func (m file) parse() (image.Info, layout, error) {
	var l layout
	info, err := m.header(&l)
	return info, l, err
}

func (m file) header(l *layout) (image.Info, error) {
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
	*l = layout{version: version, bits: uint(bits), cluster: cluster, entry: 8, size: int64(size), l1: int64(be.Uint64(h[40:])), l1Entries: int64(be.Uint32(h[36:]))}
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
	l.incompatible = incompatible
	if err := m.compression(l, headerLen); err != nil {
		return info, err
	}
	if incompatible&extendedL2 != 0 {
		if l.entry = 16; bits < 14 {
			return info, image.Damaged(image.Qcow2, "subclusters in clusters of %d bytes", cluster)
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
	return info, m.checkTables(l, h)
}

// compression finds out how clusters are compressed: a byte behind the version 3 header of 104 bytes.
func (m file) compression(l *layout, headerLen int64) error {
	kind := byte(0)
	if headerLen > 104 {
		b, err := m.At("compression type", 104, 1)
		if err != nil {
			return err
		}
		kind = b[0]
	}
	if kind > 1 || (kind != 0) != (l.incompatible&compressionType != 0) {
		return image.Damaged(image.Qcow2, "unknown compression type %d", kind)
	}
	l.zstd = kind == 1
	return nil
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

// checkTables checks the sizes and places of the L1 and the refcount table.
func (m file) checkTables(l *layout, h []byte) error {
	be := binary.BigEndian
	if l.l1Needed = l.size / l.span(); l.size%l.span() != 0 {
		l.l1Needed++
	}
	if l.l1Entries*8 > maxL1 || l.l1Needed > l.l1Entries {
		return image.Damaged(image.Qcow2, "L1 table of %d entries for a disk of %d bytes (needs %d, at most %d are read)", l.l1Entries, l.size, l.l1Needed, maxL1/8)
	}
	refOff, refClusters := be.Uint64(h[48:]), int64(be.Uint32(h[56:]))
	if refClusters*l.cluster > 8<<20 || refOff%uint64(l.cluster) != 0 || refOff > 1<<62 {
		return image.Damaged(image.Qcow2, "refcount table of %d clusters at offset %d", refClusters, refOff)
	}
	if int64(refOff) > m.Size || refClusters*l.cluster > m.Size-int64(refOff) {
		return image.Damaged(image.Qcow2, "refcount table lies beyond the end of the file: the file is cut off or forged")
	}
	if n := be.Uint32(h[60:]); n > 65536 || (n > 0 && be.Uint64(h[64:]) >= uint64(m.Size)) {
		return image.Damaged(image.Qcow2, "table of %d internal snapshots at offset %d", n, be.Uint64(h[64:]))
	}
	if l.l1Entries > 0 && (l.l1%l.cluster != 0 || l.l1 < 0) {
		return image.Damaged(image.Qcow2, "L1 table at unaligned offset %d", uint64(l.l1))
	}
	return nil
}

// maxChecked bounds how many bytes of L2 tables Probe reads: those of 8 TiB with the usual clusters. Others are checked when they are used.
const maxChecked = 1 << 30

// tables checks the L2 tables that the L1 table names.
func (m file) tables(info *image.Info, l layout) error {
	l1, err := m.At("L1 table", l.l1, l.l1Entries*8)
	if err != nil {
		return err
	}
	tables, err := m.l2Tables(l, l1)
	if err != nil {
		return err
	}
	for _, off := range tables[:min(int64(len(tables)), maxChecked/l.cluster)] {
		l2, err := m.At("L2 table", off, l.cluster)
		if err != nil {
			return err
		}
		for ; len(l2) > 0; l2 = l2[l.entry:] {
			e := binary.BigEndian.Uint64(l2)
			data := int64(e & offsetMask)
			if e&compressedFlag != 0 {
				data, _ = l.compressed(e)
				info.Compressed = true
			}
			if data >= m.Size && l.incompatible&dataFile == 0 { // else it is an offset in the data file
				return image.Damaged(image.Qcow2, "data cluster at offset %d lies beyond the end of the file (%d bytes): the file is cut off or forged", data, m.Size)
			}
		}
	}
	return nil
}

// l2Tables gives the places of the tables that an L1 table names, in order, and sees to it that each is used once: all of them are no longer than the file.
func (m file) l2Tables(l layout, l1 []byte) ([]int64, error) {
	tables := make([]int64, 0, 1024)
	for ; len(l1) > 0; l1 = l1[8:] {
		off := int64(binary.BigEndian.Uint64(l1) & offsetMask)
		if off == 0 {
			continue
		}
		if off%l.cluster != 0 {
			return nil, image.Damaged(image.Qcow2, "L2 table at offset %d, which is unaligned", off)
		}
		if off > m.Size-l.cluster {
			return nil, image.Damaged(image.Qcow2, "L2 table at offset %d lies beyond the end of the file (%d bytes): the file is cut off or forged", off, m.Size)
		}
		tables = append(tables, off)
	}
	slices.Sort(tables)
	for i := 1; i < len(tables); i++ {
		if tables[i] == tables[i-1] {
			return nil, image.Damaged(image.Qcow2, "the L2 table at offset %d is used twice", tables[i])
		}
	}
	return tables, nil
}

// compressed takes an L2 entry of a compressed cluster apart: where its data starts, to the byte, and how long it is at most.
func (l layout) compressed(e uint64) (off, n int64) {
	bits := 62 - (l.bits - 8) // of the offset; the rest counts the sectors beyond the first one
	off = int64(e & (1<<bits - 1))
	sectors := int64(e&(compressedFlag-1)>>bits) + 1
	return off, sectors*512 - off%512
}
