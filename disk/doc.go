// Package disk treats disk images as data: what a file is, whether it is safe to open, how to convert it, what partitions
// and file systems lie in it, and how to put a bootable disk together. It knows nothing of virtual machines.
//
// # What is this file
//
// [Probe] reads the headers of raw, qcow2, VMDK and VHD files itself, with every size and loop bounded, and names the other
// formats it recognises. [CheckSafe] goes on to refuse what a hostile image may try: a backing file, extents outside its own
// file, absurd sizes, tables beyond the end of the file, content that is not what the name or the caller says. Call it before
// qemu-img or QEMU sees a file from somebody else:
//
//	info, err := disk.CheckSafe("upload.qcow2", disk.Qcow2, disk.Limits{})
//	if err != nil {
//		return err // *disk.UnsafeError: says what was found and what to do
//	}
//	err = disk.Convert(ctx, disk.Image{Path: "upload.qcow2", Format: info.Format},
//		disk.Image{Path: "upload.raw", Format: disk.Raw}, nil)
//
// # Formats in and out
//
// [Convert], [CreateOverlay], [Check] and [Compare] run qemu-img, always with explicit formats; only VMDKs are written by this package
// itself, on all CPUs. A finished file appears under its name in one step ([Create], [PendingFile.Commit]) and nothing is left
// behind when the program is killed. [Merge] brings a raw copy of an image up to date with overlays on that image.
//
// # Inside a raw image
//
// [Partitions] reads GPT and MBR tables with the file system in each partition; [OpenExt] reads files out of ext2, ext3 and
// ext4 file systems (a reader of our own: no mount, no privileges, symbolic links never leave the image); [CheckClean] runs
// e2fsck over every one of them.
//
// # Making a disk
//
// [Hybrid] assembles a GPT disk that boots by BIOS and by UEFI (Secure Boot included) from a root directory, without root
// privileges, loop devices or mounts.
//
// Host programs are run through [Run], which kills the whole process group when the context ends and lets no child outlive a
// killed parent.
package disk
