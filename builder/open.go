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

// ImageFile gives the file of an image, which is a file itself, or NAME/VERSION of one that was built: then of its files that are there and can be
// read, by [disk.Open], the one that is read with the least work, and built is true.
func (b *Builder) ImageFile(ctx context.Context, image string) (path string, built bool, err error) {
	if _, err := os.Stat(image); !errors.Is(err, os.ErrNotExist) {
		return image, false, nil // what is wrong with it says who opens it
	}
	path, err = b.builtFile(ctx, image)
	return path, true, err
}

func (b *Builder) builtFile(ctx context.Context, image string) (string, error) {
	images, err := b.OpenCatalog(ctx)
	if err != nil {
		return "", err
	}
	if images != nil {
		defer images.Close()
	}
	if _, err := version.ParseReference(image); err != nil || images == nil {
		return "", fmt.Errorf("%w: %s is neither a file nor NAME/VERSION of an image that was built", catalog.ErrNotFound, image)
	}
	found, err := images.Get(ctx, image, catalog.Available)
	if err != nil {
		return "", err
	}
	for _, f := range readOrder() {
		at := slices.IndexFunc(found.Outputs, func(o catalog.Output) bool { return disk.Format(o.Format) == f && exists(o.Path) })
		if at >= 0 {
			return found.Outputs[at].Path, nil
		}
	}
	return "", fmt.Errorf("%s/%s has no file that is there and can be read", found.Name, found.Version)
}

// readOrder is the formats that disk.Open reads, that with the least work first.
func readOrder() []disk.Format {
	return []disk.Format{disk.Raw, disk.VHDFixed, disk.Qcow2, disk.VHD, disk.VHDX, disk.RawZstd, disk.Qcow2Zstd, disk.VMDK, disk.OVA, disk.RawGzip}
}
