// Package vmdk reads and writes VMware virtual disks in one file: streamOptimized, which is how disks travel (OVF, OVA, ImportSnapshot), and,
// for reading, monolithicSparse, which VMware Workstation and VirtualBox work on. Names and numbers of sections are those of VMware, "Virtual
// Disk Format 5.0" (the technical note that github.com/vmware/open-vmdk carries), called the specification below.
//
// A disk is cut into grains, of 64 KiB as everybody writes them. A grain directory names grain tables, a grain table says at which sector of
// the file each of its grains is; what is in no table is zeros. In a streamOptimized file each grain is compressed by itself.
//
//	src, err := image.OpenFile("disk.raw")
//	…
//	w, err := vmdk.NewWriter(f, src.Size(), vmdk.Options{Name: "disk.vmdk"})
//	…
//	err = image.Copy(ctx, src, image.CopyOptions{}, w)
//
// reads the disk once and writes the file from its beginning to its end, on all CPUs. And back:
//
//	r, err := vmdk.NewReader(f, size) // an image.Source: io.ReaderAt, with the allocated ranges
//
// # What others read
//
// What a file must have to be taken by everybody is in no single place. Files of [Writer] are made of what these say or do:
//
//   - The specification, for layout, markers and footer.
//   - VMware's own writer, open-vmdk (vmdk/sparse.c), for the descriptor: 20 sectors, an encoding, lsilogic, toolsVersion "2147483647" with
//     toolsInstallType "4", version 3 of the header. Version 1 is what ESXi and vCenter call "sparse VMDK version too old" (flatcar/scripts#540).
//   - VirtualBox (src/VBox/Storage/VMDK.cpp): importing an appliance it reads from sector overHead on, marker by marker, without the
//     tables; it writes no table without grains, "as VMware"; it puts UUIDs into the descriptor without asking whether there is room
//     (vatesfr/xen-orchestra#6163), which 20 sectors give.
//   - QEMU (block/vmdk.c): the footer and the end of the stream are the last two sectors; "compat6" is hardware version 6, which makes ESXi
//     take the disk (coreos/scripts#473).
//
// # Compression
//
// Levels are of klauspost/compress v1.18.5's deflate, measured on the 554 MiB of grains of a Debian 12 disk of 4 GiB, each grain by itself,
// with its marker and padding (level 9 and compress/flate on an eighth of the grains):
//
//	level        CPU    MiB            level        CPU    MiB
//	1 (Fast)    3.6 s  228.7           6 (Default)  6.9 s  207.3
//	2           4.0 s  224.8           7           12.1 s  202.8
//	3           5.1 s  219.6           8 (Best)    17.6 s  201.9
//	4           5.6 s  212.9           9            100 s  202.0
//	5           6.4 s  209.5           compress/flate 6: 19.8 s, 202.1
//
// qemu-img 7.2, which has one thread, takes 21.6 s of CPU for a file of 199.5 MiB; the whole of [image.Copy] into a Writer 7.4 s for 207.4
// MiB (4.0 % more), with Fast 4.2 s for 228.9 MiB, spread over all CPUs (medians of alternating runs, two busy cores). 6 is the fastest level
// that stays within 5 % of qemu-img's size; 9 gains nothing. Version 1.20.3 of the module gives the same bytes in the same time at levels
// 1, 5 and 6, so there is no reason here to change to it.
package vmdk
