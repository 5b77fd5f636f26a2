package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/ingot-image/ingot/builder/catalog"
	"github.com/ingot-image/ingot/builder/recipe/version"
	"github.com/ingot-image/ingot/builder/seed"
	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/qemu"
)

// RunOptions says which image to start, and how.
type RunOptions struct {
	Image       string // NAME/VERSION of the catalog, or a file
	UEFI        bool
	CPUs        int
	MemoryMiB   int
	Accelerator string
	SSHPort     int            // 0: a free one
	Forwards    []qemu.Forward // further ones
	Output      io.Writer
	Input       io.Reader // nil: the console is only shown
	Started     func(Instance)
}

// Instance is a running image.
type Instance struct {
	Path        string
	Accelerator string
	Firmware    string
	SSHPort     int
	Forwards    []qemu.Forward // with the ports that were chosen
	Password    string         // of the image's default user
}

// escape is the key that ends a console session: Ctrl-].
const escape = 0x1d

// Run starts an image on a throwaway overlay and stays with its console until the guest powers off, the escape key comes
// in, or ctx ends, none of which is an error.
func (b *Builder) Run(ctx context.Context, o RunOptions) (err error) {
	path, format, err := b.find(ctx, o.Image)
	if err != nil {
		return err
	}
	work, err := newWorkspace(b.Home)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, work.close()) }()

	m := &machine{folder: work.path("run")}
	if err := mkdir(m.folder); err != nil {
		return err
	}
	overlay := filepath.Join(m.folder, "overlay.qcow2")
	if err := disk.CreateOverlay(ctx, overlay, disk.Image{Path: path, Format: format}, 0); err != nil {
		return err
	}
	accelerator, err := qemu.ChooseAccelerator(o.Accelerator)
	if err != nil {
		return err
	}
	network := &qemu.Network{Forwards: append([]qemu.Forward{{HostPort: o.SSHPort, GuestPort: 22}}, o.Forwards...)}
	m.config = qemu.Config{
		Accelerator: accelerator, CPUs: o.CPUs, MemoryMiB: o.MemoryMiB,
		Disks:   []qemu.Disk{overlayDisk(overlay, path, format, qemu.VirtIO)},
		Network: network, RuntimeDir: work.sockets, ConsoleLog: o.Output, ConsoleLogLimit: -1,
	}
	instance := Instance{Path: path, Accelerator: accelerator.String(), Firmware: "BIOS", Password: randomHex(4)}
	if o.UEFI {
		instance.Firmware = "UEFI"
		if m.config.Firmware, err = qemu.FindFirmware(qemu.UEFI); err != nil {
			return err
		}
	}
	login, err := seed.NoCloud(seed.Instance{
		ID: "i-" + randomHex(8), Hostname: "ingot", AuthorizedKeys: publicKeys(), Password: instance.Password,
	}, nil)
	if err != nil {
		return err
	}
	if err := m.attachSeed(seed.LabelNoCloud, login); err != nil {
		return err
	}
	vm, err := qemu.Start(ctx, m.config)
	if err != nil {
		return err
	}
	m.vm = vm
	defer m.Close()
	instance.SSHPort, instance.Forwards = vm.Forwards()[0].HostPort, vm.Forwards()[1:]
	if o.Started != nil {
		o.Started(instance)
	}
	return attend(ctx, vm, o.Input)
}

// attend gives the keys to the guest until it or the person ends the session.
func attend(ctx context.Context, vm *qemu.VM, keys io.Reader) error {
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	if keys != nil {
		go func() {
			defer leave()
			buf := make([]byte, 256)
			for {
				n, err := keys.Read(buf)
				typed := buf[:n]
				if i := strings.IndexByte(string(typed), escape); i >= 0 {
					vm.Console().Write(typed[:i])
					return
				}
				if _, writeErr := vm.Console().Write(typed); err != nil || writeErr != nil {
					return
				}
			}
		}()
	}
	select {
	case <-ctx.Done():
		return nil
	case <-vm.Done():
		return vm.Err()
	}
}

// find gives the file and format of an image named by its path or its place in the catalog.
func (b *Builder) find(ctx context.Context, image string) (path string, format disk.Format, err error) {
	if info, err := os.Stat(image); err == nil && !info.IsDir() {
		format, ok := disk.FormatOfName(image)
		if !ok {
			return "", "", fmt.Errorf("%s: the name does not tell the format; it must end in .raw, .qcow2, .vmdk or .vhd", image)
		}
		if _, err := disk.CheckSafe(image, format, disk.Limits{}); err != nil {
			return "", "", err
		}
		path, err := filepath.Abs(image)
		return path, format, err
	}
	images, err := b.OpenCatalog(ctx)
	if err != nil {
		return "", "", err
	}
	if images != nil {
		defer images.Close()
	}
	if _, err := version.ParseReference(image); err != nil || images == nil {
		return "", "", fmt.Errorf("%w: %s is neither a file nor NAME/VERSION of an image that was built", catalog.ErrNotFound, image)
	}
	found, err := images.Get(ctx, image, catalog.Available)
	if err != nil {
		return "", "", err
	}
	for _, o := range found.Outputs {
		if exists(o.Path) {
			return o.Path, disk.Format(o.Format), nil
		}
	}
	return "", "", fmt.Errorf("the files of %s/%s are gone", found.Name, found.Version)
}

// publicKeys are the user's own, for a login without a password.
func publicKeys() []string {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil
	}
	var keys []string
	files, _ := filepath.Glob(filepath.Join(home, ".ssh", "id_*.pub"))
	for _, f := range files {
		if data, err := os.ReadFile(f); err == nil && len(data) < 16<<10 {
			keys = append(keys, strings.TrimSpace(string(data)))
		}
	}
	return keys
}
