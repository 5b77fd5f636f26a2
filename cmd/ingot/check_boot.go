package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ingot-image/ingot/builder"
	"github.com/ingot-image/ingot/qemu"
)

// rehearsalFlags are those of ingot check that are about booting the image.
type rehearsalFlags struct {
	boot        bool
	accelerator string
	cpus        int
	memoryMiB   int
	console     string
}

func (f *rehearsalFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&f.boot, "boot", false, "boot the image as EC2 would, in a VM with a metadata service, and tell whether cloud-init, key, user data, root file system and console come right")
	flags.StringVar(&f.accelerator, "accelerator", "auto", "with --boot: auto, kvm or tcg")
	flags.IntVar(&f.cpus, "vcpus", 0, "with --boot: virtual CPUs (default: 2)")
	flags.IntVar(&f.memoryMiB, "memory", 0, "with --boot: memory in MiB (default: 2048)")
	flags.StringVar(&f.console, "console", "", "with --boot: a file for what the guest prints on its serial console")
}

// check finds mistakes among the flags that were given.
func (f *rehearsalFlags) check(flags *pflag.FlagSet) error {
	for _, name := range []string{"accelerator", "vcpus", "memory", "console"} {
		if flags.Changed(name) && !f.boot {
			return usageError{fmt.Errorf("--%s is about --boot, which is not given", name)}
		}
	}
	return nil
}

// rehearse boots the image in a file, as its AMI will be registered. What goes on is told on standard error.
func (f *rehearsalFlags) rehearse(ctx context.Context, b *builder.Builder, file, bootMode string) (_ *builder.Rehearsal, err error) {
	o := builder.RehearsalOptions{File: file, BootMode: bootMode, Accelerator: f.accelerator, CPUs: f.cpus, MemoryMiB: f.memoryMiB}
	if f.console != "" {
		log, err := os.Create(f.console)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, log.Close()) }()
		o.Log = log
	}
	o.Events = func(e builder.RehearsalEvent) {
		line := e.Doing
		if e.Firmware != "" {
			line = string(e.Firmware) + ": " + line
		}
		printLines(os.Stderr, fmt.Sprintf("%5.1fs  %s", e.Elapsed.Seconds(), line))
	}
	r, err := b.Rehearse(ctx, o)
	if err != nil && ctx.Err() == nil {
		return nil, badImage(file, err)
	}
	return r, err
}

// printRehearsal tells what came of it: each check with what was seen, and what to do about those that failed.
func printRehearsal(w io.Writer, r *builder.Rehearsal) {
	for _, boot := range r.Boots {
		word := "passed"
		if n := len(boot.Failed()); n > 0 {
			word = counted(n, "check") + " failed"
		}
		fmt.Fprintf(w, "rehearsal by %s: %s (%v)\n", boot.Firmware, word, (time.Duration(boot.DurationMS) * time.Millisecond).Round(time.Second))
		for _, c := range boot.Checks {
			mark := "ok  "
			if !c.Passed {
				mark = "FAIL"
			}
			fmt.Fprintf(w, "  %s  %-14s  %s\n", mark, c.Name, printable(c.Seen))
			if c.Fix != "" {
				fmt.Fprintf(w, "        %-14s  fix: %s\n", "", printable(c.Fix))
			}
		}
		if len(boot.Console) > 0 {
			fmt.Fprintln(w, "  the console's last lines:")
			for _, line := range boot.Console {
				fmt.Fprintf(w, "    | %s\n", printable(line))
			}
		}
	}
}

// relayCommand is what QEMU runs for a guest's connection to a service of ours. People have no use for it.
const relayCommand = "guest-relay"

func newRelay() *cobra.Command {
	return &cobra.Command{
		Use: relayCommand + " SOCKET", Hidden: true, Args: cobra.ExactArgs(1),
		Short: "Connect a guest's service with its socket (QEMU runs this)",
		RunE:  func(_ *cobra.Command, args []string) error { return qemu.Relay(args[0], os.Stdin, os.Stdout) },
	}
}

// relay is how this program is started as the relay. Where its own path cannot be found there is none, which builder.Rehearse tells.
func relay() []string {
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	return []string{self, relayCommand}
}
