package builder

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/ingot-image/ingot/builder/agent"
	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/layer"
	"github.com/ingot-image/ingot/builder/seed"
	"github.com/ingot-image/ingot/qemu"
)

// guest is the machine that becomes the image: the stages boot, apply and finalise.
type guest struct {
	*stack
	job    *job
	larger bool // the volume, than the parent image
	info   *agent.Info
	// request is what is to be run in it, from where its layer ends.
	request component.Request
}

// facts is what the guest told about itself before it went down.
type facts struct {
	os       string
	packages []Package
}

// boot brings a guest to where its components can be applied: from a layer of an earlier build if one fits, else by starting the parent
// image on an overlay and waiting until its start-up is over.
func (j *job) boot(ctx context.Context, parent *parentImage) (_ *guest, err error) {
	m, err := j.machine("build", qemu.Disk{})
	if err != nil {
		return nil, err
	}
	g, err := j.newGuest(parent, m)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			g.Close()
		}
	}()
	var query *layer.Query
	if w := j.warm; w != nil {
		g.services = w.reads.recorded()
		query = j.query(w)
	}
	warm, err := g.begin(ctx, query, &g.request)
	if err != nil {
		return nil, err
	}
	if g.info, err = g.agent.Info(ctx); err != nil {
		return nil, err
	}
	j.event(Event{Type: Progress, Detail: fmt.Sprintf("%s, Linux %s", g.info.OS, g.info.Kernel)})
	j.mu.Lock()
	j.cached = warm
	j.mu.Unlock()
	return g, nil
}

// newGuest gives a machine what a parent image makes of it, but for its disks.
func (j *job) newGuest(parent *parentImage, m *machine) (*guest, error) {
	g := &guest{job: j, request: j.plan.request(buildPhases...)}
	g.stack = &stack{
		machine: m, parent: parent, program: j.program, hostname: "ingot-build", size: max(j.plan.volumeSize(), parent.Size),
		warm: j.warm, tell: j.event,
	}
	g.larger = g.size > parent.Size
	if g.larger {
		g.prepare = g.grow
	}
	if j.work != nil {
		g.folders = j.work.path
	}
	return g, g.set(j.qemuVersion)
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

// apply runs the build and validate phases of every component, from where the guest's layer ends, and saves layers on the way.
func (g *guest) apply(ctx context.Context) (result *component.Result, err error) {
	events := func(e component.Event) { g.job.event(Event{Type: ComponentEvent, Component: &e}) }
	cached := false
	if w := g.job.warm; w != nil {
		result, cached, err = w.apply(ctx, g, g.request, events)
	} else {
		result, err = g.run(ctx, g.request, events)
	}
	if err != nil {
		return nil, err
	}
	if result.Status == component.StatusFailed {
		return nil, stepFailed(StageApply, result.Failure)
	}
	g.job.mu.Lock()
	g.job.cached = cached
	g.job.mu.Unlock()
	return result, nil
}

//go:embed finalise.sh
var finaliseScript string

// finalise makes an image out of the instance and shuts it down.
func (g *guest) finalise(ctx context.Context) (*facts, error) {
	g.job.copyBelow(ctx, g.rootDisk())
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
	m := &machine{folder: folder, services: j.builder.Services, config: j.config()}
	m.config.Disks, m.config.ConsoleLog, m.config.RuntimeDir = []qemu.Disk{root}, log, j.work.sockets
	return m, mkdir(folder)
}

// config is what all machines of the build have in common.
func (j *job) config() qemu.Config {
	return qemu.Config{
		Accelerator: j.accelerator,
		CPUs:        j.plan.Infrastructure.VCPUs,
		MemoryMiB:   j.plan.Infrastructure.MemoryMiB,
		Network:     &qemu.Network{},
		Ports:       []string{agent.PortName},
		OnReboot:    qemu.Exit,
	}
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

// bootBy chooses how the machine boots a parent image: its kernel directly where that can be done, else by its firmware and boot loader.
func (m *machine) bootBy(parent *parentImage) (err error) {
	if parent.Kernel != "" {
		m.direct = &directBoot{kernel: parent.Kernel, initrd: parent.Initrd, append: parent.Append}
	} else if m.config.Firmware, err = parent.modes.firmware(); err != nil {
		return err
	}
	return nil
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
