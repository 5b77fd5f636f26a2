package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ingot-image/ingot/builder"
	"github.com/ingot-image/ingot/builder/agent"
	"github.com/ingot-image/ingot/qemu"
)

// shellFlags are those of shell.
type shellFlags struct {
	discard, list, asJSON bool
	remove                string
}

func newShell() *cobra.Command {
	var f shellFlags
	cmd := &cobra.Command{
		Use:   "shell [BUILD|NAME|VM-ID] [-- COMMAND…]",
		Short: "Open a shell in a VM that was kept, such as the guest of a failed build",
		Long: `Shell brings a VM that build --on-failure=keep or component run --keep has left back to life, where it
stopped: with its processes, mounts and files in memory. It opens a shell of root in it, or runs one command,
whose standard input, output and exit status are passed on. No network or ssh is involved.

BUILD is NAME/VERSION/BUILD; NAME or NAME/VERSION is the one of these saved last, and without a name it is
the VM saved last of all. When the shell ends the VM is saved again, unless --discard is given, which removes
it. Only one shell at a time can be open in a VM.

Exit status: that of the shell or command; 1 if the VM could not be opened or saved, 2 a mistake
in the flags, 130 interrupted.`,
		Example: `  ingot shell
  ingot shell web-server/1.0.0/3
  ingot shell debian-12-3fa9c1 -- journalctl -b
  ingot shell --list
  ingot shell --remove debian-12-3fa9c1`,
		Args: func(cmd *cobra.Command, args []string) error {
			before := len(args)
			if dash := cmd.ArgsLenAtDash(); dash >= 0 {
				before = dash
			}
			if before > 1 {
				return errors.New("one VM at a time; a command comes after --")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := newBuilder()
			if err != nil {
				return err
			}
			id, command := "", []string(nil)
			switch dash := cmd.ArgsLenAtDash(); {
			case dash >= 0:
				id, command = strings.Join(args[:dash], ""), args[dash:]
			case len(args) > 0:
				id = args[0]
			}
			switch {
			case f.list && (f.remove != "" || f.discard || len(args) > 0), f.remove != "" && (f.discard || len(args) > 0):
				return usageError{errors.New("--list and --remove do nothing else")}
			case f.asJSON && !f.list:
				return usageError{errors.New("--json is about --list")}
			case f.list:
				return listKept(cmd, b, f.asJSON)
			case f.remove != "":
				return kept(b.RemoveVM(f.remove))
			}
			return openShell(cmd.Context(), b, id, command, f.discard)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.discard, "discard", false, "remove the VM at the end")
	flags.BoolVar(&f.list, "list", false, "list the VMs that are kept")
	flags.BoolVar(&f.asJSON, "json", false, "list them as JSON")
	flags.StringVar(&f.remove, "remove", "", "remove this VM")
	cmd.ValidArgsFunction = completeKept
	cmd.RegisterFlagCompletionFunc("remove", completeKept)
	return cmd
}

// completeKept offers the kept VMs: by their build where they have one, else by their ID.
func completeKept(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	b, err := newBuilder()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	vms, _ := b.KeptVMs()
	names := []string{}
	for _, vm := range vms {
		if name := cmp.Or(vm.Build, vm.ID); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// kept gives errors about names of VMs the exit status of bad input.
func kept(err error) error {
	if errors.Is(err, builder.ErrNoSuchVM) {
		return usageError{err}
	}
	return err
}

func listKept(cmd *cobra.Command, b *builder.Builder, asJSON bool) error {
	vms, err := b.KeptVMs()
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if asJSON {
		return printJSON(out, vms)
	}
	if len(vms) == 0 {
		fmt.Fprintln(os.Stderr, "no VM is kept; ingot build --on-failure=keep and ingot component run --vm BASE --keep keep one")
		return nil
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tBUILD\tBASE\tAGE\tSIZE\tDOCUMENTS\tSTATUS")
	for _, vm := range vms {
		status := string(vm.Status)
		switch {
		case vm.InUse:
			status += ", a shell is open"
		case !vm.Memory:
			status += ", switched off"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", vm.ID, cmp.Or(vm.Build, "-"), printable(vm.Base), age(time.Since(vm.Saved)), size(vm.SizeBytes), printable(strings.Join(vm.Documents, ", ")), status)
	}
	return table.Flush()
}

// age is a duration as people tell how old something is.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// openShell is a session: open, run, save.
func openShell(ctx context.Context, b *builder.Builder, name string, command []string, discard bool) error {
	line := &vmLine{}
	progress := line.show
	if len(command) > 0 && !term.IsTerminal(int(os.Stderr.Fd())) {
		progress = nil // what is printed is the command's
	}
	vm, err := openKept(ctx, b, builder.VMOpen{VM: name, Progress: progress}, line)
	if err != nil {
		return err
	}
	defer vm.Close()
	status, err := attach(ctx, vm, command)
	down := wentDown(err)
	if err != nil && !down {
		return fmt.Errorf("%w; the VM is as it was before this shell: %s", err, vm.ID())
	}
	if err := leaveKept(ctx, vm, line, discard, down, len(command) > 0); err != nil {
		return err
	}
	if status != 0 {
		return exitStatus(status)
	}
	return nil
}

// openKept opens a kept VM.
func openKept(ctx context.Context, b *builder.Builder, o builder.VMOpen, line *vmLine) (vm *builder.VM, err error) {
	line.during(func() { vm, err = b.OpenVM(ctx, o) })
	if err != nil {
		return nil, kept(err)
	}
	if !vm.Resumed {
		fmt.Fprintf(os.Stderr, "ingot: %s was booted from its disk: %s\n", vm.ID(), printable(vm.Why))
	}
	return vm, nil
}

// leaveKept saves a kept VM at the end of a session, or removes it. quiet leaves out what a person should know.
func leaveKept(ctx context.Context, vm *builder.VM, line *vmLine, discard, down, quiet bool) (err error) {
	if discard {
		return vm.Discard()
	}
	line.during(func() { err = vm.Save(ctx) })
	if err != nil || quiet {
		return err
	}
	note := ""
	if down {
		note = "; the guest went down, and will boot from its disk"
	}
	fmt.Fprintf(os.Stderr, "%s is saved%s; %s shell --remove %[1]s removes it\n", vm.ID(), note, os.Args[0])
	return nil
}

// vmLine shows what a VM is at, except while the guest has the terminal.
type vmLine struct {
	mu sync.Mutex
	p  *progress
}

// during shows it while f runs.
func (l *vmLine) during(f func()) {
	l.set(newProgress(os.Stderr, false))
	defer func() { l.set(nil).close() }()
	f()
}

func (l *vmLine) set(p *progress) (old *progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old, l.p = l.p, p
	return old
}

func (l *vmLine) show(at builder.VMProgress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.p != nil {
		l.p.vm(at)
	}
}

// sheller is a guest that runs shells: see agent.Client.Shell.
type sheller interface {
	Shell(ctx context.Context, shell agent.Shell, streams agent.Streams) (status int, err error)
}

// attach connects the guest's shell with this process's terminal, or a command with its standard streams.
func attach(ctx context.Context, guest sheller, command []string) (int, error) {
	shell := agent.Shell{Command: command}
	streams := agent.Streams{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	if len(command) > 0 || !term.IsTerminal(int(os.Stdin.Fd())) || !term.IsTerminal(int(os.Stdout.Fd())) {
		return guest.Shell(ctx, shell, streams)
	}
	return attachTerminal(ctx, guest, shell, streams)
}

// attachTerminal connects a shell with this process's terminal: every key is the guest's, and its terminal is as large as this one.
func attachTerminal(ctx context.Context, guest sheller, shell agent.Shell, streams agent.Streams) (int, error) {
	terminal := int(os.Stdin.Fd())
	measure := func() agent.Size {
		columns, rows, err := term.GetSize(terminal)
		if err != nil {
			return agent.Size{Rows: 24, Columns: 80}
		}
		return agent.Size{Rows: uint16(rows), Columns: uint16(columns)}
	}
	shell.Terminal = &agent.Terminal{Type: os.Getenv("TERM"), Size: measure()}
	changes := make(chan os.Signal, 1)
	signal.Notify(changes, syscall.SIGWINCH)
	sizes := make(chan agent.Size)
	over := make(chan struct{})
	defer close(over)
	defer signal.Stop(changes)
	go func() {
		for {
			select {
			case <-changes:
				select {
				case sizes <- measure():
				case <-over:
					return
				}
			case <-over:
				return
			}
		}
	}()
	streams.Sizes = sizes
	// From here on every key is the guest's, Ctrl-C too.
	state, err := term.MakeRaw(terminal)
	if err != nil {
		return 0, err
	}
	defer term.Restore(terminal, state)
	return guest.Shell(ctx, shell, streams)
}

// wentDown tells whether a guest switched itself off or rebooted.
func wentDown(err error) bool {
	var ended *qemu.WaitError
	return errors.As(err, &ended) && (ended.Reason == qemu.WaitShutdown || ended.Reason == qemu.WaitReset)
}
