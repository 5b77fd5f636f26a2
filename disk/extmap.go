package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"
)

// extRun is a range of a file's blocks that lie together on the disk. What no run covers is zeros.
type extRun struct {
	logical  uint64
	physical uint64
	count    uint64
}

// extMap reads a file's bytes through the place of its blocks. It gives zeros beyond the last block: callers know the length.
type extMap struct {
	fs      *Ext
	runs    []extRun                       // extent-mapped files
	pointer func(l uint64) (uint64, error) // block-mapped files
}

// mapping finds where a file's blocks are.
func (i *extInode) mapping() (*extMap, error) {
	switch {
	case i.flags&extFlagEncrypt != 0:
		return nil, fmt.Errorf("encrypted file: %w", errors.ErrUnsupported)
	case i.flags&extFlagInline != 0:
		return nil, fmt.Errorf("inline data: %w", errors.ErrUnsupported)
	case i.flags&extFlagExtents == 0:
		return &extMap{fs: i.fs, pointer: i.blockPointers()}, nil
	}
	m := &extMap{fs: i.fs}
	nodes := 0
	if err := m.tree(i.blocks, -1, &nodes); err != nil {
		return nil, fmt.Errorf("inode %d: %w", i.number, err)
	}
	for k := 1; k < len(m.runs); k++ {
		if m.runs[k].logical < m.runs[k-1].logical+m.runs[k-1].count {
			return nil, fmt.Errorf("inode %d: extents overlap or are out of order", i.number)
		}
	}
	return m, nil
}

// tree reads a node of an extent tree: Documentation/filesystems/ext4/ifork.rst.
func (m *extMap) tree(b []byte, depth int, nodes *int) error {
	le := binary.LittleEndian
	if *nodes++; *nodes > extMaxNodes {
		return errors.New("extent tree too large")
	}
	entries, d := int(le.Uint16(b[2:])), int(le.Uint16(b[6:]))
	if le.Uint16(b) != 0xf30a || 12+entries*12 > len(b) || d > 5 || (depth >= 0 && d != depth-1) {
		return errors.New("damaged extent tree")
	}
	for k := range entries {
		x := b[12+k*12:][:12]
		if d > 0 {
			child, err := m.fs.block(uint64(le.Uint32(x[4:])) | uint64(le.Uint16(x[8:]))<<32)
			if err != nil {
				return err
			}
			if err := m.tree(child, d, nodes); err != nil {
				return err
			}
			continue
		}
		r := extRun{logical: uint64(le.Uint32(x)), count: uint64(le.Uint16(x[4:])), physical: uint64(le.Uint32(x[8:])) | uint64(le.Uint16(x[6:]))<<32}
		if r.count > 0x8000 {
			continue // allocated but unwritten: reads as zeros
		}
		if r.physical+r.count > uint64(m.fs.size/m.fs.blockSize) {
			return fmt.Errorf("extent of %d blocks at block %d lies outside the file system", r.count, r.physical)
		}
		if m.runs = append(m.runs, r); len(m.runs) > extMaxExtents {
			return errors.New("too many extents")
		}
	}
	return nil
}

// blockPointers maps blocks of ext2 and ext3 files: 12 direct pointers, then one, two and three levels of indirect blocks.
func (i *extInode) blockPointers() func(uint64) (uint64, error) {
	le := binary.LittleEndian
	per := uint64(i.fs.blockSize / 4)
	type cached struct {
		n uint64
		b []byte
	}
	var cache [4]cached // one indirect block per level: reading is sequential
	at := func(level int, block, index uint64) (uint64, error) {
		if block == 0 {
			return 0, nil
		}
		if cache[level].n != block {
			b, err := i.fs.block(block)
			if err != nil {
				return 0, err
			}
			cache[level] = cached{block, b}
		}
		return uint64(le.Uint32(cache[level].b[index*4:])), nil
	}
	return func(l uint64) (uint64, error) {
		if l < 12 {
			return uint64(le.Uint32(i.blocks[l*4:])), nil
		}
		l -= 12
		span := per
		for level := 1; level <= 3; level++ {
			if l < span {
				block := uint64(le.Uint32(i.blocks[(11+level)*4:]))
				for k := level; k >= 1; k-- {
					span /= per
					next, err := at(k, block, l/span)
					if err != nil {
						return 0, err
					}
					block, l = next, l%span
				}
				return block, nil
			}
			l -= span
			span *= per
		}
		return 0, errors.New("block number beyond the largest file")
	}
}

// place tells where the logical block l is (0: a hole), and for how many blocks from there the answer holds.
func (m *extMap) place(l uint64) (physical, count uint64, err error) {
	if m.pointer != nil {
		p, err := m.pointer(l)
		return p, 1, err
	}
	k := sort.Search(len(m.runs), func(k int) bool { return m.runs[k].logical+m.runs[k].count > l })
	if k == len(m.runs) {
		return 0, 1 << 62, nil
	}
	if r := m.runs[k]; l >= r.logical {
		return r.physical + (l - r.logical), r.count - (l - r.logical), nil
	}
	return 0, m.runs[k].logical - l, nil
}

// ReadAt implements io.ReaderAt.
func (m *extMap) ReadAt(p []byte, off int64) (int, error) {
	bs := m.fs.blockSize
	for done := 0; done < len(p); {
		l, skip := uint64(off)/uint64(bs), off%bs
		physical, count, err := m.place(l)
		if err != nil {
			return done, err
		}
		n := int64(len(p) - done)
		if count < 1<<40 {
			n = min(n, int64(count)*bs-skip)
		}
		part := p[done : done+int(n)]
		if physical == 0 {
			clear(part)
		} else {
			at := int64(physical)*bs + skip
			if at < 0 || at > m.fs.size-n {
				return done, fmt.Errorf("block %d lies outside the file system", physical)
			}
			if _, err := io.ReadFull(io.NewSectionReader(m.fs.r, at, n), part); err != nil {
				return done, err
			}
		}
		done += int(n)
		off += n
	}
	return len(p), nil
}
