package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/diskfs/go-diskfs/partition/gpt"

	"github.com/ingot-image/ingot/disk/image"
)

const mbrEntries = 446 // offset of the four entries of an MBR, of 16 bytes each

// plainProtectiveMBR refuses an MBR that names more than the GPT: its entries would have to shrink too.
func plainProtectiveMBR(raw image.Source) error {
	b := make([]byte, sectorSize)
	if _, err := raw.ReadAt(b, 0); err != nil {
		return err
	}
	for i := range 4 {
		if t := b[mbrEntries+16*i+4]; t != 0 && t != 0xee {
			return errors.New("the disk has a hybrid MBR, which names partitions beside its GPT: make it a protective one first (gdisk, expert menu, n)")
		}
	}
	return nil
}

// findsFilesByPlace refuses boot loaders that know by number the blocks of their files in a partition: resize2fs moves blocks. GRUB in a BIOS boot
// partition or behind the MBR, and all that boots by UEFI, do not mind.
func findsFilesByPlace(raw image.Source, p Partition) error {
	mbr, own := make([]byte, sectorSize), make([]byte, sectorSize)
	if _, err := raw.ReadAt(mbr, 0); err != nil {
		return err
	}
	if _, err := raw.ReadAt(own, p.Start); err != nil {
		return err
	}
	if own[510] == 0x55 && own[511] == 0xaa && !image.IsZero(own[:510]) {
		return fmt.Errorf("partition %d has a boot loader in its first sector (extlinux, LILO, GRUB), which would not find its files again", p.Index)
	}
	if string(mbr[6:10]) == "LILO" {
		return errors.New("the disk is booted by LILO, which would not find its files again")
	}
	// boot.img of GRUB has the number of the sector where core.img begins: grub-core/boot/i386/pc/boot.S, kernel_sector.
	core := binary.LittleEndian.Uint64(mbr[0x5c:])
	if bytes.Contains(mbr[:440], []byte("GRUB ")) && core >= uint64(p.Start/sectorSize) && core < uint64((p.Start+p.Size)/sectorSize) {
		return fmt.Errorf("GRUB's core.img is a file in partition %d (installed with block lists), which boot.img would not find again: install it into a BIOS boot partition or behind the MBR", p.Index)
	}
	return nil
}

// writeShrunkTable writes the partition table into a copy of a disk that is to be size bytes long, in which the last partition ends at end.
func writeShrunkTable(raw image.Source, out *PendingFile, kind string, last Partition, end, size int64) error {
	switch kind {
	case "none":
		return nil
	case "mbr":
		return shrinkMBR(out, last, end)
	}
	table, err := gpt.Read(backend{io.NewSectionReader(raw, 0, raw.Size())}, sectorSize, sectorSize)
	if err != nil {
		return err
	}
	for _, p := range table.Partitions {
		if p.Index == last.Index {
			p.End, p.Size = uint64(end/sectorSize)-1, uint64(end-last.Start)
		}
	}
	table.Resize(uint64(size))
	return table.Write(unsynced{out.File}, size)
}

// shrinkMBR sets where the last partition ends.
func shrinkMBR(out *PendingFile, last Partition, end int64) error {
	le := binary.LittleEndian
	b := make([]byte, sectorSize)
	if _, err := out.ReadAt(b, 0); err != nil {
		return err
	}
	if last.Index < 1 || last.Index > 4 {
		return fmt.Errorf("partition %d is not a primary one", last.Index)
	}
	e := b[mbrEntries+16*(last.Index-1):][:16]
	if int64(le.Uint32(e[8:]))*sectorSize != last.Start {
		return fmt.Errorf("partition %d does not begin at %d", last.Index, last.Start)
	}
	copy(e[5:8], cylinderHeadSector(end/sectorSize-1))
	le.PutUint32(e[12:], uint32((end-last.Start)/sectorSize))
	_, err := out.WriteAt(b, 0)
	return err
}

// cylinderHeadSector is a sector's number as an MBR has it beside the plain one, with the 255 heads and 63 sectors that everybody takes. What
// it cannot hold is its largest value.
func cylinderHeadSector(n int64) []byte {
	c, h, s := n/(255*63), n/63%255, n%63+1
	if c > 1023 {
		c, h, s = 1023, 254, 63
	}
	return []byte{byte(h), byte(s) | byte(c>>8<<6), byte(c)}
}
