// Package fat reads FAT12, FAT16 and FAT32 file systems, with long names, out of an image: without privileges, mounts or tools, and trusting
// nothing it reads. That is what EFI system partitions and seeds for cloud-init are made of.
//
//	esp, err := fat.New(io.NewSectionReader(disk, start, size), size)
//	…
//	loader, err := fs.ReadFile(esp, "EFI/BOOT/BOOTX64.EFI")
//
// The format is that of "Microsoft Extensible Firmware Initiative FAT32 File System Specification", version 1.03; "FAT" in the comments here.
package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// Bounds of what is read.
const (
	maxFolder   = 65536 * entrySize // bytes of a folder: FAT section 6.2 allows as many entries
	maxElements = 64                // of a path: 260 characters, says Windows
	maxRuns     = 1 << 20           // pieces of one file
	maxReadFile = 64 << 20          // limit of ReadFile
	maxCounted  = 32 << 20          // bytes of the table that are read for Free
)

// FS reads a FAT file system. It is an [fs.FS], [fs.StatFS], [fs.ReadDirFS], [fs.ReadFileFS] and [fs.ReadLinkFS] (there are no symbolic links)
// and safe for concurrent use. Names are slash-separated, have no leading slash, and are found in whatever case they are written.
//
// A folder that holds itself is an error, but a damaged file system can have one folder in many places: bound your walks.
type FS struct {
	r              io.ReaderAt
	size           int64 // bytes that the boot sector claims, at most those there are
	bits           int
	clusterSize    int64
	table          int64 // offset of the first table
	tableSize      int64
	rootDir        int64 // offset of FAT12's and FAT16's root folder, which is in no cluster
	rootSize       int64
	rootCluster    uint32
	data           int64 // offset of cluster 2
	clusters       uint32
	infoSector     int64 // offset of FSInfo, 0 for none
	serial         uint32
	bootLabel      string
	sectorsClaimed int64
}

var _ interface {
	fs.StatFS
	fs.ReadDirFS
	fs.ReadFileFS
	fs.ReadLinkFS
} = (*FS)(nil)

// New reads the boot sector of the file system that fills r, size bytes long.
func New(r io.ReaderAt, size int64) (*FS, error) {
	b := make([]byte, 512)
	if err := readAt(r, b, 0); err != nil {
		return nil, fmt.Errorf("read FAT boot sector: %w", err)
	}
	le := binary.LittleEndian
	// FAT section 3.1, BIOS parameter block.
	sector, perCluster := int64(le.Uint16(b[11:])), int64(b[13])
	reserved, tables := int64(le.Uint16(b[14:])), int64(b[16])
	rootEntries, sectors := int64(le.Uint16(b[17:])), int64(le.Uint16(b[19:]))
	perTable := int64(le.Uint16(b[22:]))
	if sectors == 0 {
		sectors = int64(le.Uint32(b[32:]))
	}
	f := &FS{r: r, size: size, serial: le.Uint32(b[39:]), bootLabel: labelText(b[43:54])}
	// The specification tells FAT32 by the number of clusters alone; Linux, Windows and mkfs.vfat by this field.
	if perTable == 0 {
		f.bits = 32
		perTable = int64(le.Uint32(b[36:]))
		f.rootCluster = le.Uint32(b[44:])
		f.serial, f.bootLabel = le.Uint32(b[67:]), labelText(b[71:82])
		if info := int64(le.Uint16(b[48:])); info > 0 && info < reserved {
			f.infoSector = info * sector
		}
	}
	switch {
	case b[510] != 0x55 || b[511] != 0xaa:
		return nil, errors.New("no FAT boot sector: its signature is missing")
	case sector < 512 || sector > 4096 || sector&(sector-1) != 0, perCluster == 0 || perCluster&(perCluster-1) != 0,
		reserved == 0, tables == 0 || tables > 4, perTable == 0, sectors == 0:
		return nil, fmt.Errorf("damaged FAT boot sector: sectors of %d bytes, %d in a cluster, %d reserved, %d tables of %d sectors, %d sectors in all",
			sector, perCluster, reserved, tables, perTable, sectors)
	}
	f.clusterSize = sector * perCluster
	f.table, f.tableSize = reserved*sector, perTable*sector
	f.rootDir = f.table + tables*f.tableSize
	f.rootSize = (rootEntries*entrySize + sector - 1) / sector * sector
	f.data = f.rootDir + f.rootSize
	f.sectorsClaimed = sectors * sector
	if f.sectorsClaimed < f.size {
		f.size = f.sectorsClaimed
	}
	if f.data >= f.sectorsClaimed || f.data > size {
		return nil, fmt.Errorf("damaged FAT boot sector: the files begin at %d, behind the end", f.data)
	}
	clusters := (f.sectorsClaimed - f.data) / f.clusterSize
	switch {
	case f.bits == 32:
	case clusters < 4085: // FAT section 3.5
		f.bits = 12
	default:
		f.bits = 16
	}
	if most := f.tableSize*8/int64(f.bits) - 2; clusters > most { // those beyond the table cannot be named
		clusters = max(most, 0)
	}
	if most := int64(f.maxCluster()) - 1; clusters > most {
		clusters = most
	}
	f.clusters = uint32(clusters)
	if f.bits == 32 && !f.valid(f.rootCluster) {
		return nil, fmt.Errorf("damaged FAT boot sector: the root folder is in cluster %d of %d", f.rootCluster, f.clusters)
	}
	return f, nil
}

// Bits is 12, 16 or 32.
func (f *FS) Bits() int { return f.bits }

// Size is the length of the file system in bytes, as its boot sector tells it.
func (f *FS) Size() int64 { return f.sectorsClaimed }

// ClusterSize is the unit of allocation in bytes.
func (f *FS) ClusterSize() int64 { return f.clusterSize }

// Serial is the volume serial number, which blkid and fstab write as "XXXX-XXXX".
func (f *FS) Serial() uint32 { return f.serial }

// Label is the volume's label: that of the root folder, else that of the boot sector; "" for none.
func (f *FS) Label() string {
	label := f.bootLabel
	_ = f.scan(f.root(), func(e *entry) bool {
		if e.attributes&(attrVolume|attrFolder) == attrVolume {
			label = labelText(e.short[:])
			return false
		}
		return true
	})
	if label == "NO NAME" {
		return ""
	}
	return label
}

// Space tells how many bytes there are for files and how many of them are free: by the table, or where that is longer than 32 MiB by what
// FAT32's FSInfo sector says. ok is false when neither tells.
func (f *FS) Space() (total, free int64, ok bool) {
	total = int64(f.clusters) * f.clusterSize
	if need := (int64(f.clusters) + 2) * int64(f.bits) / 8; need > maxCounted {
		b := make([]byte, 512)
		if f.infoSector == 0 || readAt(f.r, b, f.infoSector) != nil {
			return total, 0, false
		}
		le := binary.LittleEndian
		n := le.Uint32(b[488:])
		if le.Uint32(b) != 0x41615252 || le.Uint32(b[484:]) != 0x61417272 || n > f.clusters { // FAT section 5
			return total, 0, false
		}
		return total, int64(n) * f.clusterSize, true
	}
	t := f.newTable()
	n := int64(0)
	for c := uint32(2); c < f.clusters+2; c++ {
		next, err := t.next(c)
		if err != nil {
			return total, 0, false
		}
		if next == 0 {
			n++
		}
	}
	return total, n * f.clusterSize, true
}

func (f *FS) valid(cluster uint32) bool { return cluster >= 2 && cluster-2 < f.clusters }

// maxCluster is the highest number a cluster can have.
func (f *FS) maxCluster() uint32 {
	return map[int]uint32{12: 0xff6, 16: 0xfff6, 32: 0xffffff6}[f.bits]
}

// table reads entries of the first table through a window of it.
type table struct {
	f      *FS
	start  int64 // of window, in the table
	window []byte
}

func (f *FS) newTable() *table { return &table{f: f, start: -1} }

const windowSize = 12 << 10 // whole entries of each kind

// next is the entry of a cluster: 0 when it is free, what is no valid cluster when it is the last one.
func (t *table) next(cluster uint32) (uint32, error) {
	bits := int64(t.f.bits)
	at := int64(cluster) * bits / 8
	width := (bits + 7) / 8
	if t.start < 0 || at < t.start || at+width > t.start+int64(len(t.window)) {
		start := at / windowSize * windowSize
		n := min(windowSize+1, t.f.tableSize-start) // FAT12's entries share bytes
		if at < 0 || n <= 0 || at+width > start+n {
			return 0, fmt.Errorf("cluster %d is beyond the table", cluster)
		}
		if int64(cap(t.window)) < n {
			t.window = make([]byte, windowSize+1)
		}
		t.window, t.start = t.window[:n], start
		if err := readAt(t.f.r, t.window, t.f.table+start); err != nil {
			t.start = -1
			return 0, fmt.Errorf("read table: %w", err)
		}
	}
	b := t.window[at-t.start:]
	switch bits {
	case 12:
		v := uint32(binary.LittleEndian.Uint16(b))
		if cluster&1 == 1 {
			return v >> 4, nil
		}
		return v & 0xfff, nil
	case 16:
		return uint32(binary.LittleEndian.Uint16(b)), nil
	}
	return binary.LittleEndian.Uint32(b) & 0xfffffff, nil
}

// readAt reads all of b.
func readAt(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// labelText is a label without the blanks at its end.
func labelText(b []byte) string {
	text := make([]rune, 0, len(b))
	for _, c := range b {
		if c == 0 {
			break
		}
		text = append(text, oem(c))
	}
	return strings.TrimRight(string(text), " ")
}

// oem is a character of the code page that nobody notes anywhere: what is not ASCII is not known.
func oem(c byte) rune {
	if c < 0x20 || c >= 0x7f {
		return '?'
	}
	return rune(c)
}
