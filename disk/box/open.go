package box

import (
	"io"

	"github.com/ingot-image/ingot/disk/ova"
)

// OpenLibvirt gives the qcow2 image in a box for libvirt that is a plain tar archive of size bytes, and its length. Nothing is unpacked. ok is false for
// archives without one; a box for VirtualBox holds an OVF descriptor, and package ova opens it. The error is an [image.FormatError].
func OpenLibvirt(r io.ReaderAt, size int64) (disk io.ReaderAt, length int64, ok bool, err error) {
	members, err := ova.Members(r, size)
	if err != nil {
		return nil, 0, false, err
	}
	for _, m := range members {
		if m.Name == imageName {
			return io.NewSectionReader(r, m.Start, m.Size), m.Size, true, nil
		}
	}
	return nil, 0, false, nil
}
