package builder

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/qemu"
)

// bootModes are the firmwares that find a boot loader on a disk.
type bootModes struct{ bios, uefi bool }

// The EFI system partition's types: the GUID of the UEFI specification, section 5.3, and that of an MBR.
const (
	efiSystem    = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
	efiSystemMBR = "0xef"
)

// firmware is what to boot a disk by when nothing asks for another one: what EC2 uses by default.
func (m bootModes) firmware() (*qemu.Firmware, error) {
	if m.bios {
		return qemu.FindFirmware(qemu.BIOS)
	}
	return qemu.FindFirmware(qemu.UEFI)
}

// bootModesOf looks for what each firmware starts: code in the first sector, and an EFI system partition.
func bootModesOf(path string) (bootModes, error) {
	f, err := os.Open(path)
	if err != nil {
		return bootModes{}, err
	}
	defer f.Close()
	var code [440]byte // of the first sector, what precedes the disk signature and the partition table
	if _, err := f.ReadAt(code[:], 0); err != nil {
		return bootModes{}, fmt.Errorf("read boot sector: %w", err)
	}
	modes := bootModes{bios: code != [440]byte{}}
	table, err := disk.Partitions(path)
	if err != nil && !errors.Is(err, disk.ErrNoPartitionTable) {
		return bootModes{}, err
	}
	for _, p := range table.Partitions {
		modes.uefi = modes.uefi || strings.EqualFold(p.Type, efiSystem) || strings.EqualFold(p.Type, efiSystemMBR)
	}
	if !modes.bios && !modes.uefi {
		return bootModes{}, errors.New("no firmware could boot this disk: it has neither boot code in its first sector nor an EFI system partition")
	}
	return modes, nil
}
