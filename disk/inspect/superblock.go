package inspect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

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

// readSuperblock reads how full a file system is, and which variant it is, as far as the superblock tells. The formats are described where
// disk.DetectFileSystem says; NTFS and exFAT keep the number of free clusters in files.
func (v *volume) readSuperblock() error {
	le, be := binary.LittleEndian, binary.BigEndian
	at := func(off int64, n int) []byte {
		b := make([]byte, n)
		if off+int64(n) <= v.src.Size() && readAt(v.src, b, off) == nil {
			return b
		}
		return make([]byte, n)
	}
	switch v.Type {
	case "ext2", "ext3", "ext4":
		sb := at(1024, 1024)
		blocks, free := uint64(le.Uint32(sb[4:])), uint64(le.Uint32(sb[12:]))
		if le.Uint32(sb[0x60:])&0x80 != 0 { // 64bit
			blocks |= uint64(le.Uint32(sb[0x150:])) << 32
			free |= uint64(le.Uint32(sb[0x158:])) << 32
		}
		return v.space(blocks, free, 1024<<min(le.Uint32(sb[0x18:]), 6))
	case "xfs":
		sb := at(0, 208)
		blocks, log, free := be.Uint64(sb[8:]), uint64(be.Uint32(sb[96:])), be.Uint64(sb[144:])
		v.Variant = fmt.Sprintf("v%d", be.Uint16(sb[100:])&0xf)
		if be.Uint64(sb[48:]) != 0 { // the log is in the file system
			blocks -= min(log, blocks)
		}
		var err error
		if v.NeedsRecovery, err = xfsNeedsRecovery(v.src, v.src.Size()); err != nil {
			return err
		}
		return v.space(blocks, free, uint64(be.Uint32(sb[4:])))
	case "btrfs":
		sb := at(0x10000, 0x100)
		total, used := le.Uint64(sb[0x70:]), le.Uint64(sb[0x78:])
		v.NeedsRecovery = le.Uint64(sb[0x60:]) != 0 // a log tree waits to be replayed
		if n := le.Uint64(sb[0x88:]); n > 1 {
			return fmt.Errorf("one of %d devices of a Btrfs file system: the others are not on this disk", n)
		}
		return v.space(total, total-min(used, total), 1)
	case "swap":
		pages := uint64(le.Uint32(at(1028, 4))) + 1
		return v.space(pages, pages, 4096)
	case "crypto_LUKS":
		v.Variant = fmt.Sprintf("LUKS%d", be.Uint16(at(6, 2)))
	case "squashfs":
		used := le.Uint64(at(40, 8))
		return v.space(used, 0, 1)
	case "iso9660":
		return v.space(uint64(le.Uint32(at(0x8050, 4))), 0, 2048)
	}
	return nil
}

// space keeps how full the file system is, if that can be.
func (v *volume) space(blocks, free, blockSize uint64) error {
	const most = 1 << 62
	if blockSize == 0 || blocks > most/blockSize || free > blocks {
		return fmt.Errorf("damaged %s superblock: %d of %d blocks of %d bytes are free", v.Type, free, blocks, blockSize)
	}
	v.Space = &Space{Size: int64(blocks * blockSize), Used: int64((blocks - free) * blockSize), Free: int64(free * blockSize)}
	if v.Space.Size > v.src.Size() {
		return fmt.Errorf("the file system is %d bytes long, its place %d: it is cut off", v.Space.Size, v.src.Size())
	}
	return nil
}

// checkCopies checks both copies of a GPT: UEFI specification 2.10, section 5.3.2.
func (c *contents) checkCopies() {
	if c.table.Kind == "mbr" {
		b := make([]byte, 4)
		if readAt(c.src, b, 440) == nil {
			c.report.ID = fmt.Sprintf("%08x", binary.LittleEndian.Uint32(b))
		}
	}
	if c.table.Kind != "gpt" {
		return
	}
	const sector = 512
	last := c.src.Size()/sector - 1
	primary, guid, other := c.gptCopy(1)
	backup, guid2, _ := c.gptCopy(last)
	c.report.PrimaryValid, c.report.BackupValid, c.report.BackupAtEnd = primary, backup, backup
	if primary {
		c.report.ID = guid
		if other != last {
			c.report.BackupValid, _, _ = c.gptCopy(other)
		}
	} else {
		c.report.ID = guid2
	}
	switch {
	case !primary:
		c.problem("partition table", "the primary GPT is damaged")
	case !c.report.BackupValid:
		c.problem("partition table", "the GPT's second copy is missing or damaged")
	case !c.report.BackupAtEnd:
		c.problem("partition table", "the GPT's second copy is at sector %d and not at the end of the disk, sector %d", other, last)
	}
}

// gptCopy checks the GPT header in a sector and its entries. It tells the disk's GUID and where the other header is.
func (c *contents) gptCopy(lba int64) (valid bool, guid string, other int64) {
	const sector = 512
	h := make([]byte, sector)
	if lba < 1 || lba > c.src.Size()/sector-1 || readAt(c.src, h, lba*sector) != nil {
		return false, "", 0
	}
	le := binary.LittleEndian
	length := le.Uint32(h[12:])
	if string(h[:8]) != "EFI PART" || length < 92 || length > sector || int64(le.Uint64(h[24:])) != lba {
		return false, "", 0
	}
	sum := le.Uint32(h[16:])
	clear(h[16:20])
	count, size, first := int64(le.Uint32(h[80:])), int64(le.Uint32(h[84:])), int64(le.Uint64(h[72:]))
	const most = 1 << 20 // bytes of entries, and of either factor: the product cannot overflow
	if crc32.ChecksumIEEE(h[:length]) != sum || count > most || size > most || count*size > most || first < 1 || first > c.src.Size()/sector {
		return false, "", 0
	}
	entries := make([]byte, count*size)
	if readAt(c.src, entries, first*sector) != nil || crc32.ChecksumIEEE(entries) != le.Uint32(h[88:]) {
		return false, "", 0
	}
	g := h[56:72]
	guid = fmt.Sprintf("%08X-%04X-%04X-%X-%X", le.Uint32(g), le.Uint16(g[4:]), le.Uint16(g[6:]), g[8:10], g[10:16])
	return true, guid, int64(le.Uint64(h[32:]))
}

// typeName names the partition types that are met: the Discoverable Partitions Specification, the UEFI specification, and what MBRs use.
func typeName(kind string) string {
	switch kind {
	case "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "0xef":
		return "EFI system"
	case "21686148-6449-6E6F-744E-656564454649":
		return "BIOS boot"
	case "0FC63DAF-8483-4772-8E79-3D69D8477DE4", "0x83":
		return "Linux"
	case "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709":
		return "Linux root (x86-64)"
	case "B921B045-1DF0-41C3-AF44-4C6F280D3FAE":
		return "Linux root (ARM64)"
	case "8484680C-9521-48C6-9C11-B0720656F69E":
		return "Linux /usr (x86-64)"
	case "BC13C2FF-59E6-4262-A352-B275FD6F7172":
		return "Linux extended boot"
	case "933AC7E1-2EB4-4F13-B844-0E14E2AEF915":
		return "Linux home"
	case "3B8F8425-20E0-4F3B-907F-1A25A76F98E8":
		return "Linux server data"
	case "4D21B016-B534-45C2-A9FB-5C16E091FD2D":
		return "Linux /var"
	case "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F", "0x82":
		return "Linux swap"
	case "E6D6D379-F507-44C2-A23C-238F2A3DF928", "0x8e":
		return "Linux LVM"
	case "A19D880F-05FC-4D3B-A006-743F0F84911E", "0xfd":
		return "Linux RAID"
	case "9E1A2D38-C612-4316-AA26-8B49521E5A8B":
		return "PowerPC PReP boot"
	case "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7":
		return "Microsoft basic data"
	case "E3C9E316-0B5C-4DB8-817D-F92DF00215AE":
		return "Microsoft reserved"
	case "DE94BBA4-06D1-4D40-A16A-BFD50179D6AC", "0x27":
		return "Windows recovery"
	case "0x07":
		return "NTFS or exFAT"
	case "0x01", "0x04", "0x06", "0x0b", "0x0c", "0x0e":
		return "FAT"
	case "0x05", "0x0f", "0x85":
		return "extended"
	}
	return ""
}
