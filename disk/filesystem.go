package disk

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// FileSystem is what the signature at the start of a partition says is in it.
type FileSystem struct {
	Type  string // "ext2", "ext3", "ext4", "xfs", "btrfs", "vfat", "exfat", "ntfs", "f2fs", "crypto_LUKS", "BitLocker", "LVM2_member", "linux_raid_member", "swap", "iso9660", "squashfs"; as blkid says
	UUID  string // as blkid and fstab write it; empty when there is none
	Label string
	// NeedsRecovery: an ext3 or ext4 journal waits to be replayed. Unclean: an ext file system was not cleanly unmounted or has
	// recorded errors. Both false for other types.
	NeedsRecovery, Unclean bool
}

// IsExt tells whether this package can read the files in it: see [OpenExt].
func (f FileSystem) IsExt() bool { return f.Type == "ext2" || f.Type == "ext3" || f.Type == "ext4" }

// DetectFileSystem reads the signature of what lies in r, size bytes long: at most 68 KiB. A zero FileSystem is something
// unknown or nothing. Where the formats are described: ext: Linux Documentation/filesystems/ext4; xfs: "XFS Algorithms & Data
// Structures", superblock; btrfs: btrfs.readthedocs.io, superblock; f2fs: Linux Documentation/filesystems/f2fs; vfat: Microsoft FAT specification, section 3; RAID: md(4); LUKS: the
// on-disk format specifications 1 and 2; swap: mkswap(8); iso9660: ECMA-119, section 8.4.
func DetectFileSystem(r io.ReaderAt, size int64) (FileSystem, error) {
	b := make([]byte, min(max(size, 0), 68<<10))
	if _, err := io.ReadFull(io.NewSectionReader(r, 0, int64(len(b))), b); err != nil {
		return FileSystem{}, fmt.Errorf("detect file system: %w", err)
	}
	at := func(off, n int) []byte {
		if off+n > len(b) {
			return make([]byte, n)
		}
		return b[off : off+n]
	}
	has := func(off int, magic string) bool { return string(at(off, len(magic))) == magic }
	le := binary.LittleEndian
	switch {
	case has(0, "LUKS\xba\xbe"):
		f := FileSystem{Type: "crypto_LUKS", UUID: text(at(168, 40))}
		if at(6, 2)[1] == 2 {
			f.Label = text(at(24, 48))
		}
		return f, nil
	case has(0, "XFSB"):
		return FileSystem{Type: "xfs", UUID: uuidText(at(32, 16)), Label: text(at(108, 12))}, nil
	case has(0, "hsqs"):
		return FileSystem{Type: "squashfs"}, nil
	case has(0x10040, "_BHRfS_M"):
		return FileSystem{Type: "btrfs", UUID: uuidText(at(0x10020, 16)), Label: text(at(0x1012b, 256))}, nil
	case has(0x8001, "CD001"):
		return FileSystem{Type: "iso9660", Label: text(at(0x8028, 32))}, nil
	case has(4086, "SWAPSPACE2"):
		return FileSystem{Type: "swap", UUID: uuidText(at(1036, 16)), Label: text(at(1052, 16))}, nil
	case le.Uint16(at(0x438, 2)) == 0xef53:
		return extFileSystem(at(0x400, 1024)), nil
	case le.Uint32(at(0x400, 4)) == 0xf2f52010:
		return FileSystem{Type: "f2fs", UUID: uuidText(at(0x400+108, 16))}, nil
	case le.Uint32(at(4096, 4)) == 0xa92b4efc: // version 1.2; the others are at the end or at the beginning
		return FileSystem{Type: "linux_raid_member", UUID: uuidText(at(4096+16, 16)), Label: text(at(4096+32, 32))}, nil
	case has(3, "-FVE-FS-"):
		return FileSystem{Type: "BitLocker"}, nil
	case has(3, "NTFS    "):
		return FileSystem{Type: "ntfs", UUID: fmt.Sprintf("%016X", le.Uint64(at(72, 8)))}, nil
	case has(3, "EXFAT   "):
		return FileSystem{Type: "exfat", UUID: fatSerial(at(100, 4))}, nil
	case has(510, "\x55\xaa") && has(82, "FAT32   "):
		return FileSystem{Type: "vfat", UUID: fatSerial(at(67, 4)), Label: fatLabel(at(71, 11))}, nil
	case has(510, "\x55\xaa") && (has(54, "FAT16   ") || has(54, "FAT12   ")):
		return FileSystem{Type: "vfat", UUID: fatSerial(at(39, 4)), Label: fatLabel(at(43, 11))}, nil
	}
	for sector := 0; sector < 4; sector++ { // LVM2: the label is in one of the first four sectors
		if has(sector*512, "LABELONE") && has(sector*512+24, "LVM2 001") {
			return FileSystem{Type: "LVM2_member", UUID: lvmUUID(text(at(sector*512+32, 32)))}, nil
		}
	}
	return FileSystem{}, nil
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
