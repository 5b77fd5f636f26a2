package disk

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
)

// FileSystem is what the signature at the start of a partition says is in it.
type FileSystem struct {
	Type  string // "ext2", "ext3", "ext4", "xfs", "btrfs", "vfat", "exfat", "ntfs", "f2fs", "crypto_LUKS", "BitLocker", "LVM2_member", "linux_raid_member", "isw_raid_member", "bcache", "bcachefs", "zfs_member", "swap", "iso9660", "squashfs"; as blkid says
	UUID  string // as blkid and fstab write it; empty when there is none
	Label string
	// NeedsRecovery: an ext3 or ext4 journal waits to be replayed. Unclean: an ext file system was not cleanly unmounted or has
	// recorded errors. Both false for other types.
	NeedsRecovery, Unclean bool
	// Others are the types of further signatures in the same place, with ", " between them: what lay there before, or what a mirror's member
	// holds. Nobody can tell from them alone which one is in use. Empty as a rule.
	Others string
}

// IsExt tells whether this package can read the files in it: see [OpenExt].
func (f FileSystem) IsExt() bool { return f.Type == "ext2" || f.Type == "ext3" || f.Type == "ext4" }

// DetectFileSystem reads the signatures of what lies in r, size bytes long: at most 68 KiB at its start, 128 KiB from there on, and the last 128 KiB.
// A zero FileSystem is something unknown or nothing. Of several signatures, what holds other things (RAID, LUKS, LVM2) goes before a file system, and what
// is at the start before what is elsewhere; the others are named. Where the formats are described: ext: Linux Documentation/filesystems/ext4; xfs: "XFS
// Algorithms & Data Structures", superblock; btrfs: btrfs.readthedocs.io, superblock; f2fs: Linux Documentation/filesystems/f2fs; vfat: Microsoft FAT
// specification, section 3; RAID: md(4), Linux include/uapi/linux/raid/md_p.h; LUKS: the on-disk format specifications 1 and 2; bcache: Linux
// drivers/md/bcache/bcache_ondisk.h; ZFS: "ZFS On-Disk Specification", section 1.3; swap: mkswap(8); iso9660: ECMA-119, section 8.4.
func DetectFileSystem(r io.ReaderAt, size int64) (FileSystem, error) {
	found, err := signaturesAtStart(r, size)
	if err == nil {
		var more []FileSystem
		more, err = signaturesElsewhere(r, size)
		found = append(found, more...)
	}
	if err != nil {
		return FileSystem{}, fmt.Errorf("detect file system: %w", err)
	}
	if len(found) == 0 {
		return FileSystem{}, nil
	}
	var others []string
	for _, f := range found[1:] {
		if f.Type != found[0].Type && !slices.Contains(others, f.Type) {
			others = append(others, f.Type)
		}
	}
	found[0].Others = strings.Join(others, ", ")
	return found[0], nil
}

const mdMagic = 0xa92b4efc

// readField is a function for the parts of b; those beyond its end are zeros.
func readField(b []byte) func(off, n int) []byte {
	return func(off, n int) []byte {
		if off < 0 || off+n > len(b) {
			return make([]byte, n)
		}
		return b[off : off+n]
	}
}

// signaturesAtStart finds all signatures in the first 68 KiB: first of what holds other things, then of file systems.
func signaturesAtStart(r io.ReaderAt, size int64) ([]FileSystem, error) {
	b := make([]byte, min(max(size, 0), 68<<10))
	if _, err := io.ReadFull(io.NewSectionReader(r, 0, int64(len(b))), b); err != nil {
		return nil, err
	}
	at := readField(b)
	has := func(off int, magic string) bool { return string(at(off, len(magic))) == magic }
	le := binary.LittleEndian
	var found []FileSystem
	add := func(is bool, f func() FileSystem) {
		if is {
			found = append(found, f())
		}
	}
	add(has(0, "LUKS\xba\xbe"), func() FileSystem {
		f := FileSystem{Type: "crypto_LUKS", UUID: text(at(168, 40))}
		if at(6, 2)[1] == 2 {
			f.Label = text(at(24, 48))
		}
		return f
	})
	for _, off := range []int{0, 4096} { // versions 1.1 and 1.2; 0.90 and 1.0 are at the end
		add(le.Uint32(at(off, 4)) == mdMagic, func() FileSystem {
			return FileSystem{Type: "linux_raid_member", UUID: uuidText(at(off+16, 16)), Label: text(at(off+32, 32))}
		})
	}
	for off := 0; off < 4*512; off += 512 { // the label is in one of the first four sectors
		add(has(off, "LABELONE") && has(off+24, "LVM2 001"), func() FileSystem {
			return FileSystem{Type: "LVM2_member", UUID: lvmUUID(text(at(off+32, 32)))}
		})
	}
	add(has(4096+24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"), func() FileSystem {
		return FileSystem{Type: "bcache", UUID: uuidText(at(4096+40, 16))}
	})
	add(has(4096+24, "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"), func() FileSystem {
		return FileSystem{Type: "bcachefs", UUID: uuidText(at(4096+56, 16))}
	})
	add(has(3, "-FVE-FS-"), func() FileSystem { return FileSystem{Type: "BitLocker"} })
	add(has(0, "XFSB"), func() FileSystem {
		return FileSystem{Type: "xfs", UUID: uuidText(at(32, 16)), Label: text(at(108, 12))}
	})
	add(has(0, "hsqs"), func() FileSystem { return FileSystem{Type: "squashfs"} })
	add(has(0x10040, "_BHRfS_M"), func() FileSystem {
		return FileSystem{Type: "btrfs", UUID: uuidText(at(0x10020, 16)), Label: text(at(0x1012b, 256))}
	})
	add(has(0x8001, "CD001"), func() FileSystem { return FileSystem{Type: "iso9660", Label: text(at(0x8028, 32))} })
	add(has(4086, "SWAPSPACE2"), func() FileSystem {
		return FileSystem{Type: "swap", UUID: uuidText(at(1036, 16)), Label: text(at(1052, 16))}
	})
	add(le.Uint16(at(0x438, 2)) == 0xef53, func() FileSystem { return extFileSystem(at(0x400, 1024)) })
	add(le.Uint32(at(0x400, 4)) == 0xf2f52010, func() FileSystem {
		return FileSystem{Type: "f2fs", UUID: uuidText(at(0x400+108, 16))}
	})
	add(has(3, "NTFS    "), func() FileSystem {
		return FileSystem{Type: "ntfs", UUID: fmt.Sprintf("%016X", le.Uint64(at(72, 8)))}
	})
	add(has(3, "EXFAT   "), func() FileSystem { return FileSystem{Type: "exfat", UUID: fatSerial(at(100, 4))} })
	signed := has(510, "\x55\xaa")
	add(signed && has(82, "FAT32   "), func() FileSystem {
		return FileSystem{Type: "vfat", UUID: fatSerial(at(67, 4)), Label: fatLabel(at(71, 11))}
	})
	add(signed && (has(54, "FAT16   ") || has(54, "FAT12   ")), func() FileSystem {
		return FileSystem{Type: "vfat", UUID: fatSerial(at(39, 4)), Label: fatLabel(at(43, 11))}
	})
	return found, nil
}

// signaturesElsewhere finds what has none at the start: RAID at the end, and ZFS.
func signaturesElsewhere(r io.ReaderAt, size int64) ([]FileSystem, error) {
	found, err := raidAtEnd(r, size)
	if err != nil || size < 256<<10 {
		return found, err
	}
	ring := make([]byte, 128<<10) // of uberblocks, in the first label
	if _, err := io.ReadFull(io.NewSectionReader(r, 128<<10, int64(len(ring))), ring); err != nil {
		return nil, err
	}
	for off := 0; off < len(ring); off += 1 << 10 {
		const magic = 0x00bab10c
		if binary.LittleEndian.Uint64(ring[off:]) == magic || binary.BigEndian.Uint64(ring[off:]) == magic {
			return append(found, FileSystem{Type: "zfs_member"}), nil
		}
	}
	return found, nil
}

// raidAtEnd finds the superblocks of versions 0.90 and 1.0 of Linux' RAID and of Intel's: at such a one's start is what the array holds, or a part of it.
func raidAtEnd(r io.ReaderAt, size int64) ([]FileSystem, error) {
	b := make([]byte, min(max(size, 0), 128<<10))
	start := size - int64(len(b))
	if _, err := io.ReadFull(io.NewSectionReader(r, start, int64(len(b))), b); err != nil {
		return nil, err
	}
	at := readField(b)
	sectors := size / 512
	var found []FileSystem
	if sb := int(((sectors-16)&^7)*512 - start); binary.LittleEndian.Uint32(at(sb, 4)) == mdMagic {
		found = append(found, FileSystem{Type: "linux_raid_member", UUID: uuidText(at(sb+16, 16)), Label: text(at(sb+32, 32))})
	}
	// Version 0.90 is in the byte order of the machine that made it.
	sb := at(int((sectors&^127-128)*512-start), 64)
	if binary.LittleEndian.Uint32(sb) == mdMagic || binary.BigEndian.Uint32(sb) == mdMagic {
		found = append(found, FileSystem{Type: "linux_raid_member", UUID: uuidText(slices.Concat(sb[20:24], sb[52:64]))})
	}
	if string(at(int((sectors-2)*512-start), 24)) == "Intel Raid ISM Cfg Sig. " {
		found = append(found, FileSystem{Type: "isw_raid_member"})
	}
	return found, nil
}

// Feature bits and states of the ext superblock: Linux fs/ext4/ext4.h.
const (
	extCompatJournal   = 0x4
	extCompatExclude   = 0x100
	extCompatSparse2   = 0x200
	extIncompatFiletyp = 0x2
	extIncompatRecover = 0x4
	extIncompatMetaBG  = 0x10
	extIncompatExtents = 0x40
	extIncompat64bit   = 0x80
	extIncompatMMP     = 0x100
	extIncompatFlexBG  = 0x200
	extIncompatEAInode = 0x400
	extIncompatCsumSd  = 0x2000
	extIncompatLarge   = 0x4000
	extIncompatInline  = 0x8000
	extIncompatEncrypt = 0x10000
	extIncompatCasefld = 0x20000
	extROHugeFile      = 0x8
	extROGDTCsum       = 0x10
	extROBigalloc      = 0x200
	extROMetadataCsum  = 0x400
	extROOrphanPresent = 0x10000
	extStateValid      = 0x1
	extStateErrors     = 0x2
)

func extFileSystem(sb []byte) FileSystem {
	le := binary.LittleEndian
	compat, incompat, ro := le.Uint32(sb[0x5c:]), le.Uint32(sb[0x60:]), le.Uint32(sb[0x64:])
	f := FileSystem{Type: "ext2", UUID: uuidText(sb[0x68:0x78]), Label: text(sb[0x78:0x88])}
	// libblkid's rule: what ext3 does not know makes it ext4.
	switch {
	case incompat&^(extIncompatFiletyp|extIncompatRecover|extIncompatMetaBG) != 0 || ro&^7 != 0:
		f.Type = "ext4"
	case compat&extCompatJournal != 0:
		f.Type = "ext3"
	}
	state := le.Uint16(sb[0x3a:])
	f.NeedsRecovery = incompat&extIncompatRecover != 0
	f.Unclean = state&extStateValid == 0 || state&extStateErrors != 0
	return f
}

// text is a fixed-length field up to its first NUL, without surrounding blanks; untrusted bytes become valid UTF-8.
func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return strings.TrimSpace(strings.ToValidUTF8(string(b), "?"))
}

func uuidText(b []byte) string {
	if bytes.Equal(b, make([]byte, 16)) {
		return ""
	}
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func fatSerial(b []byte) string {
	v := binary.LittleEndian.Uint32(b)
	return fmt.Sprintf("%04X-%04X", v>>16, v&0xffff)
}

func fatLabel(b []byte) string {
	if s := text(b); s != "NO NAME" {
		return s
	}
	return ""
}

func lvmUUID(s string) string {
	if len(s) != 32 {
		return s
	}
	return s[:6] + "-" + s[6:10] + "-" + s[10:14] + "-" + s[14:18] + "-" + s[18:22] + "-" + s[22:26] + "-" + s[26:]
}
