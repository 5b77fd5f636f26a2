// Ingot casts golden images on your own machine: a local EC2 Image Builder. Each verb has a file of its own here; it
// parses flags, calls the room that does the work, and prints.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/ingot-image/ingot/builder"
	"github.com/ingot-image/ingot/builder/catalog"
	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/cmd/ingot-agent/embedded"
	"github.com/ingot-image/ingot/disk"
)

// version is set by the Makefile.
var version = "dev"

// The exit codes.
const (
	exitDone        = 0
	exitFailed      = 1 // a build or test failed
	exitBadInput    = 2 // flags, a recipe or a document are wrong; nothing was changed
	exitInterrupted = 130
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal ends the work in order; a second one ends the program.
	context.AfterFunc(ctx, stop)
	err := newRoot().ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	return report(err)
}

// usageError is a mistake of the command line.
type usageError struct{ error }

// silentError has been told already.
type silentError struct{ error }

func (e silentError) Unwrap() error { return e.error }

// report prints an error as it deserves and gives the exit code.
func report(err error) int {
	var silent silentError
	var problems component.Problems
	var usage usageError
	var failure *builder.Failure
	var status exitStatus
	var unsafe *disk.UnsafeError
	var damaged *disk.FormatError
	switch {
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &failure):
		if !errors.As(err, &silent) {
			printFailure(os.Stderr, failure)
		}
		if failure.Cancelled() {
			return exitInterrupted
		}
		return exitFailed
	case errors.As(err, &problems):
		for _, p := range problems {
			printLines(os.Stderr, p.String())
		}
		fmt.Fprintf(os.Stderr, "%s; nothing was changed\n", counted(len(problems), "mistake"))
		return exitBadInput
	case errors.As(err, &usage):
		printLines(os.Stderr, "ingot: "+usage.Error())
		return exitBadInput
	case errors.As(err, &unsafe), errors.As(err, &damaged), errors.Is(err, catalog.ErrNotFound): // an image that is refused, or none
		printLines(os.Stderr, "ingot: "+err.Error())
		return exitBadInput
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "ingot: interrupted")
		return exitInterrupted
	}
	printLines(os.Stderr, "ingot: "+err.Error())
	return exitFailed
}

// printLines prints an error, which may quote an image, a guest or a file, without what a terminal would take for a command.
func printLines(w io.Writer, text string) {
	for line := range strings.SplitSeq(text, "\n") {
		fmt.Fprintln(w, printable(line))
	}
}

func printFailure(w io.Writer, failure *builder.Failure) {
	for i, line := range failure.Lines() {
		if i == 0 {
			line = "ingot: " + line
		}
		fmt.Fprintln(w, printable(line))
	}
}

func counted(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "ingot",
		Short: "Cast golden images on your own machine",
		Long: `Ingot casts golden images on your own machine: a local EC2 Image Builder.

It boots a base OS under QEMU, applies component documents inside it, boots the
result again in throwaway VMs to test it, and keeps it for hypervisors: raw, qcow2,
VMDK, VHD, OVA and more.
State lives under $INGOT_HOME (default: ~/.local/share/ingot).`,
		Example: `  ingot doctor
  ingot build web-server.yaml -o out --format raw,vmdk
  ingot run web-server/1.0.x`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath())}
	})
	root.SetVersionTemplate("ingot {{.Version}}\n")
	root.AddCommand(newBuild(), newPlan(), newImages(), newInspect(), newDiff(), newCheck(), newRun(), newShell(), newConsole(), newCp(), newConvert(), newDistribute(), newCache(), newComponent(),
		newDoctor(), newAWS(), newVersion(), newRelay())
	// cobra reports unknown verbs and wrong arguments as plain errors; they are bad input like the rest.
	wrongArgsAreUsage(root)
	root.Args = func(_ *cobra.Command, given []string) error {
		if len(given) > 0 {
			return usageError{fmt.Errorf("there is no command %q (see ingot --help)", given[0])}
		}
		return nil
	}
	root.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return root
}

func wrongArgsAreUsage(parent *cobra.Command) {
	for _, cmd := range parent.Commands() {
		wrongArgsAreUsage(cmd)
		if args := cmd.Args; args != nil {
			cmd.Args = func(cmd *cobra.Command, given []string) error {
				if err := args(cmd, given); err != nil {
					return usageError{fmt.Errorf("%w; usage: %s", err, cmd.UseLine())}
				}
				return nil
			}
		}
	}
}

// newBuilder is the builder every verb works with.
func newBuilder() (*builder.Builder, error) {
	home, err := builder.DefaultHome()
	if err != nil {
		return nil, err
	}
	return &builder.Builder{Home: home, Agent: embedded.Agent, Relay: relay()}, nil
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version of ingot and of what it was built with",
		Example: "  ingot version",
		Args:    cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintf(cmd.OutOrStdout(), "ingot %s %s/%s %s\n", version, runtime.GOOS, runtime.GOARCH, runtime.Version())
		},
	}
}
