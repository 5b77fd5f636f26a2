package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/ingot-image/ingot/builder"
	names "github.com/ingot-image/ingot/builder/recipe/version"
	"github.com/ingot-image/ingot/disk"
)

// buildFlags are the flags that build and plan share.
type buildFlags struct {
	output, accelerator, test, mirror string
	formats                           []string
	keepFailed, noDistribute          bool
	cache                             cacheFlags
}

func (f *buildFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.output, "output", "o", "", "folder of the finished files (default: the recipe's, else the current folder)")
	flags.StringSliceVar(&f.formats, "format", nil, "formats instead of the recipe's: "+strings.Join(formatNames(), ", "))
	flags.StringVar(&f.accelerator, "accelerator", "", "auto, kvm or tcg, instead of the recipe's")
	flags.StringVar(&f.test, "test", "", "full, quick (one boot, of the kernel directly) or none (default: full, or as the recipe says)")
	flags.StringVar(&f.mirror, "mirror", "", "Debian mirror for bases (default: that of this machine's apt sources)")
	cmd.RegisterFlagCompletionFunc("format", complete(formatNames()...))
	cmd.RegisterFlagCompletionFunc("accelerator", complete("auto", "kvm", "tcg"))
	cmd.RegisterFlagCompletionFunc("test", complete("full", "quick", "none"))
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
	}
}

// complete makes a flag's completion of its values.
func complete(values ...string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return values, cobra.ShellCompDirectiveNoFileComp
	}
}

// builder makes a builder and its options of the flags.
func (f *buildFlags) builder(recipe string) (*builder.Builder, builder.Options, error) {
	o, err := f.options(recipe)
	if err != nil {
		return nil, o, err
	}
	b, err := newBuilder()
	if err != nil {
		return nil, o, err
	}
	b.Mirror = f.mirror
	return b, o, nil
}

// options checks the flags and makes the builder's options of them.
func (f *buildFlags) options(recipe string) (builder.Options, error) {
	o := builder.Options{Recipe: recipe, OutputDir: f.output, Accelerator: f.accelerator, Test: f.test, KeepFailed: f.keepFailed, NoDistribute: f.noDistribute}
	if err := oneOf("accelerator", f.accelerator, "auto", "kvm", "tcg"); err != nil {
		return o, err
	}
	if err := oneOf("test", f.test, "full", builder.TestQuick, "none"); err != nil {
		return o, err
	}
	for _, name := range f.formats {
		format, err := disk.ParseFormat(strings.TrimSpace(name))
		if err != nil {
			return o, usageError{fmt.Errorf("--format: %w", err)}
		}
		o.Formats = append(o.Formats, string(format))
	}
	return o, f.cache.apply(&o)
}

// oneOf checks a flag's value; empty is the default.
func oneOf(flag, value string, allowed ...string) error {
	if value == "" || slices.Contains(allowed, value) {
		return nil
	}
	return usageError{fmt.Errorf("--%s %q: must be one of %s", flag, value, strings.Join(allowed, ", "))}
}

func newBuild() *cobra.Command {
	var f buildFlags
	var services serviceFlags
	var failing onFailure
	var show show
	cmd := &cobra.Command{
		Use:   "build RECIPE",
		Short: "Build and test an image from a recipe",
		Long: `Build runs a recipe through all its stages: it makes or finds the base, boots it, applies
the components, finalises the instance, writes the files, boots those very files in throwaway
VMs to test them, and only then puts them into the output folder with their manifest.

It goes on from a layer of an earlier build where one fits: only what has changed runs again. An
image that is there already is not built again.
An image whose tests fail leaves no file, unless --keep-failed is given.
When a step fails on a terminal, ingot asks whether to open a shell in the guest, to keep the guest
for ingot shell, console and cp, or to end it: see --on-failure.
Exit status: 0 done, 1 the build or a test failed, 2 a mistake in the recipe or the flags
(nothing was changed), 130 interrupted. With --watch it is 130 whenever it ends by Ctrl-C.`,
		Example: `  ingot build web-server.yaml -o out
  ingot build web-server.yaml --watch --test=none
  ingot build web-server.yaml --format raw,vmdk --test=none
  ingot build web-server.yaml --on-failure=keep
  ingot build web-server.yaml --no-cache --test=full
  ingot build web-server.yaml --json | jq -r 'select(.type=="stageEnded") | .stage'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, o, err := f.builder(args[0])
			if err != nil {
				return err
			}
			if show.watch {
				return show.watchBuilds(cmd, b, o, &services, &failing)
			}
			if b.Services, err = services.open(cmd.Context()); err != nil {
				return err
			}
			if err := failing.open(show.asJSON); err != nil {
				return err
			}
			o.OnFailure = failing.handle
			return failing.ended(show.build(cmd.Context(), cmd, b, o))
		},
	}
	f.register(cmd)
	f.cache.register(cmd)
	services.register(cmd)
	failing.register(cmd)
	cmd.Flags().BoolVar(&f.keepFailed, "keep-failed", false, "keep the files of an image whose tests fail")
	cmd.Flags().BoolVar(&f.noDistribute, "no-distribute", false, "leave the image in the output folder, wherever the recipe's distributions want it besides")
	show.register(cmd)
	return cmd
}

// printFinished tells what came out and how to run it.
func printFinished(cmd *cobra.Command, m *builder.Manifest, folder string) error {
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "\n%s %s is ready:\n", m.Name, m.Version)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if here, err := os.Getwd(); err == nil {
		// As people name it: from where they are.
		if near, err := filepath.Rel(here, folder); err == nil && filepath.IsLocal(near) {
			folder = near
		}
	}
	for _, o := range m.Outputs {
		path := filepath.Join(folder, o.Path)
		fmt.Fprintf(table, "  %s\t%s\t%s\n", path, size(onDisk(path, o.SizeBytes)), o.Format)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "run it:  %s run %s/%s\n", os.Args[0], names.ResourceName(m.Name), m.Version)
	return nil
}

func newPlan() *cobra.Command {
	var f buildFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "plan RECIPE",
		Short: "Show what a build would do, with the digest of every input",
		Long: `Plan reads a recipe and everything it names and prints what would run. Nothing is built, fetched
or changed. All mistakes of the recipe and its components are reported at once, with exit status 2.`,
		Example: `  ingot plan web-server.yaml
  ingot plan web-server.yaml --json | jq '.components[] | {name, digest}'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, o, err := f.builder(args[0])
			if err != nil {
				return err
			}
			plan, err := b.Plan(cmd.Context(), o)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), plan.Plan)
			}
			return printPlan(cmd.OutOrStdout(), plan)
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the plan as JSON")
	return cmd
}
