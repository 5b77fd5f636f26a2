package inspect

import (
	"io/fs"

	"github.com/ingot-image/ingot/disk"
)

// Report is what is on a disk.
type Report struct {
	Size           int64          `json:"size"` // of the disk in bytes
	PartitionTable PartitionTable `json:"partitionTable"`
	FileSystems    []FileSystem   `json:"fileSystems"` // in the order of the disk; logical volumes follow the partition that they are on
	Boot           Boot           `json:"boot"`
	// System is the installed operating system, nil if none was found or could be read.
	System *System `json:"system,omitempty"`
	// Problems tell what could not be read, and what contradicts itself.
	Problems []Problem `json:"problems,omitempty"`
}

// Problem is something that is wrong with the disk, or that this package cannot read.
type Problem struct {
	Where string `json:"where"` // "partition table", "partition 1", "vg/root", or a path of the installed system
	What  string `json:"what"`
}

// PartitionTable is a disk's partition table.
type PartitionTable struct {
	Kind       string      `json:"kind"`         // "gpt", "mbr", "none" when a file system fills the disk
	ID         string      `json:"id,omitempty"` // GUID of a GPT, signature of an MBR as eight hexadecimal digits
	Partitions []Partition `json:"partitions"`
	// PrimaryValid and BackupValid tell whether the two copies of a GPT are in order: header and entries match their checksums. BackupAtEnd tells
	// whether the second one is in the disk's last sector, where firmware looks for it; it is not after a disk has grown.
	PrimaryValid bool `json:"primaryValid,omitempty"`
	BackupValid  bool `json:"backupValid,omitempty"`
	BackupAtEnd  bool `json:"backupAtEnd,omitempty"`
	// Problem says why the table could not be read to its end.
	Problem string `json:"problem,omitempty"`
}

// Partition is an entry of a partition table.
type Partition struct {
	Index    int    `json:"index"` // number as the kernel counts
	Start    int64  `json:"start"` // in bytes
	Size     int64  `json:"size"`  // in bytes
	Type     string `json:"type"`  // GUID in upper case, or "0x83"
	TypeName string `json:"typeName,omitempty"`
	GUID     string `json:"guid,omitempty"` // PARTUUID
	Name     string `json:"name,omitempty"`
	Active   bool   `json:"active,omitempty"`
}

// FileSystem is what a partition, a logical volume or the whole disk holds, be it a file system, swap space, a physical volume or encrypted.
type FileSystem struct {
	Device    string `json:"device"`              // "partition 1", "vg/root" for a logical volume, "disk"
	Partition int    `json:"partition,omitempty"` // index of the partition that it is on
	Start     int64  `json:"start"`               // of the partition, in bytes
	Capacity  int64  `json:"capacity"`            // of the partition or volume in bytes
	Type      string `json:"type"`                // as blkid says; "" for something unknown or nothing
	UUID      string `json:"uuid,omitempty"`
	Label     string `json:"label,omitempty"`
	Variant   string `json:"variant,omitempty"` // "FAT16", "LUKS2", "v5"
	// Space is what the superblock says, nil where it says nothing.
	Space *Space `json:"space,omitempty"`
	// MountPoint is where the installed system has it, by its fstab; "swap" for swap space in use.
	MountPoint string `json:"mountPoint,omitempty"`
	// OS is the PRETTY_NAME of the operating system in it, if it has one.
	OS            string `json:"os,omitempty"`
	NeedsRecovery bool   `json:"needsRecovery,omitempty"` // the journal of ext, XFS or Btrfs waits to be replayed
	Unclean       bool   `json:"unclean,omitempty"`       // not cleanly unmounted, or with recorded errors
	// FS gives the files, nil where they cannot be read.
	FS fs.FS `json:"-"`
}

// Space is how much a file system holds, in bytes.
type Space struct {
	Size int64 `json:"size"`
	Used int64 `json:"used"`
	Free int64 `json:"free"` // reserved blocks among it
}

// Firmware that a disk can be booted by.
const (
	BIOS           = "bios"
	UEFI           = "uefi"
	UEFISecureBoot = "uefi-secure-boot" // the loader is signed by Microsoft, whose keys firmware has
)

// Boot is how the disk boots.
type Boot struct {
	Firmware []string    `json:"firmware"` // that can boot it: BIOS, UEFI, UEFISecureBoot
	BIOS     *BIOSBoot   `json:"bios,omitempty"`
	EFI      []EFILoader `json:"efi,omitempty"`
	// Configs are the files by which boot loaders know what to boot, and Entries what these say.
	Configs []BootConfig `json:"configs,omitempty"`
	Entries []BootEntry  `json:"entries,omitempty"`
}

// BIOSBoot is what the boot code in the disk's first sector is.
type BIOSBoot struct {
	Loader string `json:"loader"` // "grub", "grub-legacy", "lilo", "syslinux", "windows", "unknown"
	// CoreStart is where the boot code goes on, in bytes: GRUB's core image. CorePartition is the partition that it lies in, 0 for the gap behind
	// the MBR, and CoreFound tells whether a core image is there.
	CoreStart     int64 `json:"coreStart,omitempty"`
	CorePartition int   `json:"corePartition,omitempty"`
	CoreFound     bool  `json:"coreFound,omitempty"`
	// Second is the loader in the boot sector of the partition that boot code other than GRUB goes on with: "syslinux", "windows".
	Second string `json:"second,omitempty"`
}

// EFILoader is a program for UEFI in an EFI system partition.
type EFILoader struct {
	Partition    int    `json:"partition"`
	Path         string `json:"path"`
	Loader       string `json:"loader"`                 // "shim", "grub", "systemd-boot", "windows", "refind", "linux", "uki", "fallback", "mokmanager", "unknown"
	Version      string `json:"version,omitempty"`      // where it tells
	Architecture string `json:"architecture,omitempty"` // "x86_64", "aarch64", "i386", "riscv64"
	Size         int64  `json:"size"`
	// Default: firmware starts it without being told to (\EFI\BOOT\BOOTX64.EFI, BOOTAA64.EFI …).
	Default bool     `json:"default,omitempty"`
	Signed  bool     `json:"signed,omitempty"`
	Signers []string `json:"signers,omitempty"` // of the certificates in the signature, unverified
}

// BootConfig is a configuration file of a boot loader.
type BootConfig struct {
	Path    string `json:"path"`
	Kind    string `json:"kind"` // "grub", "grub-legacy", "bls" for a folder of entries, "systemd-boot", "syslinux"
	Size    int64  `json:"size"`
	Entries int    `json:"entries"`
	Timeout string `json:"timeout,omitempty"` // in seconds, as it is written
	Default string `json:"default,omitempty"` // as it is written, or saved_entry of GRUB's environment
	// Problem: "the saved entry … does not exist".
	Problem string `json:"problem,omitempty"`
}

// BootEntry is something that a boot loader can start.
type BootEntry struct {
	Config  string   `json:"config"` // path of the file that it is from
	Title   string   `json:"title,omitempty"`
	ID      string   `json:"id,omitempty"`
	Kernel  string   `json:"kernel"`
	Initrds []string `json:"initrds,omitempty"`
	Options string   `json:"options,omitempty"` // the kernel's command line, what is secret in it replaced by ***
	Default bool     `json:"default,omitempty"`
}

// System is an installed operating system.
type System struct {
	Root         string    `json:"root"` // device of the root file system, as in FileSystem
	OS           OS        `json:"os"`
	Architecture string    `json:"architecture,omitempty"` // as uname -m says
	Kernels      []Kernel  `json:"kernels"`
	Packages     Packages  `json:"packages"`
	Fstab        []Mount   `json:"fstab"`
	CloudInit    CloudInit `json:"cloudInit"`
	SSH          SSH       `json:"ssh"`
	Network      Network   `json:"network"`
	Identity     Identity  `json:"identity"`
	Accounts     []Account `json:"accounts"`
	Growpart     bool      `json:"growpart"`           // growpart or systemd-repart is there
	SELinux      string    `json:"selinux,omitempty"`  // "enforcing", "permissive", "disabled" by its configuration
	Services     []string  `json:"services,omitempty"` // units enabled for systemd, sorted
}

// OS is what os-release says: os-release(5).
type OS struct {
	ID         string `json:"id,omitempty"`
	IDLike     string `json:"idLike,omitempty"`
	Name       string `json:"name,omitempty"`
	PrettyName string `json:"prettyName,omitempty"`
	Version    string `json:"version,omitempty"`
	VersionID  string `json:"versionId,omitempty"`
	Codename   string `json:"codename,omitempty"`
	Minor      string `json:"minor,omitempty"` // the full version where os-release leaves it out: /etc/debian_version, /etc/alpine-release …
	From       string `json:"from,omitempty"`  // path of the file
}

// Kernel is a kernel that the system can start.
type Kernel struct {
	Path         string `json:"path"`
	Version      string `json:"version,omitempty"` // as uname -r says
	Banner       string `json:"banner,omitempty"`  // the header's whole version text
	Architecture string `json:"architecture,omitempty"`
	Size         int64  `json:"size"`
	// Default: the boot loader starts it if nobody chooses.
	Default bool     `json:"default,omitempty"`
	Initrd  *Initrd  `json:"initrd,omitempty"`
	Modules bool     `json:"modules"` // /lib/modules/VERSION is there
	Drivers []Driver `json:"drivers,omitempty"`
}

// Initrd is the initial RAM disk of a kernel.
type Initrd struct {
	Path        string `json:"path"`
	Size        int64  `json:"size"`
	Compression string `json:"compression,omitempty"` // "none", "gzip", "zstd", "xz", "lz4", "lzma", "bzip2", "lzo"
	Modules     int    `json:"modules"`
	// Problem says why it could not be read to its end: its drivers are then unknown.
	Problem string `json:"problem,omitempty"`
}

// Driver is a driver that a machine in the cloud needs.
type Driver struct {
	Name   string `json:"name"`
	Kernel string `json:"kernel,omitempty"` // "builtin", "module", "" for none
	Initrd bool   `json:"initrd,omitempty"`
}

// Packages are what the package manager has installed.
type Packages struct {
	Manager string    `json:"manager,omitempty"` // "dpkg", "rpm", "apk", "pacman"; "" for none that is known
	List    []Package `json:"list"`
	Problem string    `json:"problem,omitempty"` // why the list could not be read
}

// Package is an installed package.
type Package struct {
	Name         string `json:"name"`
	Version      string `json:"version"` // with epoch and release, as the package manager writes it
	Architecture string `json:"architecture,omitempty"`
}

// Mount is a line of /etc/fstab, its passwords replaced by ***.
type Mount struct {
	Source  string `json:"source"`
	Target  string `json:"target"`
	Type    string `json:"type"`
	Options string `json:"options"`
	// Device is the file system of this disk that the source leads to, "" for none.
	Device string `json:"device,omitempty"`
	// ByName: the source is a device name that another machine may not have, such as /dev/vda1.
	ByName bool `json:"byName,omitempty"`
	Line   int  `json:"line"`
}

// table is what disk.ReadTable gives, for people and programs.
func newTable(t disk.Table) PartitionTable {
	out := PartitionTable{Kind: t.Kind, Partitions: []Partition{}}
	if t.Kind == "none" {
		return out
	}
	for _, p := range t.Partitions {
		out.Partitions = append(out.Partitions, Partition{Index: p.Index, Start: p.Start, Size: p.Size, Type: p.Type, TypeName: typeName(p.Type), GUID: p.GUID, Name: p.Name, Active: p.Active})
	}
	return out
}
