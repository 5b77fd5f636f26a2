package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sort"
	"strings"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/diskfs/go-diskfs/partition/mbr"
)

// Partition is one entry of a GPT or MBR partition table.
type Partition struct {
	Index int    // number as the kernel counts: 1 is the first; 5 and up are logical partitions of an MBR disk
	Start int64  // offset in bytes
	Size  int64  // length in bytes
	Type  string // GPT: type GUID in upper case; MBR: type as "0x83"
	GUID  string // GPT: unique GUID in upper case; MBR: disk signature and index as "1a2b3c4d-01" (PARTUUID)
	Name  string // GPT only
	// Active is the MBR's boot flag.
	Active     bool
	FileSystem FileSystem
}

// isExtended tells whether it is the partition of an MBR disk that holds the logical ones.
func (p Partition) isExtended() bool { return p.Type == "0x05" || p.Type == "0x0f" || p.Type == "0x85" }

// Partition types that matter for booting.
const (
	TypeBIOSBoot = "21686148-6449-6E6F-744E-656564454649"
	TypeESP      = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
)

// Table is a disk's partition table.
type Table struct {
	Kind       string // "gpt", "mbr", or "none" when a file system fills the whole disk
	Partitions []Partition
	// FromBackup: the primary GPT is damaged and the backup at the end of the disk was read.
	FromBackup bool
}

// ErrNoPartitionTable says that a disk has neither a partition table nor a file system that fills it.
var ErrNoPartitionTable = errors.New("no partition table")

// maxPartitions bounds GPT entry arrays and chains of logical partitions.
const maxPartitions = 256

// Partitions reads the partition table of a raw image, and the file system signature in every partition, sorted by place on the
// disk. Partitions that reach beyond the end of the disk are an error. See [ErrNoPartitionTable].
func Partitions(path string) (Table, error) {
	f, size, err := openRegular(path)
	if err != nil {
		return Table{}, fmt.Errorf("read partition table: %w", err)
	}
	defer f.Close()
	t, err := ReadTable(f, size)
	if err != nil {
		return t, fmt.Errorf("read partition table of %s: %w", path, err)
	}
	return t, nil
}

// ReadTable is [Partitions] for a disk that is open already, size bytes long.
func ReadTable(r io.ReaderAt, size int64) (Table, error) {
	t, err := readTable(r, size)
	if err != nil {
		return t, err
	}
	for i := range t.Partitions {
		p := &t.Partitions[i]
		if p.Start < 0 || p.Size <= 0 || p.Start > size || p.Size > size-p.Start {
			return t, fmt.Errorf("partition %d, %d bytes at %d, reaches beyond the disk of %d bytes", p.Index, p.Size, p.Start, size)
		}
		if p.FileSystem, err = DetectFileSystem(io.NewSectionReader(r, p.Start, p.Size), p.Size); err != nil {
			return t, fmt.Errorf("partition %d: %w", p.Index, err)
		}
	}
	sort.SliceStable(t.Partitions, func(i, j int) bool { return t.Partitions[i].Start < t.Partitions[j].Start })
	return t, nil
}

func readTable(r io.ReaderAt, size int64) (Table, error) {
	if size < 2*sectorSize {
		return Table{}, ErrNoPartitionTable
	}
	b := backend{io.NewSectionReader(r, 0, size)}
	if err := checkGPT(r, size); err == nil {
		g, err := gpt.Read(b, sectorSize, sectorSize)
		if err != nil {
			return Table{}, err
		}
		t := Table{Kind: "gpt", FromBackup: g.RecoveredFromBackup}
		for _, p := range g.Partitions {
			if p.Start > p.End || p.End > 1<<53 {
				return t, fmt.Errorf("partition %d goes from sector %d to %d", p.Index, p.Start, p.End)
			}
			t.Partitions = append(t.Partitions, Partition{Index: p.Index, Start: int64(p.Start) * sectorSize, Size: int64(p.End-p.Start+1) * sectorSize,
				Type: strings.ToUpper(string(p.Type)), GUID: strings.ToUpper(p.GUID), Name: strings.ToValidUTF8(p.Name, "?")})
		}
		return t, nil
	} else if !errors.Is(err, errNoGPT) {
		return Table{}, err
	}
	// A file system without a table may carry a boot sector that looks like an MBR, FAT above all.
	// What is elsewhere than at the start says nothing: disks keep the signatures of former lives there.
	if found, err := signaturesAtStart(r, size); err != nil {
		return Table{}, fmt.Errorf("detect file system: %w", err)
	} else if len(found) > 0 && found[0].Type != "iso9660" {
		return Table{Kind: "none", Partitions: []Partition{{Index: 0, Start: 0, Size: size}}}, nil
	}
	m, err := mbr.Read(b, sectorSize, sectorSize)
	if err != nil {
		return Table{}, ErrNoPartitionTable
	}
	t := Table{Kind: "mbr"}
	for _, p := range m.Partitions {
		if p.Type == mbr.Empty || p.Size == 0 {
			continue
		}
		e := Partition{Index: p.Index, Start: int64(p.Start) * sectorSize, Size: int64(p.Size) * sectorSize,
			Type: fmt.Sprintf("0x%02x", byte(p.Type)), GUID: fmt.Sprintf("%s-%02x", m.UUID(), p.Index), Active: p.Bootable}
		t.Partitions = append(t.Partitions, e)
		if e.isExtended() {
			logical, err := logicalPartitions(r, size, m.UUID(), int64(p.Start))
			if err != nil {
				return t, err
			}
			t.Partitions = append(t.Partitions, logical...)
		}
	}
	if len(t.Partitions) == 0 {
		return Table{}, ErrNoPartitionTable
	}
	return t, nil
}

// logicalPartitions follows the chain of extended boot records, which go-diskfs does not read: each has the partition's entry,
// relative to the record, and the next record's, relative to the extended partition.
func logicalPartitions(r io.ReaderAt, size int64, signature string, extended int64) ([]Partition, error) {
	var out []Partition
	le := binary.LittleEndian
	for at, seen := extended, map[int64]bool{}; len(seen) < maxPartitions; {
		if seen[at] || at*sectorSize > size-sectorSize {
			return out, fmt.Errorf("chain of logical partitions is broken at sector %d", at)
		}
		seen[at] = true
		b := make([]byte, sectorSize)
		if _, err := io.ReadFull(io.NewSectionReader(r, at*sectorSize, sectorSize), b); err != nil {
			return out, err
		}
		if b[510] != 0x55 || b[511] != 0xaa {
			return out, nil
		}
		if e := b[446:462]; e[4] != 0 && le.Uint32(e[12:]) != 0 {
			i := 5 + len(out)
			out = append(out, Partition{Index: i, Start: (at + int64(le.Uint32(e[8:]))) * sectorSize, Size: int64(le.Uint32(e[12:])) * sectorSize,
				Type: fmt.Sprintf("0x%02x", e[4]), GUID: fmt.Sprintf("%s-%02x", signature, i), Active: e[0] == 0x80})
		}
		next := b[462:478]
		if next[4] == 0 || le.Uint32(next[12:]) == 0 {
			return out, nil
		}
		at = extended + int64(le.Uint32(next[8:]))
	}
	return out, fmt.Errorf("more than %d logical partitions", maxPartitions)
}

var errNoGPT = errors.New("no GPT")

// checkGPT looks at what go-diskfs would trust: the entry array's place and length in the primary and the backup header.
// UEFI specification 2.10, section 5.3.2.
func checkGPT(r io.ReaderAt, size int64) error {
	found := false
	le := binary.LittleEndian
	for _, at := range []int64{sectorSize, size/sectorSize*sectorSize - sectorSize} {
		h := make([]byte, sectorSize)
		if _, err := io.ReadFull(io.NewSectionReader(r, at, sectorSize), h); err != nil {
			return err
		}
		if string(h[:8]) != "EFI PART" {
			continue
		}
		found = true
		first, count, length := le.Uint64(h[72:]), le.Uint32(h[80:]), le.Uint32(h[84:])
		if length != 128 || count == 0 || count > maxPartitions || first < 1 || first > uint64(size)/sectorSize ||
			int64(count)*int64(length) > size-int64(first)*sectorSize {
			return fmt.Errorf("GPT header at offset %d: %d entries of %d bytes at sector %d", at, count, length, first)
		}
	}
	if !found {
		return errNoGPT
	}
	return nil
}

// backend is the part of a file that go-diskfs reads tables through.
type backend struct{ *io.SectionReader }

func (backend) Stat() (fs.FileInfo, error) { return nil, errors.ErrUnsupported }
func (backend) Close() error               { return nil }

// FindRoot tells which partition of a raw image holds the root file system: the first ext file system with /etc/os-release,
// /usr/lib/os-release or /etc/fstab. ok is false when there is none, or when it lies in something this package cannot read.
func FindRoot(path string, t Table) (p Partition, ok bool) {
	f, _, err := openRegular(path)
	if err != nil {
		return Partition{}, false
	}
	defer f.Close()
	for _, p := range t.Partitions {
		if !p.FileSystem.IsExt() {
			continue
		}
		e, err := NewExt(io.NewSectionReader(f, p.Start, p.Size))
		if err != nil {
			continue
		}
		for _, name := range []string{"etc/os-release", "usr/lib/os-release", "etc/fstab"} {
			if st, err := e.Stat(name); err == nil && st.Mode().IsRegular() {
				return p, true
			}
		}
	}
	return Partition{}, false
}
