// Package disk treats disk images as data: what a file is, how its disk is read and written in other formats, what partitions and file systems lie
// in it, how it becomes smaller, and how a bootable disk is put together. It knows nothing of virtual machines.
//
// # Images in and out
//
// [Open] opens an image of any format that is read, from anywhere: nothing but its file is opened, and all that it says is checked. What it gives is
// an [image.Source], the disk's bytes with their holes, and [Write] writes one into any number of files at once, reading it once:
//
//	d, err := disk.Open(ctx, "upload.qcow2", disk.OpenOptions{})
//	if err != nil {
//		return err // *disk.UnsafeError or *disk.FormatError: one line that says what was found
//	}
//	defer d.Close()
//	src, _, err := disk.Unused(ctx, d) // without what its file systems no longer use
//	if err != nil {
//		return err
//	}
//	err = disk.Write(ctx, src, disk.WriteOptions{},
//		disk.Output{Path: "disk.vmdk", Format: disk.VMDK},
//		disk.Output{Path: "disk.ova", Format: disk.OVA, Options: disk.Options{Firmware: "efi"}})
//
// Each format is a package of its own below this one, for who needs a single one. A finished file appears under its name in one step
// ([Create], [PendingFile.Commit]) and nothing is left behind when the program is killed. [Shrink] and [Shrunk] make disks smaller.
//
// # Images that QEMU opens itself
//
// [CheckSafe] refuses what a hostile image may try with programs that open what an image names: backing files, extents outside its own file,
// content that is not what the name or the caller says. Call it before qemu-img or QEMU sees a file from somebody else. [CreateOverlay],
// [Convert], [Check] and [Compare] run qemu-img, always with explicit formats; [Merge] brings a raw copy of an image up to date with overlays on
// that image. [Probe] only describes.
//
// # Inside a disk
//
// [ReadTable] reads GPT and MBR tables with the file system in each partition; [NewExt] reads files out of ext2, ext3 and ext4 file systems (a
// reader of our own: no mount, no privileges, symbolic links never leave the image); [CheckClean] runs e2fsck over every one of them. Package
// inspect tells all of what is on a disk.
//
// # Making a disk
//
// [Hybrid] assembles a GPT disk that boots by BIOS and by UEFI (Secure Boot included) from a root directory, without root
// privileges, loop devices or mounts.
//
// Host programs are run through [Run], which kills the whole process group when the context ends and lets no child outlive a
// killed parent.
package disk
