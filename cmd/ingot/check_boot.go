package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ingot-image/ingot/builder"
	"github.com/ingot-image/ingot/export/preflight"
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
	flags.BoolVar(&f.boot, "boot", false, "boot the image as EC2 would, too")
	flags.StringVar(&f.accelerator, "accelerator", "auto", "of --boot: auto, kvm or tcg")
	flags.IntVar(&f.cpus, "vcpus", 0, "of --boot: virtual CPUs (default: 2)")
	flags.IntVar(&f.memoryMiB, "memory", 0, "of --boot: memory in MiB (default: 2048)")
	flags.StringVar(&f.console, "console", "", "of --boot: a file for what the guest prints on its serial console")
}

// mistakes are those among the flags.
func (f *rehearsalFlags) mistakes() (wrong []error) {
	if !f.boot && (f.accelerator != "auto" || f.cpus != 0 || f.memoryMiB != 0 || f.console != "") {
		wrong = append(wrong, errors.New("--accelerator, --vcpus, --memory and --console are about --boot, which is not given"))
	}
	if !slices.Contains([]string{"auto", qemu.KVM, qemu.TCG}, f.accelerator) {
		wrong = append(wrong, fmt.Errorf("--accelerator %s: use auto, kvm, tcg", f.accelerator))
	}
	return wrong
}

// boots tells whether an image is to be booted: a file that is no disk has failed checks that say so.
func (f *rehearsalFlags) boots(t *preflight.Target) bool { return f.boot && t.Disk != nil }

// rehearse boots the image in a file, as its AMI will be registered. What goes on is told on standard error.
func (f *rehearsalFlags) rehearse(ctx context.Context, file, bootMode string) (_ *builder.Rehearsal, err error) {
	b, err := newBuilder()
	if err != nil {
		return nil, err
	}
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

// printRehearsal tells what came of it: each check with what was seen, and what to do about those that failed. r may be nil.
func printRehearsal(w io.Writer, r *builder.Rehearsal) error {
	var text strings.Builder
	if r == nil {
		return nil
	}
	for _, boot := range r.Boots {
		word := "passed"
		if n := len(boot.Failed()); n > 0 {
			word = counted(n, "check") + " failed"
		}
		fmt.Fprintf(&text, "rehearsal by %s: %s (%v)\n", boot.Firmware, word, (time.Duration(boot.DurationMS) * time.Millisecond).Round(time.Second))
		for _, c := range boot.Checks {
			mark := "ok  "
			if !c.Passed {
				mark = "FAIL"
			}
			fmt.Fprintf(&text, "  %s  %-14s  %s\n", mark, c.Name, printable(c.Seen))
			if c.Fix != "" {
				fmt.Fprintf(&text, "        %-14s  fix: %s\n", "", printable(c.Fix))
			}
		}
		if len(boot.Console) > 0 {
			fmt.Fprintln(&text, "  the console's last lines:")
			for _, line := range boot.Console {
				fmt.Fprintf(&text, "    | %s\n", printable(line))
			}
		}
	}
	_, err := io.WriteString(w, text.String())
	return err
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
