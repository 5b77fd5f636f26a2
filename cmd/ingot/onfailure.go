package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ingot-image/ingot/builder"
	"github.com/ingot-image/ingot/builder/agent"
)

// What becomes of a guest in which a build fails: the values of --on-failure.
const (
	failureStop  = "stop"
	failureKeep  = "keep"
	failureShell = "shell"
	failureAsk   = "ask"
)

// onFailure is the flag --on-failure, and does what it says.
type onFailure struct {
	mode     string // empty: as the recipe says, else by whether there is anybody to ask
	terminal bool   // somebody is there
	out      io.Writer
	keys     *keyboard
	shell    func(context.Context, sheller, *keyboard) error // a shell on this terminal
	shown    bool                                            // the failure, in full
}

// failedGuest is what is done with a *builder.FailedGuest.
type failedGuest interface {
	sheller
	Answers(context.Context) bool
	Keep(context.Context) (id string, err error)
}

func (o *onFailure) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.mode, "on-failure", "", "what becomes of a guest in which a step fails: stop, keep, shell or ask (default: keep if the recipe's terminateInstanceOnFailure is false, else ask on a terminal, else stop)")
	cmd.RegisterFlagCompletionFunc("on-failure", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{
			cobra.CompletionWithDesc(failureStop, "end it"), cobra.CompletionWithDesc(failureKeep, "save it for ingot shell"),
			cobra.CompletionWithDesc(failureShell, "open a shell in it, then end it"), cobra.CompletionWithDesc(failureAsk, "ask"),
		}, cobra.ShellCompDirectiveNoFileComp
	})
}

// open checks the flag and finds out who is there. events tells that the standard output is a program's to read.
func (o *onFailure) open(events bool) error {
	if err := oneOf("on-failure", o.mode, failureStop, failureKeep, failureShell, failureAsk); err != nil {
		return err
	}
	o.terminal = !events && term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd()))
	if talks := o.mode == failureShell || o.mode == failureAsk; talks && events {
		return usageError{fmt.Errorf("--on-failure=%s talks with a person, --json with a program; use --on-failure=keep", o.mode)}
	} else if talks && !o.terminal {
		return usageError{fmt.Errorf("--on-failure=%s needs a terminal; use --on-failure=keep", o.mode)}
	}
	o.keys = newKeyboard(os.Stdin)
	o.out, o.shell = os.Stdout, terminalShell
	if term.IsTerminal(int(os.Stderr.Fd())) {
		o.out = os.Stderr
	}
	return nil
}

// handle is builder.Options.OnFailure.
func (o *onFailure) handle(ctx context.Context, f *builder.FailedGuest) {
	mode := o.resolve(f.Terminate)
	if mode == failureShell || mode == failureAsk {
		o.show(f.Failure)
	}
	o.do(ctx, mode, f)
}

// resolve decides what the flag does not say. terminate is the recipe's terminateInstanceOnFailure.
func (o *onFailure) resolve(terminate bool) string {
	switch {
	case o.mode != "":
		return o.mode
	case !terminate:
		return failureKeep
	case o.terminal:
		return failureAsk
	}
	return failureStop
}

func (o *onFailure) do(ctx context.Context, mode string, guest failedGuest) {
	switch mode {
	case failureKeep:
		guest.Keep(ctx) // the failure tells how that went
	case failureShell:
		if !guest.Answers(ctx) {
			fmt.Fprintln(o.out, "no shell: the guest does not answer; --on-failure=keep keeps its disk")
			return
		}
		o.look(ctx, guest)
		fmt.Fprintln(o.out, "the guest is ended; --on-failure=keep would keep it")
	case failureAsk:
		o.ask(ctx, guest)
	}
}

// show tells of a failure in full, as report does at the end otherwise.
func (o *onFailure) show(failure *builder.Failure) {
	fmt.Fprintln(o.out)
	printFailure(o.out, failure)
	fmt.Fprintln(o.out)
	o.shown = true
}

// ask asks until the guest is kept or is to be ended. An interruption and the end of the input mean the latter.
func (o *onFailure) ask(ctx context.Context, guest failedGuest) {
	for ctx.Err() == nil {
		answers := guest.Answers(ctx)
		question := "The guest is as the step left it: [s]hell, [k]eep, s[t]op? "
		if !answers {
			question = "The guest does not answer, but it has a disk: [k]eep, s[t]op? "
		}
		fmt.Fprint(o.out, question)
		line, err := o.keys.line(ctx)
		if err != nil {
			fmt.Fprintln(o.out)
			return
		}
		switch word := strings.ToLower(strings.TrimSpace(line)); {
		case answers && (word == "s" || word == failureShell):
			o.look(ctx, guest)
		case word == "k" || word == failureKeep:
			guest.Keep(ctx)
			return
		case word == "t" || word == failureStop:
			return
		case word != "":
			fmt.Fprintln(o.out, "s opens a shell in the guest, k saves it for ingot shell, t ends it")
		}
	}
}

// look opens a shell.
func (o *onFailure) look(ctx context.Context, guest sheller) {
	fmt.Fprintln(o.out, "a shell of root in the guest; exit leaves it")
	switch err := o.shell(ctx, guest, o.keys); {
	case ctx.Err() != nil:
	case wentDown(err):
		fmt.Fprintln(o.out, "the guest went down")
	case err != nil:
		fmt.Fprintln(o.out, printable("ingot: "+err.Error()))
	}
}

// terminalShell is an interactive shell on this process's terminal.
func terminalShell(ctx context.Context, guest sheller, keys *keyboard) error {
	keysCtx, over := context.WithCancel(ctx)
	defer over()
	_, err := attachTerminal(ctx, guest, agent.Shell{}, agent.Streams{Stdin: keys.reader(keysCtx), Stdout: os.Stdout, Stderr: os.Stderr})
	return err
}

// ended gives a build's error as it is to be told: what was shown in full is not shown again.
func (o *onFailure) ended(err error) error {
	var failure *builder.Failure
	if !o.shown || !errors.As(err, &failure) {
		return err
	}
	brief := *failure
	brief.ComponentFailure, brief.Console = nil, nil
	printFailure(os.Stderr, &brief)
	return silentError{err}
}
