package disk

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	diskbackend "github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/partition/gpt"
)

const (
	mib        = 1 << 20
	sectorSize = 512
)

// Hybrid describes a GPT disk that boots by BIOS and by UEFI: partition 14 holds GRUB's core image (BIOS boot partition),
// partition 15 is the EFI system partition, partition 1 the ext4 root file system, last on the disk so that it can grow.
//
// The steps are separate because the root file system is often written by somebody else, in a user namespace for example:
//
//	h.Partition(path)           // sparse file with the partition table
//	h.MakeRoot(ctx, path, dir)  // mke2fs -d into the root partition
//	h.InstallBoot(ctx, path, b) // ESP and BIOS boot code
type Hybrid struct {
	// Size of the disk in bytes, a multiple of 1 MiB, at least 256 MiB.
	Size int64
	// GUIDs of the disk and the partitions, and the UUID of the root file system, as 36 characters.
	DiskGUID, BIOSGUID, ESPGUID, RootGUID, RootUUID string
	// ESPSerial is the volume serial number of the ESP; blkid shows it as UUID "XXXX-XXXX".
	ESPSerial uint32
}

// BIOSBoot is where the BIOS boot partition lies.
func (h Hybrid) BIOSBoot() Extent { return Extent{Start: 1 * mib, Size: 3 * mib} }

// ESP is where the EFI system partition lies.
func (h Hybrid) ESP() Extent { return Extent{Start: 4 * mib, Size: 124 * mib} }

// Root is where the root file system lies.
func (h Hybrid) Root() Extent { return Extent{Start: 128 * mib, Size: h.Size - 129*mib} }

// ESPUUID is the ESP's UUID as blkid and fstab write it.
func (h Hybrid) ESPUUID() string {
	return fmt.Sprintf("%04X-%04X", h.ESPSerial>>16, h.ESPSerial&0xffff)
}

// Partition makes a new sparse file of h.Size at path, which must not exist, with a protective MBR and a GPT (UEFI
// specification 2.10, section 5).
func (h Hybrid) Partition(path string) error {
	if h.Size%mib != 0 || h.Size < 256*mib {
		return fmt.Errorf("partition %s: size of %d bytes is no multiple of 1 MiB of at least 256 MiB", path, h.Size)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("partition: %w", err)
	}
	defer f.Close()
	if err := f.Truncate(h.Size); err != nil {
		return fmt.Errorf("partition: %w", err)
	}
	part := func(index int, e Extent, kind gpt.Type, name, guid string) *gpt.Partition {
		return &gpt.Partition{Index: index, Start: uint64(e.Start / sectorSize), End: uint64((e.Start+e.Size)/sectorSize) - 1, Type: kind, Name: name, GUID: guid}
	}
	table := &gpt.Table{
		LogicalSectorSize: sectorSize, PhysicalSectorSize: sectorSize, ProtectiveMBR: true, GUID: h.DiskGUID,
		Partitions: []*gpt.Partition{
			part(1, h.Root(), gpt.LinuxRootX86_64, "root", h.RootGUID),
			part(14, h.BIOSBoot(), gpt.BIOSBoot, "bios", h.BIOSGUID),
			part(15, h.ESP(), gpt.EFISystemPartition, "esp", h.ESPGUID),
		},
	}
	if err := table.Write(unsynced{f}, h.Size); err != nil {
		return fmt.Errorf("partition %s: %w", path, ExplainSpace(err, filepath.Dir(path), mib))
	}
	return f.Close()
}

// unsynced hides the file's Sync, which the table's writer would call five times.
type unsynced struct{ diskbackend.WritableFile }

// MakeRoot writes the root file system, ext4 with the content of dir, by mke2fs -d. The caller must be able to read all of
// dir; owners and modes are taken as they are seen, so run as root or in the user namespace that made dir.
func (h Hybrid) MakeRoot(ctx context.Context, path, dir string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("make root file system: %w", err)
	}
	defer f.Close()
	c := Command{Tool: mke2fs, Files: []*os.File{f},
		Env:   []string{"MKE2FS_CONFIG=/dev/stdin"},
		Stdin: strings.NewReader(Mke2fsConfig),
		Args:  append(h.Mke2fsArgs(dir), FilePath(0), strconv.FormatInt(h.Root().Size/1024, 10)+"k")}
	if err := Run(ctx, c); err != nil {
		return fmt.Errorf("make root file system: %w", ExplainSpace(err, filepath.Dir(path), 0))
	}
	return nil
}

// Mke2fsArgs are the arguments for mke2fs before the device and the size in KiB with the suffix "k", for callers that run it
// themselves. Set MKE2FS_CONFIG to a file with [Mke2fsConfig].
func (h Hybrid) Mke2fsArgs(dir string) []string {
	return []string{"-q", "-F", "-t", "ext4", "-U", h.RootUUID, "-d", dir,
		"-E", fmt.Sprintf("offset=%d,root_owner=0:0,hash_seed=%s", h.Root().Start, h.RootUUID)}
}

// Mke2fsConfig is an mke2fs.conf(5) with a fixed set of features: every GRUB and kernel since 2015 reads it. The host's own
// defaults move on faster (GRUB 2.06 cannot read metadata_csum_seed and orphan_file, for example).
const Mke2fsConfig = `[defaults]
	base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
	default_mntopts = acl,user_xattr
	enable_periodic_fsck = 0
	blocksize = 4096
	inode_size = 256
	inode_ratio = 16384
[fs_types]
	ext4 = {
		features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
	}
`

// BootFiles is what makes a [Hybrid] disk boot.
type BootFiles struct {
	// Boot and Core are GRUB's boot.img (512 bytes) and core.img, made by grub-mkimage for i386-pc.
	Boot, Core []byte
	// ESP maps slash-separated paths on the EFI system partition ("EFI/BOOT/BOOTX64.EFI") to contents.
	ESP map[string][]byte
}

// InstallBoot writes the BIOS boot code and makes the EFI system partition.
func (h Hybrid) InstallBoot(ctx context.Context, path string, b BootFiles) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("install boot loaders: %w", err)
	}
	defer f.Close()
	if err := installGRUB(f, b.Boot, b.Core, h.BIOSBoot()); err != nil {
		return fmt.Errorf("install boot loaders: %w", err)
	}
	if err := makeESP(ctx, f, h.ESP(), h.ESPSerial, b.ESP); err != nil {
		return fmt.Errorf("install boot loaders: %w", ExplainSpace(err, filepath.Dir(path), h.ESP().Size))
	}
	return f.Close()
}
