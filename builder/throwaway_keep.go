package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ingot-image/ingot/builder/agent"
	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/qemu"
)

const (
	freezeLimit = 15 * time.Second // for the guest to write what it holds back
)

// keep saves the VM as a new one and ends it. What it gives is the VM's ID.
func (t *throwaway) keep(ctx context.Context) (string, error) {
	s := &t.saved
	s.ID = newVMID(s.Base)
	t.doing("saving the VM as %s", s.ID)
	if err := t.ownFiles(t.builder.layersPath()); err != nil {
		return "", err
	}
	if err := t.freeze(ctx, s, 0); err != nil {
		return "", err
	}
	return s.ID, t.becomeKept(ctx, t.builder, s, t.work.dir)
}

// keepSaved makes a folder with all that a saved VM has a kept VM.
func (b *Builder) keepSaved(folder string, s *savedVM) error {
	if err := s.write(folder); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(folder, "initrd")); err != nil { // made anew each time
		return err
	}
	if err := mkdir(b.vmsPath()); err != nil {
		return err
	}
	return os.Rename(folder, filepath.Join(b.vmsPath(), s.ID))
}

// describe notes what the machine is.
func (m *machine) describe(s *savedVM) {
	s.Version, s.Saved = savedVersion, time.Now().UTC()
	s.Accelerator, s.Protocol = m.config.Accelerator.Name, agent.Protocol
	s.CPUs, s.MemoryMiB = m.config.CPUs, m.config.MemoryMiB
	if m.config.Firmware != nil {
		s.Firmware = string(m.config.Firmware.Kind)
	}
	if d := m.direct; d != nil {
		s.Kernel = &savedKernel{Path: m.beside(d.kernel), Initrd: m.beside(d.initrd), Append: d.append, Files: d.files}
	}
}

// freeze ends the machine with its state in the file memory-N of its folder, and notes what that needs.
func (m *machine) freeze(ctx context.Context, s *savedVM, n int) error {
	m.describe(s)
	s.QEMU, s.Memory = m.vm.Binary().Version, memoryName(n)
	if err := m.letGo(ctx); err != nil {
		return err
	}
	f, err := disk.Create(filepath.Join(m.folder, s.Memory))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := m.vm.SaveState(ctx, f); err != nil {
		return disk.ExplainSpace(err, m.folder, int64(s.MemoryMiB)<<20)
	}
	if err := f.Commit(); err != nil {
		return disk.ExplainSpace(err, m.folder, int64(s.MemoryMiB)<<20)
	}
	// An orderly end: what QEMU holds back of the disk is written.
	if err := m.vm.Quit(ctx); err != nil {
		return err
	}
	return m.Close()
}

func (m *machine) seedPath() string { return m.config.Disks[len(m.config.Disks)-1].Path }

// beside gives the name of a file of the VM's own folder, or the path of another.
func (m *machine) beside(path string) string {
	if filepath.Dir(path) == m.folder {
		return filepath.Base(path)
	}
	return path
}

// VM is a kept VM that runs. Close it, after Save or Discard or without: then the saved VM is what it was.
type VM struct {
	*throwaway
	dir     string // of the saved VM
	lock    *os.File
	console io.Writer
	// Resumed tells that the guest goes on where it was; else it was booted from its disk, for the reason in Why.
	Resumed bool
	Why     string
}

// VMOpen says which kept VM to open.
type VMOpen struct {
	// VM is the VM's ID; or the build whose guest it is, NAME/VERSION/BUILD; or NAME/VERSION or NAME for the one of these saved last. Empty is
	// the VM saved last of all.
	VM string
	// Console takes what the guest prints on its serial console, without a limit. It may be nil.
	Console io.Writer
	// Progress is told what goes on. It may be nil.
	Progress func(VMProgress)
}

// OpenVM brings a kept VM back to life. While it is open nobody else can open it.
//
// The guest goes on where it was saved, with its clock set and its random numbers its own. Where its memory cannot be used (another
// version of QEMU, another accelerator, another ingot) it boots from its disk.
func (b *Builder) OpenVM(ctx context.Context, o VMOpen) (_ *VM, err error) {
	t := &throwaway{builder: b, began: time.Now(), progress: o.Progress, stage: StageOpen}
	vm := &VM{throwaway: t, console: o.Console}
	if vm.dir, vm.lock, err = b.lockKept(o.VM); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, vm.Close())
			var failure *Failure
			if !errors.As(err, &failure) {
				err = asFailure(StageOpen, err)
			}
		}
	}()
	saved, err := readSaved(vm.dir)
	if err != nil {
		return nil, err
	}
	t.saved = *saved
	for _, path := range append(slices.Clone(saved.Below), saved.BaseDisk) {
		if path != "" && !exists(path) {
			return nil, fmt.Errorf("a disk that %s lies on is gone: %s; remove the VM with ingot shell --remove %s", saved.ID, path, saved.ID)
		}
	}
	if err := t.open(ctx); err != nil {
		return nil, err
	}
	if err := vm.prepare(ctx); err != nil {
		return nil, err
	}
	if vm.Why, err = vm.unusable(ctx); err != nil {
		return nil, err
	}
	if vm.Why == "" {
		t.doing("resuming %s", saved.ID)
		err := t.resume(ctx, filepath.Join(vm.dir, saved.Memory))
		if err == nil {
			vm.Resumed = true
			return vm, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		vm.Why = err.Error()
	}
	return vm, vm.bootSaved(ctx)
}

// prepare makes the configuration of the saved machine, on an overlay of this session's.
func (vm *VM) prepare(ctx context.Context) error {
	t, s := vm.throwaway, &vm.saved
	accelerator, err := qemu.ChooseAccelerator("")
	if err != nil {
		return err
	}
	t.machine = &machine{folder: t.work.path("vm")}
	if err := os.RemoveAll(t.folder); err != nil { // of a resume that failed
		return err
	}
	if err := mkdir(t.folder); err != nil {
		return err
	}
	chain := s.chain(vm.dir)
	overlay := filepath.Join(t.folder, diskName(s.nextDisk()))
	if err := disk.CreateOverlay(ctx, overlay, disk.Image{Path: chain[0].Path, Format: disk.Qcow2}, 0); err != nil {
		return err
	}
	root := overlayDisk(overlay, "", disk.Raw, qemu.VirtIO)
	root.Backing = chain
	t.config = qemu.Config{
		Accelerator: accelerator, CPUs: s.CPUs, MemoryMiB: s.MemoryMiB,
		Disks:   []qemu.Disk{root},
		Network: &qemu.Network{}, Ports: []string{agent.PortName}, OnReboot: qemu.Exit, RuntimeDir: t.work.sockets,
	}
	if vm.console != nil {
		t.config.ConsoleLog, t.config.ConsoleLogLimit = vm.console, -1
	}
	if s.Firmware != "" {
		if t.config.Firmware, err = qemu.FindFirmware(qemu.FirmwareKind(s.Firmware)); err != nil {
			return err
		}
	}
	if k := s.Kernel; k != nil {
		t.direct = &directBoot{kernel: vm.file(k.Path), initrd: vm.file(k.Initrd), append: k.Append, files: k.Files}
	}
	return nil
}

// file is a path that the record gives.
func (vm *VM) file(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(vm.dir, path)
}

// unusable tells why the saved memory cannot be resumed here, "" if it can.
func (vm *VM) unusable(ctx context.Context) (string, error) {
	s := &vm.saved
	version, err := qemuVersion(ctx)
	switch {
	case err != nil:
		return "", err
	case s.Memory == "":
		return "it was switched off", nil
	case s.QEMU != version:
		return fmt.Sprintf("it was saved by QEMU %s, this is %s", s.QEMU, version), nil
	case s.Accelerator != vm.config.Accelerator.Name:
		return fmt.Sprintf("it was saved under %s, this is %s", s.Accelerator, vm.config.Accelerator.Name), nil
	case s.Protocol != agent.Protocol:
		return "it was saved by another version of ingot", nil
	case !exists(vm.file(s.Memory)):
		return "its memory is gone", nil
	}
	return "", nil
}

// resume goes on from a saved state.
func (t *throwaway) resume(ctx context.Context, memory string) error {
	t.config.Disks = append(t.config.Disks, seedAt(filepath.Join(t.builder.vmsPath(), t.saved.ID, t.saved.Seed)))
	state, err := os.Open(memory)
	if err != nil {
		return err
	}
	defer state.Close()
	config, err := t.prepared()
	if err != nil {
		return err
	}
	if t.vm, err = qemu.Resume(ctx, config, state, nil); err != nil {
		return err
	}
	err = t.connect(ctx, qemu.Wait{Name: "the guest's agent to go on", Limit: agentLimit})
	if err == nil {
		err = t.vm.Await(ctx, qemu.Wait{Name: "the guest's clock to be set", Limit: agentLimit}, t.agent.Wake)
	}
	if err != nil {
		return errors.Join(err, t.Close())
	}
	return nil
}

// bootSaved boots the guest from its disk.
func (vm *VM) bootSaved(ctx context.Context) error {
	vm.doing("booting %s from its disk: %s", vm.saved.ID, vm.Why)
	if err := vm.prepare(ctx); err != nil {
		return err
	}
	program, err := vm.builder.Agent("linux", "amd64")
	if err != nil {
		return err
	}
	if err := vm.attachAgent("ingot-vm", program); err != nil {
		return err
	}
	if err := vm.start(ctx); err != nil {
		return errors.Join(err, vm.throwaway.Close())
	}
	_, err = vm.ready(ctx)
	return err
}

// Shell runs a shell or a command in the guest; see agent.Client.Shell. A guest that goes down meanwhile is a *qemu.WaitError.
func (vm *VM) Shell(ctx context.Context, shell agent.Shell, streams agent.Streams) (status int, err error) {
	return vm.shell(ctx, shell, streams)
}

func (m *machine) shell(ctx context.Context, shell agent.Shell, streams agent.Streams) (status int, err error) {
	err = m.vm.Await(ctx, qemu.Wait{Name: "the shell to end"}, func(ctx context.Context) error {
		status, err = m.agent.Shell(ctx, shell, streams)
		return err
	})
	return status, err
}

// ID is the VM's.
func (vm *VM) ID() string { return vm.saved.ID }

// Save makes the guest's present state that of the saved VM, and ends it. A guest that has switched itself off or wants to reboot is
// saved without its memory, and boots the next time. After an error the saved VM is what it was.
func (vm *VM) Save(ctx context.Context) error {
	n := vm.saved.nextDisk()
	before := vm.saved
	vm.doing("saving %s", vm.saved.ID)
	if err := vm.save(ctx, n); err != nil {
		return asFailure(StageKeep, err)
	}
	for _, name := range append(slices.Clone(before.Disks), before.Memory, before.Seed) {
		if name != "" && name != vm.saved.Seed && !slices.Contains(vm.saved.Disks, name) {
			os.Remove(filepath.Join(vm.dir, name))
		}
	}
	return nil
}

func (vm *VM) save(ctx context.Context, n int) error {
	select {
	case <-vm.vm.Done():
		if err := vm.vm.Err(); err != nil {
			return err
		}
		vm.saved.Memory, vm.saved.Saved = "", time.Now().UTC()
		if err := vm.throwaway.Close(); err != nil {
			return err
		}
	default:
		if err := vm.freeze(ctx, &vm.saved, n); err != nil {
			return err
		}
	}
	overlay := filepath.Join(vm.folder, diskName(n))
	vm.saved.Disks = append(slices.Clone(vm.saved.Disks), diskName(n))
	if len(vm.saved.Disks) > maxDisks {
		whole := disk.Image{Path: filepath.Join(vm.folder, "whole.qcow2"), Format: disk.Qcow2}
		if err := disk.Convert(ctx, disk.Image{Path: overlay, Format: disk.Qcow2}, whole, nil); err != nil {
			return err
		}
		if err := os.Rename(whole.Path, overlay); err != nil {
			return err
		}
		vm.saved.Disks, vm.saved.Below, vm.saved.BaseDisk = []string{diskName(n)}, nil, ""
	}
	if seed := vm.seedPath(); filepath.Dir(seed) == vm.folder {
		// The guest runs its agent from it: it must not replace the one that the VM has as long as the record names that.
		vm.saved.Seed = fmt.Sprintf("seed-%d.iso", n)
		if err := os.Rename(seed, filepath.Join(vm.dir, vm.saved.Seed)); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(vm.folder)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == "initrd" {
			continue // made anew each time
		}
		if err := os.Rename(filepath.Join(vm.folder, e.Name()), filepath.Join(vm.dir, e.Name())); err != nil {
			return err
		}
	}
	if err := vm.saved.write(vm.dir); err != nil {
		return err
	}
	if len(vm.saved.Below) == 0 {
		os.Remove(filepath.Join(vm.dir, savedLayers))
	}
	return nil
}

// Discard removes the VM, saved state and all.
func (vm *VM) Discard() error {
	err := errors.Join(vm.throwaway.Close(), os.Remove(filepath.Join(vm.dir, savedRecord)), os.RemoveAll(vm.dir))
	return err
}

// Close ends the VM if it runs, and lets others open it.
func (vm *VM) Close() error {
	var errs []error
	if vm.machine != nil {
		errs = append(errs, vm.throwaway.Close())
	}
	if vm.work != nil {
		errs = append(errs, vm.work.close())
	}
	if vm.lock != nil {
		vm.lock.Close()
	}
	return errors.Join(errs...)
}
