package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/ingot-image/ingot/builder"
	"github.com/ingot-image/ingot/builder/recipe"
	"github.com/ingot-image/ingot/export/distribution"
	"github.com/ingot-image/ingot/export/preflight"
)

func newDistribute() *cobra.Command {
	var file, path, bucket string
	var asJSON bool
	var o builder.DistributeOptions
	cmd := &cobra.Command{
		Use:   "distribute IMAGE --distribution FILE",
		Short: "Bring an image to AWS regions and accounts, and to places on premises",
		Long: `Distribute makes an image an AMI in every region and account of a distribution configuration, and
brings its files to the folders, buckets, web servers and storage pools in it. IMAGE is NAME/VERSION of an
image that was built, or any disk image's file; FILE is a distribution configuration or a recipe with one.

The image is checked offline before anything is uploaded (ingot check), and the account as well (ingot
doctor --aws). What was done before is not done again: the same command goes on after a failure, an
interruption, or a day. Each region's failure is its own.
Exit status: 0 done, 1 something failed, 2 a mistake in FILE or the flags (nothing was changed).`,
		Example: `  ingot distribute web-server/1.0.x --distribution distribution.yaml
  ingot distribute disk.vmdk --distribution distribution.yaml --name web --allow-untested
  ingot distribute web-server/1.0.0 --distribution web-server.yaml --path ebs-direct`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if file == "" {
				return usageError{errors.New("--distribution is missing: it names a distribution configuration, or a recipe with one")}
			}
			if err := oneOf("path", path, distribution.Paths()...); err != nil {
				return err
			}
			if err := oneOfChecks("ignore", o.Ignore); err != nil {
				return err
			}
			c, err := recipe.ReadDistribution(ctx, file)
			if err != nil {
				return err
			}
			if path != "" {
				c.Import.Path = path
			}
			if bucket != "" {
				c.Import.Bucket = bucket
			}
			o.Image, o.Configuration = args[0], c
			b, err := newBuilder()
			if err != nil {
				return err
			}
			p := newProgress(os.Stderr, false)
			b.Events = p.event
			if asJSON {
				events := json.NewEncoder(os.Stderr)
				b.Events = func(e builder.Event) { events.Encode(e) }
			}
			done, err := b.Distribute(ctx, o)
			p.close()
			if done != nil && asJSON {
				if err := printJSON(cmd.OutOrStdout(), done); err != nil {
					return err
				}
			} else if done != nil {
				if err := printDistributed(cmd.OutOrStdout(), done); err != nil {
					return err
				}
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&file, "distribution", "", "the distribution configuration, or a recipe with one")
	flags.StringVar(&path, "path", "", "import-snapshot, ebs-direct or import-image, instead of the configuration's")
	flags.StringVar(&bucket, "bucket", "", "bucket that the import goes through, instead of the configuration's")
	flags.StringVar(&o.Policy, "distribution-policy", "", "policy file that must be met besides the configuration's")
	flags.StringVar(&o.Name, "name", "", "name of a file's image (default: the file's)")
	flags.StringVar(&o.Version, "image-version", "", "version of a file's image (default 1.0.0/1)")
	flags.BoolVar(&o.AllowUntested, "allow-untested", false, "distribute an image that was not tested; its AMIs are tagged ingot:untested")
	flags.StringSliceVar(&o.Ignore, "ignore", nil, "checks whose findings do not stop the distribution, such as D03")
	flags.BoolVar(&asJSON, "json", false, "print the result as JSON, and events as JSON to stderr")
	cmd.RegisterFlagCompletionFunc("path", complete(distribution.Paths()...))
	return cmd
}

// oneOfChecks refuses what is no check's id: a misspelt one would be found out late.
func oneOfChecks(flag string, ids []string) error {
	known := []string{"G01", "G02", "G03", "G04", "G05"} // of the account, by package vmimport
	for _, c := range preflight.Checks() {
		known = append(known, c.ID)
	}
	for _, id := range ids {
		if !slices.Contains(known, id) {
			return usageError{fmt.Errorf("--%s %q: there is no such check; their ids are in docs/check.md, such as D03", flag, id)}
		}
	}
	return nil
}

// printDistributed tells where the image is now.
func printDistributed(w io.Writer, d *builder.Distributed) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, a := range d.AMIs {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", a.Region, a.AccountID, a.Image, printable(a.Name), a.State)
	}
	for _, p := range d.Places {
		note := "delivered"
		if p.Skipped {
			note = "there already"
		}
		for _, f := range p.Files {
			fmt.Fprintf(t, "%s\t%s\n", printable(f), note)
		}
	}
	return t.Flush()
}
