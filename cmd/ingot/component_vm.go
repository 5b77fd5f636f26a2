package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ingot-image/ingot/builder"
	"github.com/ingot-image/ingot/builder/agent"
	"github.com/ingot-image/ingot/builder/component"
)

// vmFlags are the flags of component run that are about the VM.
type vmFlags struct {
	base, accelerator, mirror string
	keep                      bool
	copies                    []string
	cpus, memory              int
}

func (f *vmFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.base, "vm", "", "run in a throwaway VM of this base: debian-12, an image file, or NAME/VERSION of an image that was built")
	flags.BoolVar(&f.keep, "keep", false, "keep the VM of --vm, for ingot shell")
	flags.StringArrayVar(&f.copies, "copy", nil, "HOSTPATH:GUESTPATH, a file or folder to copy into the VM of --vm first; may be repeated")
	flags.IntVar(&f.cpus, "vcpus", 0, "virtual CPUs of the VM of --vm (default: 2, or 1 where this machine has no more)")
	flags.IntVar(&f.memory, "memory", 0, "memory of the VM of --vm in MiB (default: 2048)")
	flags.StringVar(&f.accelerator, "accelerator", "auto", "auto, kvm or tcg, for the VM of --vm")
	flags.StringVar(&f.mirror, "mirror", "", "Debian mirror for the base of --vm (default: that of this machine's apt sources)")
}

// check finds what makes no sense before anything is done.
func (f *vmFlags) check(cmd *cobra.Command) error {
	for _, name := range []string{"keep", "copy", "vcpus", "memory", "accelerator", "mirror"} {
		if f.base == "" && cmd.Flags().Changed(name) {
			return usageError{fmt.Errorf("--%s is about the VM of --vm", name)}
		}
	}
	if err := oneOf("accelerator", f.accelerator, "auto", "kvm", "tcg"); err != nil {
		return err
	}
	if cmd.Flags().Changed("vcpus") && (f.cpus < 1 || f.cpus > 64) || cmd.Flags().Changed("memory") && f.memory < 128 {
		return usageError{errors.New("a machine has 1 to 64 vCPUs and at least 128 MiB of memory")}
	}
	_, err := f.parseCopies()
	return err
}

// parseCopies reads --copy.
func (f *vmFlags) parseCopies() ([]builder.VMCopy, error) {
	var copies []builder.VMCopy
	for _, text := range f.copies {
		// A path of this machine may have a colon in it, one of the guest has none.
		colon := strings.LastIndexByte(text, ':')
		if colon < 1 || !path.IsAbs(text[colon+1:]) {
			return nil, usageError{fmt.Errorf("--copy %q: must be HOSTPATH:GUESTPATH, the second an absolute path", text)}
		}
		c := builder.VMCopy{Host: text[:colon], Guest: path.Clean(text[colon+1:])}
		if strings.HasSuffix(text, "/") && c.Guest != "/" {
			c.Guest = path.Join(c.Guest, filepath.Base(c.Host)) // as cp does
		}
		if _, err := os.Stat(c.Host); err != nil {
			return nil, usageError{fmt.Errorf("--copy: %w", err)}
		}
		copies = append(copies, c)
	}
	return copies, nil
}

// platform is what the documents are for.
func (f *vmFlags) platform() string {
	if f.base == "" {
		return ""
	}
	return "linux"
}

// run runs the request in a VM. Of services S3, Parameters and Components are of use. The log folder takes the guest's console.
func (f *vmFlags) run(ctx context.Context, request component.Request, services component.System, logFolder string, p *runProgress, events func(component.Event)) (*component.Result, error) {
	b, err := newBuilder()
	if err != nil {
		return nil, err
	}
	b.Mirror = f.mirror
	copies, err := f.parseCopies()
	if err != nil {
		return nil, err
	}
	console, err := os.OpenFile(filepath.Join(logFolder, "vm-console.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer console.Close()
	vm, err := b.RunInVM(ctx, builder.VMRun{
		Base: f.base, Request: request, Copy: copies, Keep: f.keep,
		Services: agent.Services{S3: services.S3, Parameters: services.Parameters, Components: services.Components},
		CPUs:     f.cpus, MemoryMiB: f.memory, Accelerator: f.accelerator,
		Console: console, Events: events, Progress: p.vm,
	})
	if vm == nil {
		return nil, err
	}
	if vm.Kept != "" {
		p.mu.Lock()
		p.stage = ""
		p.say("the VM is kept; look inside: %s shell %s", os.Args[0], vm.Kept)
		p.mu.Unlock()
	}
	return vm.Result, err
}

// vm shows what the VM is at.
func (p *progress) vm(at builder.VMProgress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stage != "vm" {
		p.stage, p.since = "vm", time.Now()
	}
	p.doing = at.Doing
	if at.Total > 0 {
		percent := at.Done * 100 / at.Total
		p.doing = fmt.Sprintf("%s %d%%", at.Doing, percent)
		p.plain("%s %d%%", at.Doing, percent/25*25)
		return
	}
	p.plain("%s", at.Doing)
	p.draw()
}
