// Package box writes Vagrant boxes: tar archives of a disk, a description of its machine and a Vagrantfile.
// HashiCorp, Vagrant documentation, "Box File Format".
//
// For the libvirt provider it packs a qcow2 image; for VirtualBox it is an [image.Writer] that makes a VMDK and an OVF descriptor:
//
//	out, err := box.NewVirtualBoxWriter(f, raw.Size(), ova.Options{Name: "web", OSType: "debian12"})
//	…
//	err = image.Copy(ctx, raw, image.CopyOptions{}, out)
//
// Boxes are plain tar archives: Vagrant unpacks them by bsdtar, which tells by itself whether one is compressed, and the disks inside are compressed
// already, or are when they come from a writer that does it on all CPUs. A box packed by gzip takes one CPU for minutes and gets no smaller.
//
// Vagrant logs in by SSH as the user vagrant with a key that is known to everybody and that it replaces at the first start: the image has to have
// both. That is the image's business, not this package's. Folders are shared by rsync, as neither guest additions nor NFS can be taken for granted.
package box

import (
	"encoding/json"
	"fmt"
)

const (
	metadataName    = "metadata.json"
	vagrantfileName = "Vagrantfile"
	imageName       = "box.img" // of the libvirt provider
)

// metadata of a box for the libvirt provider has the disk's format and size: vagrant-libvirt, "Box Format", version 1.
type metadata struct {
	Provider    string `json:"provider"`
	Format      string `json:"format,omitempty"`
	VirtualSize int64  `json:"virtual_size,omitempty"` // in GiB
}

func (m metadata) encode() ([]byte, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", metadataName, err)
	}
	return append(b, '\n'), nil
}
