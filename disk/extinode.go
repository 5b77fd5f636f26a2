package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sort"
	"strings"
	"time"
)

// Inode flags and bounds.
const (
	extFlagEncrypt = 0x800
	extFlagExtents = 0x80000
	extFlagInline  = 0x10000000

	extMaxExtents = 1 << 20 // of one file
	extMaxNodes   = 1 << 14 // blocks of one extent tree
	extMaxEntries = 1 << 20 // of one folder
)

// extInode is a file's inode. It is its own fs.FileInfo.
type extInode struct {
	fs     *Ext
	number uint32
	base   string // name it was found by
	raw    uint16 // i_mode
	size   int64
	flags  uint32
	stat   ExtStat
	mtime  time.Time
	blocks []byte // i_block, 60 bytes
	inside []byte // what is behind the fields: extended attributes
	acl    uint64 // i_file_acl: the block of more of them, 0 for none
}

func parseExtInode(e *Ext, n uint32, b []byte) (*extInode, error) {
	le := binary.LittleEndian
	i := &extInode{fs: e, number: n, raw: le.Uint16(b[0:]), flags: le.Uint32(b[0x20:]), blocks: append([]byte(nil), b[0x28:0x28+60]...),
		mtime: time.Unix(int64(int32(le.Uint32(b[0x10:]))), 0).UTC(),
		stat: ExtStat{Inode: n, Links: le.Uint16(b[0x1a:]),
			UID: uint32(le.Uint16(b[2:])) | uint32(le.Uint16(b[0x78:]))<<16,
			GID: uint32(le.Uint16(b[0x18:])) | uint32(le.Uint16(b[0x7a:]))<<16}}
	size := uint64(le.Uint32(b[4:]))
	if i.raw&0xf000 == 0x8000 || i.raw&0xf000 == 0x4000 {
		size |= uint64(le.Uint32(b[0x6c:])) << 32
	}
	if size > 1<<44 { // 16 TiB, the largest file of ext4 with 4 KiB blocks
		return nil, fmt.Errorf("inode %d has a length of %d bytes", n, size)
	}
	i.size = int64(size)
	i.acl = uint64(le.Uint32(b[0x68:])) | uint64(le.Uint16(b[0x76:]))<<32
	if len(b) > 0x82 {
		if from := 0x80 + int(le.Uint16(b[0x80:])); from <= len(b) {
			i.inside = append([]byte(nil), b[from:]...)
		}
	}
	return i, nil
}

func (i *extInode) Name() string       { return i.base }
func (i *extInode) Size() int64        { return i.size }
func (i *extInode) Mode() fs.FileMode  { return i.mode() }
func (i *extInode) ModTime() time.Time { return i.mtime }
func (i *extInode) IsDir() bool        { return i.mode().IsDir() }
func (i *extInode) Sys() any           { return i.stat }

func (i *extInode) mode() fs.FileMode {
	m := fs.FileMode(i.raw & 0o777)
	for bit, mode := range map[uint16]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if i.raw&bit != 0 {
			m |= mode
		}
	}
	switch i.raw & 0xf000 {
	case 0x8000:
	case 0x4000:
		m |= fs.ModeDir
	case 0xa000:
		m |= fs.ModeSymlink
	case 0x1000:
		m |= fs.ModeNamedPipe
	case 0x2000:
		m |= fs.ModeDevice | fs.ModeCharDevice
	case 0x6000:
		m |= fs.ModeDevice
	case 0xc000:
		m |= fs.ModeSocket
	default:
		m |= fs.ModeIrregular
	}
	return m
}

func (i *extInode) readLink() (string, error) {
	if i.mode()&fs.ModeSymlink == 0 {
		return "", fs.ErrInvalid
	}
	if i.size > 4095 {
		return "", fmt.Errorf("symbolic link of %d bytes", i.size)
	}
	if i.size < 60 && i.flags&extFlagExtents == 0 && i.flags&(extFlagEncrypt|extFlagInline) == 0 {
		return string(i.blocks[:i.size]), nil
	}
	m, err := i.mapping()
	if err != nil {
		return "", err
	}
	b := make([]byte, i.size)
	if _, err := io.ReadFull(io.NewSectionReader(m, 0, i.size), b); err != nil {
		return "", err
	}
	return string(b), nil
}

// scan calls f for every entry of the folder until it returns false. The hash tree of large folders looks like deleted entries
// to a linear scan: Documentation/filesystems/ext4/directory.rst.
func (i *extInode) scan(f func(n uint32, kind byte, name string) bool) error {
	if !i.mode().IsDir() {
		return errors.New("not a directory")
	}
	if i.size > extMaxDir {
		return fmt.Errorf("folder of %d bytes, the limit is %d", i.size, extMaxDir)
	}
	m, err := i.mapping()
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	block := make([]byte, i.fs.blockSize)
	for off := int64(0); off+int64(len(block)) <= i.size; off += int64(len(block)) {
		if _, err := m.ReadAt(block, off); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		for b := block; len(b) >= 8; {
			n, length, nameLen := le.Uint32(b), int(le.Uint16(b[4:])), int(b[6])
			if i.fs.blockSize == extMaxBlockSize && (length == 0 || length == 0xffff) {
				length = extMaxBlockSize
			}
			if length == 0 && n == 0 { // a hole in the folder
				break
			}
			if length < 8 || length%4 != 0 || length > len(b) || 8+nameLen > length {
				return fmt.Errorf("damaged folder entry at offset %d", off+int64(len(block)-len(b)))
			}
			if name := string(b[8 : 8+nameLen]); n != 0 && name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00") {
				if !f(n, b[7], name) {
					return nil
				}
			}
			b = b[length:]
		}
	}
	return nil
}

func (i *extInode) lookup(name string) (uint32, error) {
	found := uint32(0)
	err := i.scan(func(n uint32, _ byte, s string) bool {
		if s == name {
			found = n
		}
		return found == 0
	})
	if err == nil && found == 0 {
		err = fs.ErrNotExist
	}
	return found, err
}

func (i *extInode) entries() ([]fs.DirEntry, error) {
	var out []fs.DirEntry
	err := i.scan(func(n uint32, kind byte, name string) bool {
		out = append(out, &extEntry{i.fs, n, kind, name})
		return len(out) <= extMaxEntries
	})
	if err != nil {
		return nil, err
	}
	if len(out) > extMaxEntries {
		return nil, fmt.Errorf("folder of more than %d entries", extMaxEntries)
	}
	sort.Slice(out, func(a, b int) bool { return out[a].Name() < out[b].Name() })
	return out, nil
}

// extEntry is an entry of a folder.
type extEntry struct {
	fs   *Ext
	n    uint32
	kind byte
	name string
}

func (d *extEntry) Name() string { return d.name }
func (d *extEntry) IsDir() bool  { return d.Type().IsDir() }

func (d *extEntry) Type() fs.FileMode {
	kinds := map[byte]fs.FileMode{1: 0, 2: fs.ModeDir, 3: fs.ModeDevice | fs.ModeCharDevice, 4: fs.ModeDevice, 5: fs.ModeNamedPipe, 6: fs.ModeSocket, 7: fs.ModeSymlink}
	if m, ok := kinds[d.kind]; ok {
		return m
	}
	if st, err := d.Info(); err == nil { // file systems without the filetype feature
		return st.Mode().Type()
	}
	return fs.ModeIrregular
}

func (d *extEntry) Info() (fs.FileInfo, error) {
	i, err := d.fs.inode(d.n)
	if err != nil {
		return nil, err
	}
	i.base = d.name
	return i, nil
}

// extFile is an open regular file.
type extFile struct {
	*io.SectionReader
	i *extInode
}

func (f *extFile) Stat() (fs.FileInfo, error) { return f.i, nil }
func (f *extFile) Close() error               { return nil }
