package box

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/ingot-image/ingot/disk/internal/tarfile"
	"github.com/ingot-image/ingot/disk/qcow2"
)

const vagrantLibvirt = `Vagrant.configure("2") do |config|
  config.vm.synced_folder ".", "/vagrant", type: "rsync"
end
`

// PackLibvirt writes a box for the libvirt provider of a qcow2 image of a disk of virtualSize bytes: metadata.json, Vagrantfile and box.img.
// The image should be compressed (by zstd, which QEMU reads since 5.1), as the box is not. One that refers to a backing file or has another size is an error,
// and so is one that changes its length meanwhile. progress, if there is one, is told how much of the image is written, in bytes.
//
// The box says nothing of firmware: libvirt's own is a BIOS, and where a host has a UEFI differs from one to the next. A disk that starts by UEFI only needs
// libvirt.loader and libvirt.nvram in the project's Vagrantfile.
func PackLibvirt(ctx context.Context, w io.Writer, image *os.File, virtualSize int64, progress func(done, total int64)) error {
	if err := packLibvirt(ctx, w, image, virtualSize, progress); err != nil {
		return fmt.Errorf("write vagrant box: %w", err)
	}
	return nil
}

func packLibvirt(ctx context.Context, w io.Writer, image *os.File, virtualSize int64, progress func(done, total int64)) error {
	st, err := image.Stat()
	if err != nil {
		return err
	}
	size := st.Size()
	info, err := qcow2.Probe(image, size)
	if err != nil {
		return err
	}
	if len(info.References) > 0 {
		return fmt.Errorf("the image is not whole: it needs its %s", info.References[0])
	}
	if info.VirtualSize != virtualSize {
		return fmt.Errorf("the image is of a disk of %d bytes, not %d", info.VirtualSize, virtualSize)
	}
	// Whole GiB: the provider makes a volume of that many before it copies the image over it.
	head, err := metadata{"libvirt", "qcow2", (virtualSize + 1<<30 - 1) >> 30}.encode()
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	for _, m := range []struct {
		name string
		data []byte
	}{{metadataName, head}, {vagrantfileName, []byte(vagrantLibvirt)}} {
		if err := t.WriteHeader(tarfile.Header(m.name, int64(len(m.data)))); err != nil {
			return err
		}
		if _, err := t.Write(m.data); err != nil {
			return err
		}
	}
	if err := t.WriteHeader(tarfile.Header(imageName, size)); err != nil {
		return err
	}
	if err := copyImage(ctx, t, image, size, progress); err != nil {
		return err
	}
	return t.Close()
}

var errShorter = errors.New("the image has become shorter")

func copyImage(ctx context.Context, w io.Writer, image *os.File, size int64, progress func(done, total int64)) error {
	buffer := make([]byte, 1<<20)
	for at := int64(0); at < size; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := image.ReadAt(buffer[:min(int64(len(buffer)), size-at)], at)
		if n == 0 && errors.Is(err, io.EOF) {
			return errShorter
		}
		if n == 0 && err != nil {
			return err
		}
		if _, err := w.Write(buffer[:n]); err != nil {
			return err
		}
		if at += int64(n); progress != nil {
			progress(at, size)
		}
	}
	if st, err := image.Stat(); err != nil || st.Size() != size {
		return errors.Join(errors.New("the image has changed its length"), err)
	}
	return nil
}
