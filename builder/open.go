package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/ingot-image/ingot/builder/catalog"
	"github.com/ingot-image/ingot/builder/recipe/version"
	"github.com/ingot-image/ingot/disk"
)

// OpenImage opens the disk of an image, which is a file of any format that package disk reads, or NAME/VERSION of one that was built: then one of
// its files, whose path is given.
func (b *Builder) OpenImage(ctx context.Context, image string, o disk.OpenOptions) (d *disk.Disk, path string, err error) {
	files := []string{image}
	if _, err := os.Stat(image); errors.Is(err, os.ErrNotExist) {
		if files, err = b.imageFiles(ctx, image); err != nil {
			return nil, "", err
		}
		o.Format = ""
	}
	d, err = disk.Open(ctx, files[0], o)
	return d, files[0], err
}

// imageFiles are the files of an image that was built that are there and can be read, those first that are read with the least work.
func (b *Builder) imageFiles(ctx context.Context, image string) ([]string, error) {
	images, err := b.OpenCatalog(ctx)
	if err != nil {
		return nil, err
	}
	if images != nil {
		defer images.Close()
	}
	if _, err := version.ParseReference(image); err != nil || images == nil {
		return nil, fmt.Errorf("%w: %s is neither a file nor NAME/VERSION of an image that was built", catalog.ErrNotFound, image)
	}
	found, err := images.Get(ctx, image, catalog.Available)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, f := range []disk.Format{disk.Raw, disk.VHDFixed, disk.Qcow2, disk.VHD, disk.RawZstd, disk.Qcow2Zstd, disk.VMDK, disk.OVA, disk.RawGzip} {
		at := slices.IndexFunc(found.Outputs, func(o catalog.Output) bool { return disk.Format(o.Format) == f && exists(o.Path) })
		if at >= 0 {
			paths = append(paths, found.Outputs[at].Path)
		}
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("%s/%s has no file that is there and can be read", found.Name, found.Version)
	}
	return paths, nil
}
