package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/ingot-image/ingot/builder/agent"
	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/layer"
	"github.com/ingot-image/ingot/builder/seed"
	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/qemu"
)

// stack is a machine whose disk is a stack of images: that of its parent image, those of the layers that it stands on, and overlays of its own.
// It is what a build and a throwaway VM start with: a booted base, at best out of a layer.
type stack struct {
	*machine
	parent   *parentImage
	program  []byte // the agent
	hostname string
	size     int64 // of the disk, in bytes
	// prepare is what is done to the base after its boot and before its layer is saved; nil: nothing.
	prepare func(context.Context) error
	// preparation says what prepare does, as far as it decides what layers hold beyond what they always do.
	preparation string
	folders     func(elem ...string) string // names a file in the workspace
	tell        func(Event)
	warm        *warmth // nil: no layers are used

	base qemu.Image // the parent image's disk
	// own are the overlays that the machine has been given and no layer holds, each on top of the one before: it writes to the last. Below
	// them are the layers that it stands on, topmost first, and the parent image.
	own      []string
	below    []qemu.Image
	overlays int // made so far
}

// set chooses how the machine boots, and what the root of its layers is.
func (s *stack) set(qemuVersion string) error {
	s.base = qemu.Image{Path: s.parent.Disk, Format: driver(disk.Raw)}
	if err := s.bootBy(s.parent); err != nil {
		return err
	}
	if w := s.warm; w != nil {
		w.root, w.base = s.root(w.store, qemuVersion), s.parent.Name
	}
	return nil
}

// root says what decides the booted base: what its disk holds then, and what its memory goes on in.
func (s *stack) root(store *layer.Store, qemuVersion string) layer.Root {
	config := s.config
	config.Disks = []qemu.Disk{overlayDisk("", s.base.Path, disk.Raw, qemu.VirtIO), seedAt("")}
	parts := []string{
		"root", layerForm, s.parent.Digest, s.parent.Created.Format(time.RFC3339Nano), fmt.Sprint(s.size),
		digestOf(s.program), fmt.Sprint(config.CPUs, " ", config.MemoryMiB), growScript, stopTimers,
	}
	if s.direct != nil {
		_, initrd := seed.Direct(nil)
		parts = append(parts, "direct", s.direct.append, seed.DirectAppend, fmt.Sprint(initrd))
	} else {
		parts = append(parts, "firmware", string(config.Firmware.Kind), s.hostname)
	}
	if s.preparation != "" {
		parts = append(parts, "prepared", s.preparation)
	}
	return layer.Root{Disk: store.Sum(parts...), Machine: store.Sum("machine", config.Identity(qemuVersion))}
}

// begin starts the machine: where the longest chain of layers that fits ends, from where the request goes on, else by a boot of the base, which
// becomes a layer then. No query is for a boot. warm tells that there was a layer.
func (s *stack) begin(ctx context.Context, query *layer.Query, req *component.Request) (warm bool, err error) {
	start := time.Now()
	w := s.warm
	if w != nil && query != nil {
		if warm, err = w.goOn(ctx, s, *query, req); warm || err != nil {
			return warm, err
		}
	}
	if err := s.cold(ctx); err != nil {
		return false, err
	}
	if w != nil && w.off == "" {
		return false, w.save(ctx, s, layer.Segment{}, nil, time.Since(start))
	}
	return false, nil
}

// cold boots the parent image.
func (s *stack) cold(ctx context.Context) error {
	if err := s.bootBy(s.parent); err != nil { // and not as a layer that could not be used would have been booted
		return err
	}
	s.newOverlay()
	if err := disk.CreateOverlay(ctx, s.overlay(), disk.Image{Path: s.base.Path, Format: disk.Raw}, s.size); err != nil {
		return err
	}
	s.config.Disks = []qemu.Disk{s.rootDisk()}
	if err := s.attachAgent(s.hostname, s.program); err != nil {
		return err
	}
	if err := s.start(ctx); err != nil {
		return err
	}
	if _, err := s.ready(ctx); err != nil {
		return err
	}
	if _, err := s.exec(ctx, "the guest's timers to stop", stopTimers); err != nil {
		return err
	}
	if s.prepare != nil {
		return s.prepare(ctx)
	}
	return nil
}

// stopTimers holds back what the guest would do by the calendar, apt's daily update first of all: in a guest that wakes hours later it would
// be due at once, and hold the lock that a component wants. It lasts until the guest is booted again.
const stopTimers = `systemctl stop '*.timer' 2>/dev/null || true`

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
func (s *stack) wake(ctx context.Context, chain *layer.Chain) (err error) {
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if err := s.standOn(ctx, chain); err != nil {
		return err
	}
	found := make(chan error, 1)
	go func() { found <- chain.Verify(ctx) }()
	verified := sync.OnceValue(func() error { return <-found })
	if !chain.BootFromDisk {
		err := s.resumeFrom(ctx, chain, verified)
		if damaged := verified(); damaged != nil {
			return damaged // which is why, whatever else went wrong
		}
		return err
	}
	if err := verified(); err != nil {
		return err
	}
	s.tell(Event{Type: Progress, Detail: "from the layer's disk: " + chain.Why})
	s.config.Disks = append(s.config.Disks, seedAt(chain.Path(chain.Layers[0], layerSeed)))
	s.keepTmp = true // steps may have left there what later ones want
	err = s.start(ctx)
	s.keepTmp = false
	if err != nil {
		return err
	}
	if _, err := s.ready(ctx); err != nil {
		return err
	}
	_, err = s.exec(ctx, "the guest's timers to stop", stopTimers)
	return err
}

// standOn puts the guest's machine, which does not run, on a new overlay over a chain's disks.
func (s *stack) standOn(ctx context.Context, chain *layer.Chain) error {
	s.newOverlay()
	below := disk.Image{Path: chain.Images()[0], Format: disk.Qcow2}
	if err := disk.CreateOverlay(ctx, s.overlay(), below, s.size); err != nil {
		return err
	}
	s.config.Disks = []qemu.Disk{s.rootDisk()}
	s.stand(chain)
	var facts layerGuest
	if err := json.Unmarshal(chain.Last().Guest, &facts); err != nil {
		return err
	}
	if boot := facts.Direct; boot != nil && s.direct != nil {
		at := func(name, base string) string {
			if name == "" {
				return base
			}
			return chain.Path(chain.Last(), name)
		}
		s.direct.kernel, s.direct.initrd = at(boot.Kernel, s.parent.Kernel), at(boot.Initrd, s.parent.Initrd)
		s.direct.files = boot.Files
	}
	return nil
}

// stand names what the guest stands on: of its own overlays the last, below it the chain's disks.
func (s *stack) stand(chain *layer.Chain) {
	s.own = s.own[len(s.own)-1:] // the others are the layer's now
	var below []qemu.Image
	for _, path := range chain.Images() {
		below = append(below, qemu.Image{Path: path, Format: driver(disk.Qcow2)})
	}
	s.below = append(below, s.base)
	s.config.Disks[0] = s.rootDisk()
}

// resumeFrom goes on where the chain's memory was saved. The guest runs only when all files have proved good.
func (s *stack) resumeFrom(ctx context.Context, chain *layer.Chain, verified func() error) (err error) {
	s.config.Disks = append(s.config.Disks, seedAt(chain.Path(chain.Layers[0], layerSeed)))
	var memory io.ReadCloser
	if last := chain.Last(); last.MemoryCompressed {
		memory, err = chain.OpenMemory()
	} else {
		memory, err = os.Open(chain.Path(last, last.Memory)) // QEMU reads it itself
	}
	if err != nil {
		return err
	}
	defer memory.Close()
	config, err := s.prepared()
	if err != nil {
		return err
	}
	if s.vm, err = qemu.Resume(ctx, config, memory, verified); err != nil {
		return err
	}
	return s.woken(ctx)
}

// woken comes back to a guest that has stood still, whose clock has, too.
func (s *stack) woken(ctx context.Context) error {
	if err := s.connect(ctx, qemu.Wait{Name: "the guest's agent to go on", Limit: agentLimit}); err != nil {
		return err
	}
	return s.vm.Await(ctx, qemu.Wait{Name: "the guest's clock to be set", Limit: agentLimit}, s.agent.Wake)
}

// overlay is what the guest writes to.
func (s *stack) overlay() string { return s.own[len(s.own)-1] }

// newOverlay names a first file for a guest that is about to start.
func (s *stack) newOverlay() {
	s.own = []string{s.nextOverlay()}
	s.below = []qemu.Image{s.base}
}

func (s *stack) nextOverlay() string {
	s.overlays++
	return s.folders(fmt.Sprintf("overlay-%d.qcow2", s.overlays))
}

// rootDisk is the guest's disk: its own overlays on top of what it stands on.
func (s *stack) rootDisk() qemu.Disk {
	root := overlayDisk(s.overlay(), "", disk.Raw, qemu.VirtIO)
	root.Backing = nil
	for i := len(s.own) - 2; i >= 0; i-- {
		root.Backing = append(root.Backing, qemu.Image{Path: s.own[i], Format: driver(disk.Qcow2)})
	}
	root.Backing = append(root.Backing, s.below...)
	return root
}

// snapshot puts the guest's disk and memory into a draft. It goes on with a new overlay.
func (s *stack) snapshot(ctx context.Context, draft *layer.Draft) (l layer.Layer, lost, err error) {
	overlay := s.nextOverlay()
	below := disk.Image{Path: draft.FinalPath(layerDisk(len(s.own) - 1)), Format: disk.Qcow2}
	if err := disk.PrepareOverlay(ctx, overlay, below, s.size); err != nil {
		return l, err, nil
	}
	memory, err := draft.Memory()
	if err != nil {
		return l, err, nil
	}
	if err := s.letGo(ctx); err != nil {
		err = errors.Join(err, memory.Close())
		if wait := (*qemu.WaitError)(nil); errors.As(err, &wait) && wait.Reason == qemu.WaitLimit {
			return l, err, ctx.Err() // it is slow, not dead
		}
		return l, nil, err
	}
	switched, lost := s.vm.Snapshot(ctx, overlay, memory)
	lost = errors.Join(lost, memory.Close())
	if switched {
		s.own = append(s.own, overlay)
		s.config.Disks[0] = s.rootDisk()
	}
	if err := s.woken(ctx); err != nil {
		return l, nil, errors.Join(err, lost)
	}
	if lost == nil {
		l, lost = s.fill(draft, s.warm.chain == nil)
	}
	return l, lost, ctx.Err()
}

// fill adds to a draft what lies beside the memory.
func (s *stack) fill(draft *layer.Draft, first bool) (l layer.Layer, err error) {
	for _, path := range s.own[:len(s.own)-1] { // but for the overlay that the guest has just been given
		if _, err := draft.AddDisk(path); err != nil {
			return l, err
		}
	}
	keep := func(path, name string) error {
		l.Others = append(l.Others, name)
		return copyFile(filepath.Join(draft.Folder(), name), path)
	}
	if first {
		if err := keep(s.seedPath(), layerSeed); err != nil {
			return l, err
		}
	}
	var facts layerGuest
	if d := s.direct; d != nil {
		facts.Direct = &layerBoot{Files: d.files}
		if d.kernel != s.parent.Kernel {
			facts.Direct.Kernel = layerKernel
			err = errors.Join(err, keep(d.kernel, layerKernel))
		}
		if d.initrd != s.parent.Initrd {
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
