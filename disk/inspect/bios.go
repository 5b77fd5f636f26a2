package inspect

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/ingot-image/ingot/disk"
)

// inspectBoot tells by which firmware the disk can be booted.
func (c *contents) inspectBoot() Boot {
	b := Boot{Firmware: []string{}, BIOS: c.biosBoot(), EFI: c.efiLoaders()}
	if b.BIOS != nil && (b.BIOS.CoreFound || b.BIOS.Second != "" || b.BIOS.Loader == "grub-legacy" || b.BIOS.Loader == "lilo") {
		b.Firmware = append(b.Firmware, BIOS)
	}
	for _, l := range b.EFI {
		if l.Default && !slices.Contains(b.Firmware, UEFI) {
			b.Firmware = append(b.Firmware, UEFI)
		}
	}
	for _, l := range b.EFI {
		if l.Default && l.Signed && slices.ContainsFunc(l.Signers, isMicrosoft) && !slices.Contains(b.Firmware, UEFISecureBoot) {
			b.Firmware = append(b.Firmware, UEFISecureBoot)
		}
	}
	return b
}

// biosBoot recognises the boot code in the first sector by what each loader has in it. nil: there is none.
func (c *contents) biosBoot() *BIOSBoot {
	mbr := make([]byte, 512)
	if readAt(c.src, mbr, 0) != nil || mbr[510] != 0x55 || mbr[511] != 0xaa {
		return nil
	}
	code := mbr[:440]
	if c.table.Kind == "none" { // the boot sector of a file system: its own fields come first
		code = mbr[90:510]
	}
	if len(bytes.Trim(code, "\x00")) == 0 {
		return nil
	}
	b := &BIOSBoot{Loader: "unknown"}
	has := func(text string) bool { return bytes.Contains(mbr[:510], []byte(text)) }
	switch {
	case has("GRUB ") && has("Geom"):
		// GRUB 2.06, include/grub/i386/pc/boot.h: the version is of the disk format, 1 byte each, at 0x80 in GRUB 1 (3.2), at 0x3e in GRUB legacy.
		if mbr[0x3e] == 3 && mbr[0x3f] == 2 {
			b.Loader = "grub-legacy"
			return b
		}
		b.Loader = "grub"
		c.grubCore(b, mbr)
	case has("LILO"):
		b.Loader = "lilo"
	case has("SYSLINUX"), has("Operating system load error"), has("Missing OS"):
		b.Loader = "syslinux"
		b.Second = c.bootSector("syslinux")
	case has("Invalid partition table") && has("Missing operating system"):
		b.Loader = "windows" // Debian's "mbr" and others say much the same: what matters is the partition's boot sector
		if b.Second = c.bootSector("windows"); b.Second == "" {
			b.Second = c.bootSector("syslinux")
		}
	}
	return b
}

// grubCore looks for GRUB's core image where boot.img goes on: kernel_sector at 0x5c, include/grub/i386/pc/boot.h. Its first sector is
// diskboot.img, which says "loading".
func (c *contents) grubCore(b *BIOSBoot, mbr []byte) {
	lba := binary.LittleEndian.Uint64(mbr[0x5c:])
	const sector = 512
	if lba == 0 || lba >= uint64(c.src.Size()/sector) {
		return
	}
	b.CoreStart = int64(lba) * sector
	for _, p := range c.table.Partitions {
		if !isExtended(p) && b.CoreStart >= p.Start && b.CoreStart < p.Start+p.Size {
			b.CorePartition = p.Index
		}
	}
	first := make([]byte, 2*sector)
	if readAt(c.src, first, b.CoreStart) != nil {
		return
	}
	// The block list at the end of diskboot.img: where the next sectors are, and where they go in memory (grub-core/boot/i386/pc/diskboot.S).
	next, count := binary.LittleEndian.Uint64(first[0x1f4:]), binary.LittleEndian.Uint16(first[0x1fc:])
	b.CoreFound = bytes.Contains(first[:sector], []byte("loading")) && count > 0 && next > 0 && next < uint64(c.src.Size()/sector) &&
		len(bytes.Trim(first[sector:], "\x00")) > 0
	if !b.CoreFound {
		c.problem("boot code", "GRUB's boot code leads to sector %d, where no core image is", lba)
	}
}

// bootSector looks for a partition that has a loader in its boot sector, among those marked active or, on a GPT, all.
func (c *contents) bootSector(loader string) string {
	marks := map[string][]string{"syslinux": {"SYSLINUX", "EXTLINUX"}, "windows": {"BOOTMGR", "NTLDR"}}[loader]
	for _, v := range c.volumes {
		if v.logical != "" || c.table.Kind == "mbr" && !v.partition.Active {
			continue
		}
		sector := make([]byte, 512)
		if readAt(v.src, sector, 0) != nil || sector[510] != 0x55 || sector[511] != 0xaa {
			continue
		}
		for _, mark := range marks {
			if bytes.Contains(sector, []byte(mark)) {
				return loader
			}
		}
	}
	return ""
}

// isESP tells whether firmware looks for loaders in a partition: by its type, or where a FAT fills the disk.
func (c *contents) isESP(v *volume) bool {
	return v.Type == "vfat" && v.logical == "" && (v.partition.Type == disk.TypeESP || v.partition.Type == "0xef" || c.table.Kind == "none")
}
