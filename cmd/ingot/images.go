package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ingot-image/ingot/builder/catalog"
)

func newImages() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "images [NAME[/VERSION]]",
		Short: "List the images that were built, or show one",
		Long: `Images lists every build, newest first; with a name those of that image. With a version, as
1.0.3/2, 1.0.3 or 1.0.x, it shows the newest build that matches, with its inputs, files and tests.`,
		Example: `  ingot images
  ingot images web-server
  ingot images web-server/1.0.x --json`,
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
			images, err := b.OpenCatalog(cmd.Context())
			if err != nil {
				return err
			}
			if images != nil {
				defer images.Close()
			}
			out := cmd.OutOrStdout()
			if strings.Contains(name, "/") {
				if images == nil {
					return usageError{fmt.Errorf("there is no image %s: nothing has been built yet", name)}
				}
				image, err := images.Get(cmd.Context(), name)
				if err != nil {
					return notFoundAsUsage(err)
				}
				if asJSON {
					return printJSON(out, image)
				}
				return printImage(out, image)
			}
			list := []catalog.Image{}
			if images != nil {
				if list, err = images.List(cmd.Context(), name); err != nil {
					return err
				}
			}
			if asJSON {
				return printJSON(out, list)
			}
			return printImages(out, list)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func notFoundAsUsage(err error) error {
	if errors.Is(err, catalog.ErrNotFound) {
		return usageError{err}
	}
	return err
}

func printImages(w io.Writer, images []catalog.Image) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tVERSION\tSTATUS\tCREATED\tFORMATS")
	for _, i := range images {
		formats := make([]string, len(i.Outputs))
		for n, o := range i.Outputs {
			formats[n] = o.Format
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", i.Name, i.Version, i.Status, date(i.DateCreated), strings.Join(formats, ","))
	}
	return t.Flush()
}

func date(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }

func printImage(w io.Writer, i *catalog.Image) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "image\t%s/%s\n", i.Name, i.Version)
	fmt.Fprintf(t, "status\t%s\n", i.Status)
	if i.Reason != "" {
		fmt.Fprintf(t, "reason\t%s\n", printable(i.Reason))
	}
	fmt.Fprintf(t, "created\t%s\n", date(i.DateCreated))
	if i.Accelerator != "" {
		fmt.Fprintf(t, "built with\tQEMU %s, %s\n", i.QEMUVersion, i.Accelerator)
	}
	for _, in := range i.Inputs {
		fmt.Fprintf(t, "input\t%s\t%s\n", in.Name, in.Digest)
	}
	for _, o := range i.Outputs {
		note := size(o.SizeBytes)
		if _, err := os.Stat(o.Path); err != nil {
			note = "gone"
		}
		fmt.Fprintf(t, "file\t%s\t%s, %s\n", o.Path, o.Format, note)
	}
	for _, a := range i.AMIs {
		fmt.Fprintf(t, "AMI\t%s\t%s in %s, %s\n", a.Image, printable(a.Name), a.Region, a.AccountID)
	}
	for _, test := range i.Tests {
		fmt.Fprintf(t, "test\t%s\t%s, %s\n", test.Name, test.Status, elapsed(ms(test.DurationMS)))
	}
	for _, s := range i.Stages {
		note := ""
		if s.Cached {
			note = ", cached"
		}
		fmt.Fprintf(t, "stage\t%s\t%s%s\n", s.Name, elapsed(ms(s.DurationMS)), note)
	}
	return t.Flush()
}
