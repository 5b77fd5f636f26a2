package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ingot-image/ingot/builder"
	"github.com/ingot-image/ingot/qemu"
)

func newRun() *cobra.Command {
	o := builder.RunOptions{}
	var forwards []string
	cmd := &cobra.Command{
		Use:   "run IMAGE",
		Short: "Start an image here, with its console and an ssh port, on a throwaway overlay",
		Long: `Run starts an image of the catalog (NAME/VERSION) or a disk image file in a VM on this machine.
The image itself is not changed: what the VM writes goes to an overlay that ends with it.

The guest's serial console is this terminal; Ctrl-] ends the VM. Port 22 of the guest is
forwarded from a port of 127.0.0.1. cloud-init in the image takes the login from a seed:
the image's default user (on Debian: debian) gets your public ssh keys and a password that
is printed at the start.`,
		Example: `  ingot run web-server/1.0.x
  ingot run out/web-server-1.0.0-1.qcow2 --uefi --forward 8080:80`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := newBuilder()
			if err != nil {
				return err
			}
			stdin, restore := int(os.Stdin.Fd()), func() {}
			o.Image = args[0]
			if o.Forwards, err = parseForwards(forwards); err != nil {
				return err
			}
			if err := oneOf("accelerator", o.Accelerator, "auto", "kvm", "tcg"); err != nil {
				return err
			}
			if o.CPUs < 1 || o.CPUs > 64 || o.MemoryMiB < 128 {
				return usageError{errors.New("a machine has 1 to 64 vCPUs and at least 128 MiB of memory")}
			}
			o.Started = func(i builder.Instance) {
				fmt.Fprintf(os.Stderr, "%s with %s, %s\n", i.Path, i.Accelerator, i.Firmware)
				fmt.Fprintf(os.Stderr, "ssh:      ssh -p %d USER@127.0.0.1 (USER: the image's default user, on Debian: debian)\n", i.SSHPort)
				fmt.Fprintf(os.Stderr, "password: %s\n", i.Password)
				for _, f := range i.Forwards {
					fmt.Fprintf(os.Stderr, "forward:  127.0.0.1:%d to port %d of the guest\n", f.HostPort, f.GuestPort)
				}
				fmt.Fprintf(os.Stderr, "Ctrl-] ends it\n\n")
				if o.Input == nil {
					return
				}
				// From here on every key is the guest's, Ctrl-C too.
				if state, err := term.MakeRaw(stdin); err == nil {
					restore = func() {
						term.Restore(stdin, state)
						fmt.Fprintln(os.Stderr)
					}
				}
			}
			o.Output = os.Stdout
			if term.IsTerminal(stdin) {
				o.Input = os.Stdin
			}
			defer func() { restore() }()
			return notFoundAsUsage(b.Run(cmd.Context(), o))
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.UEFI, "uefi", false, "boot by UEFI instead of BIOS")
	flags.IntVar(&o.CPUs, "vcpus", 2, "virtual CPUs")
	flags.IntVar(&o.MemoryMiB, "memory", 1024, "memory in MiB")
	flags.StringVar(&o.Accelerator, "accelerator", "auto", "auto, kvm or tcg")
	flags.IntVar(&o.SSHPort, "ssh-port", 0, "port of 127.0.0.1 for ssh (default: a free one)")
	flags.StringArrayVar(&forwards, "forward", nil, "HOST:GUEST, a further TCP port of 127.0.0.1 to one of the guest")
	return cmd
}

// parseForwards reads ports given as HOST:GUEST.
func parseForwards(texts []string) ([]qemu.Forward, error) {
	var forwards []qemu.Forward
	for _, text := range texts {
		host, guest, _ := strings.Cut(text, ":")
		h, errH := strconv.ParseUint(host, 10, 16)
		g, errG := strconv.ParseUint(guest, 10, 16)
		if errH != nil || errG != nil || g == 0 {
			return nil, usageError{fmt.Errorf("--forward %q: must be HOST:GUEST, two port numbers", text)}
		}
		forwards = append(forwards, qemu.Forward{HostPort: int(h), GuestPort: int(g)})
	}
	return forwards, nil
}
