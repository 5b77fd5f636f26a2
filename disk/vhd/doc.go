// Package vhd reads and writes Microsoft virtual hard disks: "Virtual Hard Disk Image Format Specification" 1.0. QEMU calls the format vpc.
//
// A fixed disk is the disk's bytes and a footer; a dynamic one holds blocks of 2 MiB, of which those that hold only zeros are left out.
// A [Writer] makes either from the pieces that [image.Copy] gives it, a [Reader] is the disk in either:
//
//	out, err := vhd.NewWriter(f, src.Size(), vhd.Options{Fixed: true, Align: vhd.AzureAlign})
//	…
//	err = image.Copy(ctx, src, image.CopyOptions{}, out)
//	…
//	disk, err := vhd.NewReader(f, length)
//
// # Sizes
//
// The format tells the size of a disk twice, as a number of bytes and by cylinders, heads and sectors, which can hold few sizes exactly. Hyper-V,
// Azure, VirtualBox, XenServer and AWS go by the number of bytes; Virtual PC and QEMU by the geometry, but QEMU not when the creator is one that it
// knows to count in bytes ("qem2", "win ", "tap", …) or when the geometry is the largest that can be written (block/vpc.c, vpc_open). So this
// package writes what qemu-img does when it is told to keep the size (force_size), which is what Azure's documentation asks for: creator "qem2" and
// the largest geometry. Everybody but Virtual PC sees the exact size. When it reads, it always goes by the number of bytes.
package vhd
