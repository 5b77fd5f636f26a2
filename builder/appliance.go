package builder

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/ingot-image/ingot/builder/agent"
	"github.com/ingot-image/ingot/disk/image"
	"github.com/ingot-image/ingot/disk/nbd"
	"github.com/ingot-image/ingot/qemu"
)

// applianceBase is the base whose kernel reads file systems.
const applianceBase = "debian-12"

// The appliance's VM. It is small, so that its memory is soon there.
const (
	applianceCPUs      = 1
	applianceMemoryMiB = 512
)

// Limits of the appliance's waits, for KVM.
const (
	attachLimit = 15 * time.Second
	mountLimit  = time.Minute
	// stallLimit is how long no byte may come. A file system's driver may search for long.
	stallLimit = time.Minute
)

// mountedFolder is where the guest has the file system.
const mountedFolder = "/mnt"

//go:embed appliance_mount.sh
var applianceMount string

// appliancePrepare loads what is needed before the layer is saved. A kernel that has met its own mistake is not to go on.
const appliancePrepare = `set -e
modprobe -a virtio_scsi sd_mod xfs btrfs
sysctl -qw kernel.panic_on_oops=1`

// FileSystemTypes are those that Mount reads, in Linux's names.
func FileSystemTypes() []string { return []string{"btrfs", "ext2", "ext3", "ext4", "xfs"} }

// Mount reads a file system that this machine cannot or should not read itself, in a small VM that has nothing but the base's kernel, and gives
// what is in it as it is on the disk: no journal is replayed, and nothing is written. src is the file system itself, a partition or a logical
// volume; fsType is one of [FileSystemTypes]. paths are the files and folders wanted, with all below them, as names of an [fs.FS]; what is not
// there is left out, links on their ways are followed within the file system and given, too. None is for all there is.
//
// The file system is an [fs.StatFS], [fs.ReadDirFS], [fs.ReadFileFS] and [fs.ReadLinkFS], whose Sys has Owner() (uid, gid uint32). What the
// guest's kernel found damaged in a file is the error of opening it. Of Btrfs the top is given, with all subvolumes in their places. Close the
// closer after use.
//
// The VM is resumed from memory, which the first call saves, and has no network. A damaged or hostile file system stays in it: what it does to
// the guest is the error. The base is made if it is not there. The builder's Events are told of Progress.
func (b *Builder) Mount(ctx context.Context, src image.Source, fsType string, paths []string) (_ fs.FS, _ io.Closer, err error) {
	fail := func(err error) (fs.FS, io.Closer, error) {
		return nil, nil, fmt.Errorf("read the %s file system in the appliance VM: %w", fsType, err)
	}
	if !strings.Contains(" "+strings.Join(FileSystemTypes(), " ")+" ", " "+fsType+" ") {
		return fail(fmt.Errorf("file systems of this type are not read, only %s", strings.Join(FileSystemTypes(), ", ")))
	}
	for _, p := range paths {
		if !fs.ValidPath(p) || strings.Contains(p, "\x00") {
			return fail(fmt.Errorf("%q: %w", p, fs.ErrInvalid))
		}
	}
	t := &throwaway{builder: b, began: time.Now(), stage: StageOpen, progress: func(p VMProgress) {
		if b.Events != nil {
			b.Events(Event{Time: time.Now(), Type: Progress, Detail: "appliance VM: " + p.Doing, Done: p.Done, Total: p.Total})
		}
	}}
	a := &appliance{throwaway: t, fsType: fsType}
	files, err := a.read(ctx, src, paths)
	if err != nil {
		return fail(err)
	}
	return files, files, nil
}

// appliance is a VM that reads a file system.
type appliance struct {
	*throwaway
	fsType string
}

func (a *appliance) read(ctx context.Context, src image.Source, paths []string) (files *spooled, err error) {
	if err := a.open(ctx); err != nil {
		return nil, err
	}
	defer func() { files, err = files.unless(errors.Join(err, a.work.close())) }()
	planned, err := a.builder.planBase(ctx, applianceBase)
	if err != nil {
		return nil, err
	}
	parent, _, err := a.builder.parentImage(ctx, planned, a.work, a.counted)
	if err != nil {
		return nil, fmt.Errorf("make %s, whose kernel reads it: %w", applianceBase, err)
	}
	if err := a.arrange(ctx, parent); err != nil {
		return nil, err
	}
	if err := a.boot(ctx); err != nil {
		return nil, err
	}
	defer a.leave()
	detach, err := a.attach(ctx, src)
	if err != nil {
		return nil, err
	}
	defer detach()
	a.doing("mounting the %s file system", a.fsType)
	if err := a.mount(ctx); err != nil {
		return nil, err
	}
	return a.copy(ctx, paths)
}

// arrange makes the appliance's machine: that of a throwaway VM, with a controller that disks can be put on while it runs.
func (a *appliance) arrange(ctx context.Context, parent *parentImage) error {
	run := VMRun{CPUs: applianceCPUs, MemoryMiB: applianceMemoryMiB}
	if err := a.configure(ctx, applianceBase, parent, run); err != nil {
		return err
	}
	a.config.Network = &qemu.Network{Restrict: true}
	a.config.ExtraArgs = []string{"-device", "virtio-scsi-pci,id=" + applianceBus}
	a.stack.prepare, a.stack.preparation = a.prepare, appliancePrepare
	version, err := qemuVersion(ctx)
	if err != nil {
		return err
	}
	return a.stack.set(version)
}

func (a *appliance) prepare(ctx context.Context) error {
	_, err := a.exec(ctx, "the file systems' drivers", appliancePrepare)
	return err
}

// QEMU's names of what Mount adds to the machine.
const (
	applianceBus  = "appliance"
	applianceDisk = "subject"
)

// attach gives the running guest the disk, read-only, as /dev/sda. After detach nobody uses src any more.
func (a *appliance) attach(ctx context.Context, src image.Source) (detach func(), err error) {
	socket := filepath.Join(a.work.sockets, "subject.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	serving, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- nbd.Serve(serving, listener, src) }()
	detach = sync.OnceFunc(func() { stop(); <-served })
	defer func() {
		if err != nil {
			detach()
		}
	}()
	return detach, a.vm.Await(ctx, qemu.Wait{Name: "the disk to be attached", Limit: attachLimit}, func(ctx context.Context) error {
		node := map[string]any{
			"driver": "nbd", "node-name": applianceDisk, "read-only": true,
			"server": map[string]any{"type": "unix", "path": socket},
		}
		if err := a.vm.Monitor().Execute(ctx, "blockdev-add", node, nil); err != nil {
			return err
		}
		device := map[string]any{"driver": "scsi-hd", "id": applianceDisk + "-device", "bus": applianceBus + ".0", "drive": applianceDisk}
		return a.vm.Monitor().Execute(ctx, "device_add", device, nil)
	})
}

// mount mounts the file system in the guest.
func (a *appliance) mount(ctx context.Context) error {
	wait := qemu.Wait{Name: "the file system to be mounted", Limit: mountLimit, Hint: "the file system may be damaged, so that its driver does not end"}
	err := a.vm.Await(ctx, wait, func(ctx context.Context) error {
		_, err := a.agent.Exec(ctx, agent.Command{Path: "/bin/bash", Args: []string{"-c", applianceMount, "mount", a.fsType, mountedFolder}}, nil)
		return err
	})
	var exit *agent.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("it cannot be mounted: %s", strings.Join(splitLines(exit.Stderr), "; "))
	}
	return err
}
