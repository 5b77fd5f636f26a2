package builder

import (
	"context"
	"path/filepath"

	"github.com/ingot-image/ingot/disk"
)

// bootable gives a file of the image as QEMU can boot it. What QEMU does not open as a disk, such as an OVA, is unpacked first: what is tested is
// what was written.
func (j *job) bootable(ctx context.Context, f file) (disk.Image, error) {
	if _, ok := disk.Driver(f.format); ok {
		return disk.Image{Path: f.path, Format: f.format}, nil
	}
	raw := disk.Image{Path: j.work.path(filepath.Base(f.path) + ".raw"), Format: disk.Raw}
	if exists(raw.Path) {
		return raw, nil
	}
	d, err := disk.Open(ctx, f.path, disk.OpenOptions{TempDir: filepath.Dir(raw.Path)})
	if err != nil {
		return raw, err
	}
	defer d.Close()
	return raw, disk.Write(ctx, d, disk.WriteOptions{}, disk.Output{Path: raw.Path, Format: disk.Raw, Unsynced: true})
}
