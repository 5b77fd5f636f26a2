package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ingot-image/ingot/builder/agent"
	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/qemu"
)

// FailedGuest is the guest of a build that failed in it. It is as the failing step left it, and still runs unless Answers says no: processes
// of the step that are not over go on. Options.OnFailure gets it before it is ended, and may look inside and keep it.
type FailedGuest struct {
	// Failure is what the build failed of. Keep adds to its hint how to come back.
	Failure *Failure
	// Image is the build: NAME/VERSION/BUILD.
	Image string
	// Terminate is the recipe's terminateInstanceOnFailure: false asks for the guest to be kept.
	Terminate bool

	guest *guest
	kept  string
}

// failed gives a guest in which the build failed to whoever wants to look, before it is ended.
func (g *guest) failed(ctx context.Context, cause error) error {
	j := g.job
	failure := j.failure(j.current, cause)
	if failure.Cancelled() || ctx.Err() != nil {
		return cause
	}
	f := &FailedGuest{Failure: failure, Image: j.image(), Terminate: j.plan.Infrastructure.TerminateInstanceOnFailure, guest: g}
	switch {
	case j.options.OnFailure != nil:
		j.options.OnFailure(ctx, f)
	case !f.Terminate:
		f.Keep(ctx) // what goes wrong with it is in the failure's hint
	}
	return failure
}

// Answers tells whether a shell can be opened in the guest. One that does not answer, because its kernel panicked or it went down, can still
// be kept: its disk is.
func (f *FailedGuest) Answers(ctx context.Context) bool {
	g := f.guest
	if g.vm == nil || g.agent == nil {
		return false
	}
	wait := qemu.Wait{Name: "an answer of the guest's agent", Limit: agentLimit}
	return g.vm.Await(ctx, wait, g.alive) == nil
}

// Shell runs a shell or a command in the guest; see agent.Client.Shell. A guest that goes down meanwhile is a *qemu.WaitError.
func (f *FailedGuest) Shell(ctx context.Context, shell agent.Shell, streams agent.Streams) (int, error) {
	if f.guest.vm == nil || f.guest.agent == nil {
		return 0, errors.New("run a shell in the guest: the guest was ended")
	}
	return f.guest.shell(ctx, shell, streams)
}

// Keep saves the guest as a kept VM, memory and disk, for OpenVM, and ends it. Of a guest that does not answer, and of one whose memory
// cannot be saved, it is the disk alone. What it gives is the VM's ID. An error is also in the failure's hint.
func (f *FailedGuest) Keep(ctx context.Context) (id string, err error) {
	if f.kept != "" {
		return f.kept, nil
	}
	if f.kept, err = f.keep(ctx); err != nil {
		f.Failure.advise("the guest could not be kept: " + err.Error())
		return "", fmt.Errorf("keep the failed guest: %w", err)
	}
	f.Failure.advise("the guest is kept: ingot shell " + f.Image)
	return f.kept, nil
}

func (f *FailedGuest) keep(ctx context.Context) (string, error) {
	g, j := f.guest, f.guest.job
	if len(g.config.Disks) == 0 {
		return "", errors.New("the guest has no disk")
	}
	s := &savedVM{
		ID: newVMID(j.build.Name), Build: f.Image, Base: j.plan.ParentImage.Name, Created: j.started,
		Status: component.StatusFailed, Failure: f.Failure.Reason(), Documents: []string{},
	}
	for _, c := range j.plan.Components {
		s.Documents = append(s.Documents, c.Name)
	}
	j.event(Event{Type: Progress, Detail: "saving the guest as " + s.ID})
	// What the guest shares with layers must be its own, or be named in the record, before the machine is described.
	if err := g.ownFiles(j.builder.layersPath()); err != nil {
		return "", err
	}
	saved := false
	if f.Answers(ctx) {
		err := g.freeze(ctx, s, 0)
		if saved = err == nil; err != nil {
			if ctx.Err() != nil {
				return "", ctx.Err()
			}
			j.event(Event{Type: Warning, Detail: "the guest's memory could not be saved: " + err.Error()})
		}
	}
	if !saved {
		g.describe(s)
		s.Memory = ""
		if g.vm != nil {
			// What QEMU holds back of the disk is written by its orderly end; a guest that took QEMU with it left what it left.
			g.vm.Quit(ctx)
		}
		if err := g.Close(); err != nil {
			return "", err
		}
		os.Remove(filepath.Join(g.folder, memoryName(0)))
	}
	return s.ID, g.becomeKept(ctx, j.builder, s, j.work.dir)
}

// becomeKept makes a machine that has ended, and whose files lie in its folder and in the workspace, the kept VM of a record.
func (m *machine) becomeKept(ctx context.Context, b *Builder, s *savedVM, workspace string) error {
	s.Seed = filepath.Base(m.seedPath())
	if err := s.adopt(m.folder, workspace, m.config.Disks[0]); err != nil {
		return err
	}
	if err := s.rebase(ctx, m.folder, filepath.Join(b.vmsPath(), s.ID)); err != nil {
		return err
	}
	if layers := s.layers(b.layersPath()); len(layers) > 0 {
		if err := os.WriteFile(filepath.Join(m.folder, savedLayers), []byte(strings.Join(layers, "\n")+"\n"), 0o600); err != nil {
			return err
		}
	}
	return b.keepSaved(m.folder, s)
}

// ownFiles gives the machine copies of the small files that it started with and that lie in a layer: its seed, and a kernel of its own. Only
// disks are shared with layers.
func (m *machine) ownFiles(layers string) error {
	own := func(path *string) error {
		if _, below := within(layers, *path); !below {
			return nil
		}
		copied := filepath.Join(m.folder, filepath.Base(*path))
		if err := copyFile(copied, *path); err != nil {
			return err
		}
		*path = copied
		return nil
	}
	seed := &m.config.Disks[len(m.config.Disks)-1].Path
	if err := own(seed); err != nil {
		return err
	}
	if m.direct == nil {
		return nil
	}
	return errors.Join(own(&m.direct.kernel), own(&m.direct.initrd))
}

// adopt makes the disk of a machine that has ended that of the saved VM in folder: the images that lie in the workspace, which goes, become
// its own, and the record names the others.
func (s *savedVM) adopt(folder, workspace string, root qemu.Disk) error {
	chain := append([]qemu.Image{{Path: root.Path, Format: root.Format}}, root.Backing...)
	moved := 0
	for moved < len(chain) {
		if _, below := within(workspace, chain[moved].Path); !below {
			break
		}
		moved++
	}
	for i, image := range chain[moved:] {
		if _, below := within(workspace, image.Path); below {
			return fmt.Errorf("%s lies below a layer, but is none", image.Path)
		}
		switch {
		case image.Format == driver(disk.Qcow2):
			s.Below = append(s.Below, image.Path)
		case image.Format == driver(disk.Raw) && i == len(chain[moved:])-1:
			s.BaseDisk = image.Path
		default:
			return fmt.Errorf("%s: an image of the format %s is not expected here", image.Path, image.Format)
		}
	}
	s.Disks = nil
	for n, image := range slices.Backward(chain[:moved]) {
		name := diskName(moved - 1 - n)
		if err := os.Rename(image.Path, filepath.Join(folder, name)); err != nil {
			return err
		}
		s.Disks = append(s.Disks, name)
	}
	if len(s.Disks) == 0 {
		return errors.New("the guest has no disk of its own")
	}
	return nil
}

// rebase writes into the headers of disks that were moved, in folder, where the one below each will be once folder is at final. QEMU does not
// look there, but other programs do.
func (s *savedVM) rebase(ctx context.Context, folder, final string) error {
	for i := 1; i < len(s.Disks); i++ {
		below := disk.Image{Path: filepath.Join(final, s.Disks[i-1]), Format: disk.Qcow2}
		if err := disk.Rebase(ctx, filepath.Join(folder, s.Disks[i]), below); err != nil {
			return err
		}
	}
	return nil
}

// layers are the IDs of the layers whose disks the VM lies on.
func (s *savedVM) layers(dir string) (ids []string) {
	for _, path := range s.Below {
		if rel, below := within(dir, path); below {
			id, _, _ := strings.Cut(rel, string(filepath.Separator))
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// PinnedLayers are the IDs of the layers that kept VMs lie on. They must stay as long as those do.
func (b *Builder) PinnedLayers() map[string]bool {
	pinned := map[string]bool{}
	lists, _ := filepath.Glob(filepath.Join(b.vmsPath(), "*", savedLayers))
	for _, list := range lists {
		data, err := os.ReadFile(list)
		if err != nil {
			continue // removed just now
		}
		for id := range strings.FieldsSeq(string(data)) {
			pinned[id] = true
		}
	}
	return pinned
}

func (b *Builder) layersPath() string { return filepath.Join(b.Home, "layers") }

// within tells where in a folder a path lies.
func within(dir, path string) (rel string, ok bool) {
	rel, err := filepath.Rel(dir, path)
	return rel, err == nil && rel != "." && filepath.IsLocal(rel)
}

func copyFile(dst, src string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := disk.Create(dst)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Commit()
}
