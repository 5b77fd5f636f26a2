package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/ingot-image/ingot/builder/agent"
	"github.com/ingot-image/ingot/builder/layer"
	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/qemu"
)

// layerGuest is what the builder must know of a layer's guest besides.
type layerGuest struct {
	Direct *layerBoot `json:"direct,omitempty"`
}

// layerBoot is how a guest is booted directly. Kernel and Initrd are names of files beside, empty as long as they are the base's.
type layerBoot struct {
	Kernel string          `json:"kernel,omitempty"`
	Initrd string          `json:"initrd,omitempty"`
	Files  agent.BootFiles `json:"files"`
}

// Files of a layer beside its disks and memory.
const (
	layerSeed   = "seed.iso" // in the first of a chain
	layerKernel = "vmlinuz"
	layerInitrd = "initrd.img"
)

func layerDisk(i int) string { return fmt.Sprintf("disk-%d.qcow2", i) }

// wake goes on from a chain of layers: where its memory can be used at once, else by a boot from its disk.
func (g *guest) wake(ctx context.Context, chain *layer.Chain) (err error) {
	defer func() {
		if err != nil {
			g.Close()
		}
	}()
	if err := g.standOn(ctx, chain); err != nil {
		return err
	}
	verified := make(chan error, 1)
	go func() { verified <- chain.Verify(ctx) }()
	if !chain.BootFromDisk {
		return g.resumeFrom(ctx, chain, verified)
	}
	if err := <-verified; err != nil {
		return err
	}
	g.job.event(Event{Type: Progress, Detail: "from the layer's disk: " + chain.Why})
	if err := g.attachAgent("ingot-build", g.job.program); err != nil {
		return err
	}
	if err := g.start(ctx); err != nil {
		return err
	}
	_, err = g.ready(ctx)
	return err
}

// standOn puts the guest's machine, which does not run, on a new overlay over a chain's disks.
func (g *guest) standOn(ctx context.Context, chain *layer.Chain) error {
	g.newOverlay()
	below := disk.Image{Path: chain.Images()[0], Format: disk.Qcow2}
	if err := disk.CreateOverlay(ctx, g.overlay(), below, g.size); err != nil {
		return err
	}
	g.config.Disks = []qemu.Disk{g.rootDisk()}
	g.stand(chain)
	var facts layerGuest
	if err := json.Unmarshal(chain.Last().Guest, &facts); err != nil {
		return err
	}
	if boot := facts.Direct; boot != nil && g.direct != nil {
		at := func(name, base string) string {
			if name == "" {
				return base
			}
			return chain.Path(chain.Last(), name)
		}
		g.direct.kernel, g.direct.initrd = at(boot.Kernel, g.parent.Kernel), at(boot.Initrd, g.parent.Initrd)
		g.direct.files = boot.Files
	}
	return nil
}

// stand names what the guest stands on: of its own overlays the last, below it the chain's disks.
func (g *guest) stand(chain *layer.Chain) {
	g.own = g.own[len(g.own)-1:] // the others are the layer's now
	var below []qemu.Image
	for _, path := range chain.Images() {
		below = append(below, qemu.Image{Path: path, Format: driver(disk.Qcow2)})
	}
	g.below = append(below, g.base)
	g.config.Disks[0] = g.rootDisk()
}

// resumeFrom goes on where the chain's memory was saved. The guest runs only when all files have proved good.
func (g *guest) resumeFrom(ctx context.Context, chain *layer.Chain, verified <-chan error) error {
	g.config.Disks = append(g.config.Disks, seedAt(chain.Path(chain.Layers[0], layerSeed)))
	memory, err := chain.OpenMemory()
	if err != nil {
		return err
	}
	defer memory.Close()
	config, err := g.prepared()
	if err != nil {
		return err
	}
	if g.vm, err = qemu.Resume(ctx, config, memory, func() error { return <-verified }); err != nil {
		return err
	}
	if err := g.connect(ctx, qemu.Wait{Name: "the guest's agent to go on", Limit: agentLimit}); err != nil {
		return err
	}
	return g.vm.Await(ctx, qemu.Wait{Name: "the guest's clock to be set", Limit: agentLimit}, g.agent.Wake)
}

// overlay is what the guest writes to.
func (g *guest) overlay() string { return g.own[len(g.own)-1] }

// newOverlay names a first file for a guest that is about to start.
func (g *guest) newOverlay() {
	g.own = []string{g.nextOverlay()}
	g.below = []qemu.Image{g.base}
}

func (g *guest) nextOverlay() string {
	g.overlays++
	return g.job.work.path(fmt.Sprintf("overlay-%d.qcow2", g.overlays))
}

// rootDisk is the guest's disk: its own overlays on top of what it stands on.
func (g *guest) rootDisk() qemu.Disk {
	root := overlayDisk(g.overlay(), "", disk.Raw, qemu.VirtIO)
	root.Backing = nil
	for i := len(g.own) - 2; i >= 0; i-- {
		root.Backing = append(root.Backing, qemu.Image{Path: g.own[i], Format: driver(disk.Qcow2)})
	}
	root.Backing = append(root.Backing, g.below...)
	return root
}

// snapshot puts the guest's disk and memory into a draft. It goes on with a new overlay.
func (g *guest) snapshot(ctx context.Context, draft *layer.Draft) (l layer.Layer, lost, err error) {
	overlay := g.nextOverlay()
	below := disk.Image{Path: draft.FinalPath(layerDisk(len(g.own) - 1)), Format: disk.Qcow2}
	if err := disk.PrepareOverlay(ctx, overlay, below, g.size); err != nil {
		return l, err, nil
	}
	memory, err := draft.Memory()
	if err != nil {
		return l, err, nil
	}
	if err := g.letGo(ctx); err != nil {
		return l, nil, errors.Join(err, memory.Close())
	}
	switched, lost := g.vm.Snapshot(ctx, overlay, memory)
	lost = errors.Join(lost, memory.Close())
	if switched {
		g.own = append(g.own, overlay)
		g.config.Disks[0] = g.rootDisk()
	}
	if err := g.connect(ctx, qemu.Wait{Name: "the guest's agent to go on", Limit: agentLimit}); err != nil {
		return l, nil, errors.Join(err, lost)
	}
	if lost == nil {
		l, lost = g.fill(draft, g.job.warm.chain == nil)
	}
	return l, lost, ctx.Err()
}

// fill adds to a draft what lies beside the memory.
func (g *guest) fill(draft *layer.Draft, first bool) (l layer.Layer, err error) {
	for _, path := range g.own[:len(g.own)-1] { // but for the overlay that the guest has just been given
		if _, err := draft.AddDisk(path); err != nil {
			return l, err
		}
	}
	keep := func(path, name string) error {
		l.Others = append(l.Others, name)
		return copyFile(filepath.Join(draft.Folder(), name), path)
	}
	if first {
		if err := keep(g.seedPath(), layerSeed); err != nil {
			return l, err
		}
	}
	var facts layerGuest
	if d := g.direct; d != nil {
		facts.Direct = &layerBoot{Files: d.files}
		if d.kernel != g.parent.Kernel {
			facts.Direct.Kernel = layerKernel
			err = errors.Join(err, keep(d.kernel, layerKernel))
		}
		if d.initrd != g.parent.Initrd {
			facts.Direct.Initrd = layerInitrd
			err = errors.Join(err, keep(d.initrd, layerInitrd))
		}
		if err != nil {
			return l, err
		}
	}
	l.Guest, err = json.Marshal(facts)
	return l, err
}
