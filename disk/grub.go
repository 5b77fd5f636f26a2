package disk

import (
	"encoding/binary"
	"fmt"
	"io"
)

// installGRUB does what grub-bios-setup does for a core image that lies in one piece in a BIOS boot partition, and works on
// image files, where grub-bios-setup does not. Offsets: GRUB 2.06, include/grub/i386/pc/boot.h (GRUB_BOOT_MACHINE_*) and
// grub-core/boot/i386/pc/diskboot.S (the block list at the end of the first sector).
func installGRUB(w io.WriterAt, boot, core []byte, at Extent) error {
	const (
		bootCode     = 440  // the disk signature and the partition table follow
		kernelSector = 0x5c // u64: first sector of core.img
		bootDrive    = 0x64 // 0xff: as passed by the BIOS
		driveCheck   = 0x66 // two NOPs: trust the BIOS, as grub-setup does for hard disks
		blockList    = 0x1f4
		loadSegment  = 0x820 // where the second sector goes
	)
	le := binary.LittleEndian
	if len(boot) != sectorSize || boot[510] != 0x55 || boot[511] != 0xaa {
		return fmt.Errorf("boot.img is not a boot sector (%d bytes)", len(boot))
	}
	sectors := (int64(len(core)) + sectorSize - 1) / sectorSize
	if sectors < 2 || sectors > at.Size/sectorSize || sectors-1 > 0xffff {
		return fmt.Errorf("core.img of %d bytes does not fit into the BIOS boot partition of %d bytes", len(core), at.Size)
	}
	lba := uint64(at.Start / sectorSize)
	b := append([]byte(nil), boot[:bootCode]...)
	le.PutUint64(b[kernelSector:], lba)
	b[bootDrive] = 0xff
	b[driveCheck], b[driveCheck+1] = 0x90, 0x90
	c := make([]byte, sectors*sectorSize)
	copy(c, core)
	le.PutUint64(c[blockList:], lba+1)
	le.PutUint16(c[blockList+8:], uint16(sectors-1))
	le.PutUint16(c[blockList+10:], loadSegment)
	if _, err := w.WriteAt(c, at.Start); err != nil {
		return err
	}
	_, err := w.WriteAt(b, 0)
	return err
}
