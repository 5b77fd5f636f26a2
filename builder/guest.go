package builder

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/ingot-image/ingot/builder/agent"
	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/seed"
	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/qemu"
)

// guest is the machine that becomes the image: the stages boot, apply and finalise.
type guest struct {
	*machine
	job     *job
	overlay string
	larger  bool // the volume, than the parent image's disk
	info    *agent.Info
}

// facts is what the guest told about itself before it went down.
type facts struct {
	os       string
	packages []Package
}

// boot starts the parent image on an overlay and waits until its start-up is over.
func (j *job) boot(ctx context.Context, parent *parentImage) (_ *guest, err error) {
	size := max(j.plan.volumeSize(), parent.Size)
	g := &guest{job: j, overlay: j.work.path("overlay.qcow2"), larger: size > parent.Size}
	if err := disk.CreateOverlay(ctx, g.overlay, disk.Image{Path: parent.Disk, Format: disk.Raw}, size); err != nil {
		return nil, err
	}
	root := overlayDisk(g.overlay, parent.Disk, disk.Raw, qemu.VirtIO)
	if g.machine, err = j.machine("build", root); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			g.Close()
		}
	}()
	if err := g.bootFrom(parent, "ingot-build", j.program); err != nil {
		return nil, err
	}
	if err := g.start(ctx); err != nil {
		return nil, err
	}
	if _, err := g.ready(ctx); err != nil {
		return nil, err
	}
	if g.info, err = g.agent.Info(ctx); err != nil {
		return nil, err
	}
	j.event(Event{Type: Progress, Detail: fmt.Sprintf("%s, Linux %s", g.info.OS, g.info.Kernel)})
	if g.larger {
		return g, g.grow(ctx)
	}
	return g, nil
}

// growScript makes the root partition and its file system as large as the disk. The root is the last partition.
const growScript = `set -e
command -v growpart >/dev/null || exit 127
root=$(findmnt -no SOURCE /)
name=$(basename "$(readlink -f "$root")")
disk=/dev/$(basename "$(readlink -f "/sys/class/block/$name/..")")
number=$(cat "/sys/class/block/$name/partition")
growpart "$disk" "$number" || [ $? -eq 1 ]
case $(findmnt -no FSTYPE /) in
	ext*) resize2fs "$root" ;;
	xfs) xfs_growfs / ;;
	btrfs) btrfs filesystem resize max / ;;
esac`

func (g *guest) grow(ctx context.Context) error {
	var exit *agent.ExitError
	_, err := g.exec(ctx, "the root file system to grow", growScript)
	if errors.As(err, &exit) && exit.Code == 127 {
		g.job.event(Event{Type: Warning, Detail: "the image has no growpart: the volume is larger than the root file system, which grows when something in the image does it"})
		return nil
	}
	if err != nil {
		return fmt.Errorf("grow the root file system to the volume's size: %w", err)
	}
	return nil
}

// exec runs a bash script in the guest and returns its standard output.
func (g *guest) exec(ctx context.Context, name, script string, args ...string) (out []byte, err error) {
	wait := qemu.Wait{Name: name, Limit: finaliseLimit}
	err = g.vm.Await(ctx, wait, func(ctx context.Context) error {
		// Not on the standard input, from which what the script runs might read it away.
		out, err = g.agent.Exec(ctx, agent.Command{Path: "/bin/bash", Args: append([]string{"-c", script, name}, args...)}, nil)
		return err
	})
	return out, err
}

// apply runs the build and validate phases of every component.
func (g *guest) apply(ctx context.Context) (*component.Result, error) {
	result, err := g.run(ctx, g.job.plan.request("build", "validate"), func(e component.Event) {
		g.job.event(Event{Type: ComponentEvent, Component: &e})
	})
	if err != nil {
		return nil, err
	}
	if result.Status == component.StatusFailed {
		return nil, stepFailed(StageApply, result.Failure)
	}
	return result, nil
}

//go:embed finalise.sh
var finaliseScript string

// finalise makes an image out of the instance and shuts it down.
func (g *guest) finalise(ctx context.Context) (*facts, error) {
	g.job.copyBelow(ctx, g.vm.Disks()[0])
	packages, err := g.packages(ctx)
	if err != nil {
		return nil, err
	}
	f := &facts{os: g.info.OS, packages: packages}
	if _, err := g.exec(ctx, "the guest to be cleaned", finaliseScript, g.job.plan.WorkingDirectory); err != nil {
		return nil, fmt.Errorf("make an image out of the instance: %w", err)
	}
	return f, g.shutDown(ctx)
}

// leave ends the guest. One that the build failed in can be looked into before, and be kept.
func (g *guest) leave(ctx context.Context, cause error) error {
	defer g.Close()
	if cause == nil || g.vm == nil {
		return cause
	}
	return g.failed(ctx, cause)
}

// machine prepares a VM with a root disk; what boots it and the seed are the caller's to add.
func (j *job) machine(name string, root qemu.Disk) (*machine, error) {
	folder := j.work.path(name)
	log, err := j.openLog("console-" + name + ".log")
	if err != nil {
		return nil, err
	}
	m := &machine{folder: folder, services: j.builder.Services}
	m.config = qemu.Config{
		Accelerator: j.accelerator,
		CPUs:        j.plan.Infrastructure.VCPUs,
		MemoryMiB:   j.plan.Infrastructure.MemoryMiB,
		Disks:       []qemu.Disk{root},
		Network:     &qemu.Network{},
		Ports:       []string{agent.PortName},
		OnReboot:    qemu.Exit,
		ConsoleLog:  log,
		RuntimeDir:  j.work.sockets,
	}
	return m, mkdir(folder)
}

// attachSeed gives the machine its seed disk.
func (m *machine) attachSeed(label string, files []seed.File) error {
	d, err := seedDisk(filepath.Join(m.folder, "seed.iso"), label, files)
	if err != nil {
		return err
	}
	m.config.Disks = append(m.config.Disks, d)
	return nil
}

// bootFrom makes the machine boot from a parent image on its first disk, with the agent: its kernel directly where that can be done, else
// by its firmware and boot loader.
func (m *machine) bootFrom(parent *parentImage, hostname string, program []byte) (err error) {
	if parent.Kernel != "" {
		m.direct = &directBoot{kernel: parent.Kernel, initrd: parent.Initrd, append: parent.Append}
	} else if m.config.Firmware, err = parent.modes.firmware(); err != nil {
		return err
	}
	return m.attachAgent(hostname, program)
}

// attachAgent gives the machine the seed by which it starts the agent.
func (m *machine) attachAgent(hostname string, program []byte) error {
	if m.direct == nil {
		return m.attachInstance(hostname, program)
	}
	files, _ := seed.Direct(program)
	return m.attachSeed(seed.LabelDirect, files)
}

// attachInstance gives the machine a seed by which cloud-init takes it for a new instance and starts the agent.
func (m *machine) attachInstance(hostname string, program []byte) error {
	files, err := seed.NoCloud(seed.Instance{ID: "i-" + randomHex(8), Hostname: hostname}, program)
	if err != nil {
		return err
	}
	return m.attachSeed(seed.LabelNoCloud, files)
}
