package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ingot-image/ingot/builder"
)

func newConsole() *cobra.Command {
	var discard bool
	cmd := &cobra.Command{
		Use:   "console [BUILD|NAME|VM-ID]",
		Short: "Attach to the serial console of a VM that was kept",
		Long: `Console brings the guest of a failed build, or another VM that was kept, back to life where it stopped,
and connects its serial console with this terminal, both ways. Ctrl-] leaves; then the VM is saved again.

BUILD is NAME/VERSION/BUILD; NAME or NAME/VERSION is the one of these saved last, and without a name it is
the VM saved last of all. A login at the console needs a password that the guest knows; ingot shell needs none.`,
		Example: `  ingot console
  ingot console web-server/1.0.0/3
  ingot shell web-server/1.0.0/3 -- passwd root`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := newBuilder()
			if err != nil {
				return err
			}
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			return openConsole(cmd.Context(), b, name, discard)
		},
		ValidArgsFunction: completeKept,
	}
	cmd.Flags().BoolVar(&discard, "discard", false, "remove the VM at the end")
	return cmd
}

// openConsole is a session at the console: open, attend, save.
func openConsole(ctx context.Context, b *builder.Builder, name string, discard bool) error {
	line := &vmLine{}
	console := &heldWriter{w: os.Stdout} // what the guest prints comes after the live line is gone
	vm, err := openKept(ctx, b, builder.VMOpen{VM: name, Console: console, Progress: line.show}, line)
	if err != nil {
		return err
	}
	defer vm.Close()
	fmt.Fprintf(os.Stderr, "the console of %s; Ctrl-] leaves it\n", vm.ID())
	restore := func() {}
	if stdin := int(os.Stdin.Fd()); term.IsTerminal(stdin) {
		// From here on every key is the guest's, Ctrl-C too.
		if state, err := term.MakeRaw(stdin); err == nil {
			restore = func() {
				term.Restore(stdin, state)
				fmt.Fprintln(os.Stderr)
			}
		}
	}
	console.release()
	down, err := vm.Console(ctx, os.Stdin)
	restore()
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%w; the VM is as it was before: %s", err, vm.ID())
	}
	return leaveKept(ctx, vm, line, discard, down, false)
}

// heldWriter keeps what is written until it is released.
type heldWriter struct {
	w io.Writer

	mu   sync.Mutex
	held []byte
	free bool
}

// maxHeld bounds what is kept: the last of it.
const maxHeld = 1 << 20

func (h *heldWriter) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.free {
		return h.w.Write(p)
	}
	h.held = append(h.held, p...)
	h.held = h.held[max(0, len(h.held)-maxHeld):]
	return len(p), nil
}

func (h *heldWriter) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.w.Write(h.held)
	h.held, h.free = nil, true
}
