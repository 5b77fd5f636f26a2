package disk_test

import (
	"context"
	"log"

	"github.com/ingot-image/ingot/disk"
)

// An image from somebody else becomes a VMDK and an OVA, from one read and without what its file systems no longer use.
func Example() {
	ctx := context.Background()
	d, err := disk.Open(ctx, "upload.qcow2", disk.OpenOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	src, _, err := disk.Unused(ctx, d)
	if err != nil {
		log.Fatal(err)
	}
	err = disk.Write(ctx, src, disk.WriteOptions{},
		disk.Output{Path: "disk.vmdk", Format: disk.VMDK},
		disk.Output{Path: "disk.ova", Format: disk.OVA, Options: disk.Options{Firmware: "efi"}})
	if err != nil {
		log.Fatal(err)
	}
}
