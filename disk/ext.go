package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/ingot-image/ingot/disk/internal/folder"
)

// Ext reads files out of an ext2, ext3 or ext4 file system in an image, without privileges, mounts or tools, and trusting
// nothing it reads. It is an [fs.FS], [fs.StatFS], [fs.ReadDirFS], [fs.ReadFileFS] and [fs.ReadLinkFS]: names are slash-separated
// and have no leading slash. Symbolic links are followed within the file system only; an absolute target starts at its root.
// The [fs.FileInfo]s' Sys is an [ExtStat].
//
// Holes and unwritten extents read as zeros. The journal is not replayed: see [FileSystem].NeedsRecovery. Not supported, with
// an error that wraps [errors.ErrUnsupported]: inline data, encrypted files, and features unknown to Linux 6.1.
// Format: Linux Documentation/filesystems/ext4.
type Ext struct {
	r      io.ReaderAt
	size   int64
	closer io.Closer

	blockSize, inodeSize, descSize int64
	inodesPerGroup, blocksPerGroup uint32
	groups, firstDataBlock         uint32
	inodes                         uint32
	firstMetaBG                    uint32
	metaBG, sparseSuper            bool
	backups                        *[2]uint32 // groups with a copy of the superblock, where sparse_super2 names them
}

var errOutsideExt = errors.New("lies outside the file system")

var _ interface {
	fs.StatFS
	fs.ReadDirFS
	fs.ReadFileFS
	fs.ReadLinkFS
} = (*Ext)(nil)

// ExtStat is what [fs.FileInfo].Sys returns for files of an [Ext].
type ExtStat struct {
	Inode    uint32
	UID, GID uint32
	Links    uint16
}

// Owner gives the numbers of the file's user and group.
func (s ExtStat) Owner() (uid, gid uint32) { return s.UID, s.GID }

// FileID is what tells the file from the others of its file system, whatever its names.
func (s ExtStat) FileID() uint64 { return uint64(s.Inode) }

const (
	extRootInode    = 2
	extMaxDir       = 64 << 20 // bytes of a folder that are read
	extMaxFile      = 64 << 20 // limit of ReadFile
	extMaxLinks     = 40       // symbolic links followed for one name, as Linux does
	extMaxSteps     = 4096     // path elements walked for one name
	extSupported    = extIncompatFiletyp | extIncompatRecover | extIncompatMetaBG | extIncompatExtents | extIncompat64bit | extIncompatMMP | extIncompatFlexBG | extIncompatEAInode | extIncompatCsumSd | extIncompatLarge | extIncompatInline | extIncompatEncrypt | extIncompatCasefld
	extSuperOffset  = 1024
	extMaxBlockSize = 64 << 10
)

// OpenExt opens the ext file system at an extent of a raw image. Close it after use.
func OpenExt(imagePath string, at Extent) (*Ext, error) {
	f, size, err := openRegular(imagePath)
	if err != nil {
		return nil, fmt.Errorf("open ext file system: %w", err)
	}
	if at.Start < 0 || at.Size < 0 || at.Start > size || at.Size > size-at.Start {
		f.Close()
		return nil, fmt.Errorf("open ext file system: %d bytes at %d lie beyond the end of %s", at.Size, at.Start, imagePath)
	}
	e, err := NewExt(io.NewSectionReader(f, at.Start, at.Size))
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open ext file system in %s: %w", imagePath, err)
	}
	e.closer = f
	return e, nil
}

// NewExt reads the superblock of the ext file system that fills r.
func NewExt(r *io.SectionReader) (*Ext, error) {
	sb := make([]byte, 1024)
	if _, err := io.ReadFull(io.NewSectionReader(r, extSuperOffset, 1024), sb); err != nil {
		return nil, fmt.Errorf("read superblock: %w", err)
	}
	le := binary.LittleEndian
	if le.Uint16(sb[0x38:]) != 0xef53 {
		return nil, errors.New("no ext superblock")
	}
	incompat := le.Uint32(sb[0x60:])
	if le.Uint32(sb[0x4c:]) == 0 { // revision 0 has no feature fields
		incompat = 0
	}
	if bad := incompat &^ extSupported; bad != 0 {
		return nil, fmt.Errorf("ext features %#x: %w", bad, errors.ErrUnsupported)
	}
	log := le.Uint32(sb[0x18:])
	if log > 6 {
		return nil, fmt.Errorf("ext block size 2^%d KiB", log)
	}
	e := &Ext{r: r, size: r.Size(), blockSize: 1024 << log, inodeSize: 128, descSize: 32,
		inodes: le.Uint32(sb[0:]), firstDataBlock: le.Uint32(sb[0x14:]),
		blocksPerGroup: le.Uint32(sb[0x20:]), inodesPerGroup: le.Uint32(sb[0x28:]),
		metaBG: incompat&extIncompatMetaBG != 0, firstMetaBG: le.Uint32(sb[0x104:]),
		sparseSuper: le.Uint32(sb[0x64:])&1 != 0}
	if le.Uint32(sb[0x5c:])&extCompatSparse2 != 0 {
		e.backups = &[2]uint32{le.Uint32(sb[0x24c:]), le.Uint32(sb[0x250:])}
	}
	if le.Uint32(sb[0x4c:]) > 0 {
		e.inodeSize = int64(le.Uint16(sb[0x58:]))
	}
	if incompat&extIncompat64bit != 0 {
		e.descSize = int64(le.Uint16(sb[0xfe:]))
	}
	if e.inodeSize < 128 || e.inodeSize > e.blockSize || e.inodeSize&(e.inodeSize-1) != 0 ||
		e.descSize < 32 || e.descSize > 1024 || e.descSize&(e.descSize-1) != 0 ||
		e.blocksPerGroup == 0 || e.inodesPerGroup == 0 || e.inodes == 0 {
		return nil, errors.New("damaged ext superblock")
	}
	e.groups = (e.inodes-1)/e.inodesPerGroup + 1
	return e, nil
}

// Close closes the image if [OpenExt] opened it.
func (e *Ext) Close() error {
	if e.closer == nil {
		return nil
	}
	return e.closer.Close()
}

func (e *Ext) block(n uint64) ([]byte, error) {
	b := make([]byte, e.blockSize)
	if n == 0 || n > uint64(e.size/e.blockSize) {
		return nil, fmt.Errorf("block %d %w", n, errOutsideExt)
	}
	if _, err := io.ReadFull(io.NewSectionReader(e.r, int64(n)*e.blockSize, e.blockSize), b); err != nil {
		return nil, fmt.Errorf("read block %d: %w", n, err)
	}
	return b, nil
}

// descriptor reads the group descriptor of group g.
func (e *Ext) descriptor(g uint32) ([]byte, error) {
	perBlock := uint32(e.blockSize / e.descSize)
	i := g / perBlock
	super := uint64(extSuperOffset / e.blockSize) // its block, which with bigalloc is not always the first of the first group
	loc := super + 1 + uint64(i)
	if e.metaBG && i >= e.firstMetaBG {
		first := i * perBlock
		loc = uint64(e.firstDataBlock) + uint64(first)*uint64(e.blocksPerGroup)
		if e.hasSuper(first) {
			loc++
		}
		if first == 0 {
			loc = super + 1
		}
	}
	b, err := e.block(loc)
	if err != nil {
		return nil, err
	}
	off := int64(g%perBlock) * e.descSize
	return b[off : off+e.descSize], nil
}

// hasSuper: with sparse_super, groups 0, 1 and the powers of 3, 5 and 7 hold a copy of the superblock; with sparse_super2 two that it names.
func (e *Ext) hasSuper(g uint32) bool {
	if e.backups != nil {
		return g == 0 || g == e.backups[0] || g == e.backups[1]
	}
	if g <= 1 || !e.sparseSuper {
		return true
	}
	for _, base := range []uint64{3, 5, 7} {
		for p := base; p <= uint64(g); p *= base {
			if p == uint64(g) {
				return true
			}
		}
	}
	return false
}

func (e *Ext) inode(n uint32) (*extInode, error) {
	if n == 0 || n > e.inodes {
		return nil, fmt.Errorf("inode %d does not exist", n)
	}
	g := (n - 1) / e.inodesPerGroup
	d, err := e.descriptor(g)
	if err != nil {
		return nil, fmt.Errorf("descriptor of group %d: %w", g, err)
	}
	le := binary.LittleEndian
	table := uint64(le.Uint32(d[8:]))
	if len(d) >= 64 {
		table |= uint64(le.Uint32(d[0x28:])) << 32
	}
	pos := int64((n-1)%e.inodesPerGroup) * e.inodeSize
	b, err := e.block(table + uint64(pos/e.blockSize))
	if err != nil {
		return nil, fmt.Errorf("inode %d: %w", n, err)
	}
	return parseExtInode(e, n, b[pos%e.blockSize:][:e.inodeSize])
}

// walk finds the inode of a name. Names and link targets are taken apart one element at a time, so that ".." and absolute
// targets never leave the file system.
func (e *Ext) walk(name string, followLast bool) (*extInode, error) {
	root, err := e.inode(extRootInode)
	if err != nil {
		return nil, err
	}
	stack, todo, links := []*extInode{root}, strings.Split(name, "/"), 0
	for steps := 0; len(todo) > 0; steps++ {
		if steps > extMaxSteps {
			return nil, errors.New("too many path elements")
		}
		element := todo[0]
		todo = todo[1:]
		switch element {
		case "", ".":
			continue
		case "..":
			if len(stack) > 1 {
				stack = stack[:len(stack)-1]
			}
			continue
		}
		dir := stack[len(stack)-1]
		if !dir.mode().IsDir() {
			return nil, errors.New("not a directory")
		}
		n, err := dir.lookup(element)
		if err != nil {
			return nil, err
		}
		i, err := e.inode(n)
		if err != nil {
			return nil, err
		}
		i.base = element
		if i.mode()&fs.ModeSymlink == 0 || (len(todo) == 0 && !followLast) {
			stack = append(stack, i)
			continue
		}
		if links++; links > extMaxLinks {
			return nil, errors.New("too many levels of symbolic links")
		}
		target, err := i.readLink()
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(target, "/") {
			stack = stack[:1]
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return stack[len(stack)-1], nil
}

func (e *Ext) find(op, name string, follow bool) (*extInode, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	i, err := e.walk(name, follow)
	if err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	i.base = path.Base(name)
	return i, nil
}

// Open opens a file or a folder for reading. The files also are [io.ReaderAt]s.
func (e *Ext) Open(name string) (fs.File, error) {
	i, err := e.find("open", name, true)
	if err != nil {
		return nil, err
	}
	if i.mode().IsDir() {
		entries, err := i.entries()
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		return folder.Open(i, entries), nil
	}
	if !i.mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fmt.Errorf("neither a file nor a folder: %w", fs.ErrInvalid)}
	}
	m, err := i.mapping()
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &extFile{io.NewSectionReader(m, 0, i.size), i}, nil
}

// Stat describes the file that a name leads to.
func (e *Ext) Stat(name string) (fs.FileInfo, error) {
	i, err := e.find("stat", name, true)
	if err != nil {
		return nil, err
	}
	return i, nil
}

// Lstat describes a file without following a symbolic link in the last element.
func (e *Ext) Lstat(name string) (fs.FileInfo, error) {
	i, err := e.find("lstat", name, false)
	if err != nil {
		return nil, err
	}
	return i, nil
}

// ReadLink returns the target of a symbolic link as it is stored: untrusted text.
func (e *Ext) ReadLink(name string) (string, error) {
	i, err := e.find("readlink", name, false)
	if err != nil {
		return "", err
	}
	target, err := i.readLink()
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return target, nil
}

// ReadDir lists a folder, sorted by name. Entries whose names are no valid file names are left out.
func (e *Ext) ReadDir(name string) ([]fs.DirEntry, error) {
	i, err := e.find("readdir", name, true)
	if err != nil {
		return nil, err
	}
	entries, err := i.entries()
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	return entries, nil
}

// ReadFile reads a whole file of at most 64 MiB. See Dump for longer ones.
func (e *Ext) ReadFile(name string) ([]byte, error) {
	var b bytes.Buffer
	if err := e.copyTo(context.Background(), &b, name, extMaxFile); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
