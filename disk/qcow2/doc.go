// Package qcow2 reads QEMU's copy-on-write images, versions 2 and 3: plain, compressed by zlib or zstd, with subclusters, of any cluster size. The
// disk in an image is an [image.Source]: read at random by several goroutines, with its holes.
//
//	f, err := os.Open("disk.qcow2")
//	…
//	src, err := qcow2.NewReader(f, size)
//	…
//	err = image.Copy(ctx, src, image.CopyOptions{}, writers...)
//
// Nothing outside the file is ever opened: images with a backing file, an external data file or encryption are refused, by name. Internal
// snapshots are left alone. The format is in QEMU's docs/interop/qcow2.txt; sections named in this package are of that file.
//
// Such images are written by QEMU: see package qemuimg.
package qcow2
