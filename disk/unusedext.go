package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
	"sync/atomic"
)

// extSpace knows the free blocks of an ext file system by its block bitmaps. Format: Linux Documentation/filesystems/ext4, "Block Group Descriptors",
// "Block and Inode Bitmaps", "Bigalloc", "Checksums"; and fs/ext4/balloc.c for groups whose bitmap is not written.
type extSpace struct {
	*Ext
	blocks   uint64 // of the file system
	reserved uint32 // blocks behind the descriptors, for more of them
	ratio    uint64 // blocks of a cluster: what a bit stands for
	clusters uint64 // of a full group

	uuid         []byte
	seed         uint32
	csum, gdtSum bool // features metadata_csum, uninit_bg

	seen   [64]atomic.Pointer[extGroup] // by number, the last one of each slot
	faults atomic.Pointer[string]       // the first
}

// extGroup is which clusters of a group are used; nil bits: not known.
type extGroup struct {
	number uint64
	bits   []byte
	count  int
}

const (
	extROKnown     = 1 | 2 | 4 | extROHugeFile | extROGDTCsum | 0x20 | 0x40 | 0x100 | extROBigalloc | extROMetadataCsum | 0x1000 | 0x2000 | 0x8000
	extBlockUninit = 2 // flag of a group: its block bitmap is not written
	// How many groups there may be: of full size (64 TiB of 4 KiB blocks, 4 TiB of 1 KiB), and of those that mke2fs -g makes smaller. An image of a few
	// bytes may claim any number, and each takes time.
	extMaxGroups      = 1 << 19
	extMaxSmallGroups = 1 << 14
	extMaxFaulty      = 16 // groups with a fault; with more of them nothing is believed
)

// newExtSpace reads the superblock, or says why the file system is to stay whole.
func newExtSpace(r *io.SectionReader) (freeSpace, string, error) {
	sb := make([]byte, 1024)
	if _, err := io.ReadFull(io.NewSectionReader(r, extSuperOffset, 1024), sb); err != nil {
		return nil, "", fmt.Errorf("read superblock: %w", err)
	}
	e, err := NewExt(r)
	if err != nil {
		return nil, err.Error(), nil
	}
	le := binary.LittleEndian
	compat, incompat, ro := le.Uint32(sb[0x5c:]), le.Uint32(sb[0x60:]), le.Uint32(sb[0x64:])
	if le.Uint32(sb[0x4c:]) == 0 {
		compat, incompat, ro = 0, 0, 0
	}
	x := &extSpace{Ext: e, blocks: uint64(le.Uint32(sb[4:])), reserved: uint32(le.Uint16(sb[0xce:])), ratio: 1, clusters: uint64(e.blocksPerGroup),
		uuid: sb[0x68:0x78], csum: ro&extROMetadataCsum != 0, gdtSum: ro&extROGDTCsum != 0}
	if incompat&extIncompat64bit != 0 {
		x.blocks |= uint64(le.Uint32(sb[0x150:])) << 32
	}
	x.seed = extCRC(1<<32-1, x.uuid)
	if incompat&extIncompatCsumSd != 0 {
		x.seed = le.Uint32(sb[0x270:])
	}
	if ro&extROBigalloc != 0 {
		log := le.Uint32(sb[0x1c:])
		if log > 20 || 1024<<log < uint64(e.blockSize) {
			return nil, "damaged superblock: the size of clusters", nil
		}
		x.ratio, x.clusters = 1024<<log/uint64(e.blockSize), uint64(le.Uint32(sb[0x24:]))
	}
	switch {
	case ro&extROOrphanPresent != 0:
		return nil, "it has deleted files that were in use", nil
	case ro&^extROKnown != 0 || compat&extCompatExclude != 0:
		return nil, fmt.Sprintf("it has features that are not known here (compatible %#x, read-only compatible %#x)", compat, ro), nil
	case x.csum && extCRC(1<<32-1, sb[:1020]) != le.Uint32(sb[1020:]):
		return nil, "damaged superblock: its checksum is wrong", nil
	case x.clusters == 0 || x.clusters > uint64(8*e.blockSize) || x.clusters%8 != 0 || x.clusters*x.ratio != uint64(e.blocksPerGroup):
		return nil, "damaged superblock: the size of groups", nil
	case x.blocks <= uint64(e.firstDataBlock) || x.blocks > uint64(e.size/e.blockSize):
		return nil, fmt.Sprintf("damaged superblock: %d blocks in a partition of %d", x.blocks, e.size/e.blockSize), nil
	case x.groupCount() > extMaxGroups || x.groupCount() > extMaxSmallGroups && x.clusters < min(uint64(8*e.blockSize), 1<<16-8):
		return nil, fmt.Sprintf("its %d groups of %d blocks are more than are looked at", x.groupCount(), e.blocksPerGroup), nil
	}
	return x, "", nil
}

func (x *extSpace) groupCount() uint64 {
	per := uint64(x.blocksPerGroup)
	return (x.blocks - uint64(x.firstDataBlock) + per - 1) / per
}

func (x *extSpace) kept() string {
	if s := x.faults.Load(); s != nil {
		return *s
	}
	return ""
}

// free finds unused clusters by the groups' bitmaps.
func (x *extSpace) free(ctx context.Context, from, to int64, f func(from, to int64) error) error {
	first, group, cluster := int64(x.firstDataBlock)*x.blockSize, int64(x.blocksPerGroup)*x.blockSize, int64(x.ratio)*x.blockSize
	from, to = max(from, first), min(to, int64(x.blocks)*x.blockSize)
	for faulty := 0; from < to; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		g := (from - first) / group
		start, end := first+g*group, min(first+(g+1)*group, to)
		bitmap, err := x.group(uint64(g))
		if err != nil {
			return err
		}
		if bitmap.bits == nil {
			if faulty++; faulty > extMaxFaulty {
				return fmt.Errorf("%w, more than %d of its block groups: %s", errTooDamaged, extMaxFaulty, x.kept())
			}
		} else {
			last := min(int((end-start+cluster-1)/cluster), bitmap.count)
			for i := int((from - start) / cluster); i < last; {
				k, used := runOfBits(bitmap.bits, i, last)
				if !used {
					if err := f(max(start+int64(i)*cluster, from), min(start+int64(k)*cluster, end)); err != nil {
						return err
					}
				}
				i = k
			}
		}
		from = end
	}
	return nil
}

// runOfBits finds where the bits that are the same as bit i end, before last.
func runOfBits(b []byte, i, last int) (end int, set bool) {
	set = b[i/8]&(1<<(i%8)) != 0
	same := byte(0)
	if set {
		same = 0xff
	}
	for i < last {
		if i%8 == 0 && i+8 <= last && b[i/8] == same {
			i += 8
			continue
		}
		if b[i/8]&(1<<(i%8)) != 0 != set {
			break
		}
		i++
	}
	return i, set
}

// group gives which clusters of a group are used. What is wrong with it is no error: nothing of it is known then.
func (x *extSpace) group(n uint64) (*extGroup, error) {
	slot := &x.seen[n%uint64(len(x.seen))]
	if g := slot.Load(); g != nil && g.number == n {
		return g, nil
	}
	total := (x.blocks - uint64(x.firstDataBlock) + x.ratio - 1) / x.ratio
	g := &extGroup{number: n, count: int(min(x.clusters, total-n*x.clusters))}
	var fault string
	d, err := x.descriptor(uint32(n))
	if err == nil {
		g.bits, fault, err = x.bitmap(uint32(n), d)
	}
	if errors.Is(err, errOutsideExt) {
		fault, err = err.Error(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("block bitmap of group %d: %w", n, err)
	}
	if fault == "" {
		if known, is := x.freeCount(d), g.unset(); known != is {
			fault = fmt.Sprintf("%d blocks are free in its bitmap, %d by its descriptor", is, known)
		}
	}
	if fault != "" {
		g.bits = nil
		fault = fmt.Sprintf("block group %d, and perhaps more, are taken for used: %s", n, fault)
		x.faults.CompareAndSwap(nil, &fault)
	}
	slot.Store(g)
	return g, nil
}

func (x *extSpace) freeCount(d []byte) int {
	n := int(binary.LittleEndian.Uint16(d[0xc:]))
	if len(d) >= 64 {
		n |= int(binary.LittleEndian.Uint16(d[0x2c:])) << 16
	}
	return n
}

func (g *extGroup) unset() int {
	n := g.count
	for i := range g.count / 8 {
		n -= bits.OnesCount8(g.bits[i])
	}
	if rest := g.count % 8; rest > 0 {
		n -= bits.OnesCount8(g.bits[g.count/8] & (1<<rest - 1))
	}
	return n
}

// place is a block number of a descriptor, whose upper half is elsewhere in it.
func place(d []byte, low, high int) uint64 {
	n := uint64(binary.LittleEndian.Uint32(d[low:]))
	if len(d) >= 64 {
		n |= uint64(binary.LittleEndian.Uint32(d[high:])) << 32
	}
	return n
}

// bitmap reads and checks a group's bitmap, or makes it for a group that has none yet.
func (x *extSpace) bitmap(n uint32, d []byte) (b []byte, fault string, err error) {
	le := binary.LittleEndian
	if (x.csum || x.gdtSum) && x.descriptorSum(n, d) != le.Uint16(d[0x1e:]) {
		return nil, "the checksum of its descriptor is wrong", nil
	}
	if (x.csum || x.gdtSum) && le.Uint16(d[0x12:])&extBlockUninit != 0 {
		return x.unwritten(n, d), "", nil
	}
	if b, err = x.block(place(d, 0, 0x20)); err != nil {
		return nil, "", err
	}
	if x.csum {
		got, want := extCRC(x.seed, b[:x.clusters/8]), uint32(le.Uint16(d[0x18:]))
		if len(d) >= 64 {
			want |= uint32(le.Uint16(d[0x38:])) << 16
		} else {
			got &= 1<<16 - 1
		}
		if got != want {
			return nil, "the checksum of its bitmap is wrong", nil
		}
	}
	return b, "", nil
}

// unwritten is the bitmap of a group from which nothing was allocated yet: its copies of the superblock and the descriptors, and its own bitmaps and
// inodes where they are in it.
func (x *extSpace) unwritten(n uint32, d []byte) []byte {
	b := make([]byte, x.blockSize)
	first := uint64(x.firstDataBlock) + uint64(n)*uint64(x.blocksPerGroup)
	mark := func(block, count uint64) {
		for i := max(block, first); i < block+count && i < first+uint64(x.blocksPerGroup); i++ {
			c := (i - first) / x.ratio
			b[c/8] |= 1 << (c % 8)
		}
	}
	mark(first, x.copies(n))
	mark(place(d, 0, 0x20), 1)
	mark(place(d, 4, 0x24), 1)
	mark(place(d, 8, 0x28), (uint64(x.inodesPerGroup)*uint64(x.inodeSize)+uint64(x.blockSize)-1)/uint64(x.blockSize))
	return b
}

// copies is how many blocks at the start of a group are the superblock, descriptors and room for more: ext4_num_base_meta_clusters in
// fs/ext4/balloc.c.
func (x *extSpace) copies(n uint32) uint64 {
	perBlock := uint32(x.blockSize / x.descSize)
	count := uint64(0)
	if x.hasSuper(n) {
		count = 1
	}
	if x.metaBG && n/perBlock >= x.firstMetaBG {
		if i := n % perBlock; i == 0 || i == 1 || i == perBlock-1 {
			count++
		}
		return count
	}
	if count == 0 {
		return 0
	}
	if x.metaBG {
		count += uint64(x.firstMetaBG)
	} else {
		count += (x.groupCount() + uint64(perBlock) - 1) / uint64(perBlock)
	}
	return count + uint64(x.reserved)
}

// descriptorSum is the checksum of a group descriptor: "Checksums", and for uninit_bg ext4_group_desc_csum in fs/ext4/super.c.
func (x *extSpace) descriptorSum(n uint32, d []byte) uint16 {
	number := binary.LittleEndian.AppendUint32(nil, n)
	if x.csum {
		crc := extCRC(extCRC(x.seed, number), d[:0x1e])
		return uint16(extCRC(extCRC(crc, []byte{0, 0}), d[0x20:]))
	}
	crc := crc16(crc16(crc16(1<<16-1, x.uuid), number), d[:0x1e])
	if len(d) > 32 {
		crc = crc16(crc, d[0x20:])
	}
	return crc
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// extCRC is CRC-32C as ext4 has it: without the inversion before and after.
func extCRC(crc uint32, b []byte) uint32 { return ^crc32.Update(^crc, castagnoli, b) }

// crc16 is that of Linux, lib/crc16.c: polynomial 0x8005, least significant bit first.
func crc16(crc uint16, b []byte) uint16 {
	for _, v := range b {
		crc ^= uint16(v)
		for range 8 {
			low := crc & 1
			crc >>= 1
			if low != 0 {
				crc ^= 0xa001
			}
		}
	}
	return crc
}
