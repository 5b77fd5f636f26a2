// Package ova reads and writes OVA files: a virtual machine of one disk as a tar archive of an OVF descriptor, a streamOptimized VMDK and a
// manifest of their digests. DMTF DSP0243, "Open Virtualization Format Specification", version 1.1.
//
// A [Writer] is an [image.Writer], so that one read of a disk makes an OVA beside other formats:
//
//	out, err := ova.NewWriter(f, raw.Size(), ova.Options{Name: "web", Firmware: "efi", OSType: "debian12"})
//	…
//	err = image.Copy(ctx, raw, image.CopyOptions{}, out)
//
// Reading gives what the descriptor says, and the disk as a part of the archive, with nothing unpacked:
//
//	a, err := ova.Open(f, size)
//	…
//	err = a.Verify(ctx) // the digests of the manifest
//	…
//	file, size := a.Disk()
//	disk, err := vmdk.NewReader(file, size)
//
// An archive is taken to be hostile: what is read of it is bounded, and nothing outside of it is ever opened.
package ova
