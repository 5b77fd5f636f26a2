// Package vhdx reads Microsoft virtual hard disks of the second version: [MS-VHDX], "Virtual Hard Disk v2 (VHDX) File Format", which section numbers
// in this package refer to. It is what Hyper-V writes. Package disk writes it through QEMU.
//
// A file of either kind, fixed or dynamic, holds the disk in blocks of 1 to 256 MiB, which a table finds; in a dynamic one blocks may be missing. A
// [Reader] is the disk in it:
//
//	disk, err := vhdx.NewReader(f, length)
//
// # The log
//
// All tables are written through a log. A file that was not closed, because its machine or host was switched off, has updates in it that are nowhere
// else: whoever reads the file without them reads a wrong disk. A [Reader] has the log's updates in memory and applies them to what it reads; the file
// is not changed.
package vhdx
