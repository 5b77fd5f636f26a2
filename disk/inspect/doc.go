// Package inspect tells what is on a disk: partitions, file systems and how full they are, boot loaders and the firmware that can start them,
// the operating system, its kernels with their drivers, its packages, and how it will behave in a cloud. Nothing is mounted, no tool is run and
// no privilege needed: the disk is any [image.Source].
//
//	raw, err := image.OpenFile("disk.raw")
//	…
//	report, err := inspect.Inspect(ctx, raw, inspect.Options{})
//	…
//	fmt.Println(report.System.OS.PrettyName, report.Boot.Firmware)
//
// [OpenRoot] gives the files: the installed system's tree as one [fs.FS], put together from the disk's file systems as its fstab says.
//
//	root, err := inspect.OpenRoot(ctx, raw, inspect.Options{})
//	…
//	defer root.Close()
//	hosts, err := fs.ReadFile(root, "etc/hosts")
//
// ext2 to ext4 and FAT are read by package disk and disk/fat, logical volumes by disk/lvm. Others, XFS and Btrfs above all, are named with what
// their superblocks tell; their files are there where the caller can mount them: see [Options].
//
// All that is read is taken for hostile: sizes, counts and depths are bounded, and symbolic links stay within the tree. What cannot be read is
// told in the report and ends nothing else.
package inspect
