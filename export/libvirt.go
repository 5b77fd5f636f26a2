package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ingot-image/ingot/export/distribution"
)

// pool is a storage pool of libvirt, type dir: each file of its folder is a volume.
type pool struct{ distribution.LibvirtPool }

// volumes are the endings of files that libvirt's virtual machines run from as they are.
var volumes = []string{".qcow2", ".raw", ".img"}

// refreshLimit is how long libvirt may take to look at its pool.
const refreshLimit = time.Minute

// Deliver copies the qcow2 and raw files among the image's into the pool's folder, as [Folder.Deliver] does, mode 0644: QEMU reads them, and libvirt makes one its own when a
// virtual machine writes to it. Then libvirt is told, if virsh is installed and the pool's name is known; that this fails is a warning.
func (p pool) Deliver(ctx context.Context, d Delivery, progress func(done, total int64)) (*Delivered, error) {
	d.Files = slices.DeleteFunc(slices.Clone(d.Files), func(f File) bool { return !slices.Contains(volumes, strings.ToLower(filepath.Ext(f.Name))) })
	if len(d.Files) == 0 {
		return nil, fmt.Errorf("deliver to the pool %s: the image has no qcow2 or raw file; add one of them to its formats", p.Path)
	}
	delivered, err := Folder{Path: p.Path}.Deliver(ctx, d, progress)
	if err != nil {
		return nil, err
	}
	virsh, err := exec.LookPath("virsh")
	if err != nil || p.Name == "" || delivered.Skipped {
		return delivered, nil
	}
	if err := p.refresh(ctx, virsh); err != nil {
		delivered.Warnings = append(delivered.Warnings, err.Error())
	}
	return delivered, nil
}

func (p pool) refresh(ctx context.Context, virsh string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, refreshLimit, errors.New("libvirt does not answer"))
	defer cancel()
	out, err := exec.CommandContext(ctx, virsh, "pool-refresh", "--pool", p.Name).CombinedOutput()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("the files are in the pool, and libvirt could not be told: virsh pool-refresh %s: %w: %s", p.Name, err, bytes.TrimSpace(out))
	}
	return nil
}
