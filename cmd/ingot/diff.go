package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/ingot-image/ingot/builder"
	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/disk/diff"
	"github.com/ingot-image/ingot/disk/inspect"
)

// compared is what ingot diff prints as JSON.
type compared struct {
	A string `json:"a"` // as it was named
	B string `json:"b"`
	*diff.Report
}

// statusDifferent is the exit status of two images that differ, if it is asked for.
const statusDifferent = exitStatus(1)

func newDiff() *cobra.Command {
	var asJSON, files, all, exitCode bool
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Tell what is different between two images",
		Long: `Diff compares the systems installed in two disk images: packages, kernels, units of systemd and whether
they are enabled, the ports of socket units, users and groups, and all files by content, permissions and
owner. + is only in B, - only in A, ~ in both. Contents and passwords are compared and never shown.

A and B are image files, raw, qcow2, VMDK, VHD, VHDX or OVA, compressed or not, or images of the catalog by
NAME/VERSION[/BUILD]. Nothing in them is started or mounted on this machine: XFS and Btrfs are read in a
small VM.

Exit status: 0 done, whether there are differences or not; 1 it failed, 2 a mistake. With --exit-code:
0 no differences, 1 differences, 2 anything else, files that could not be compared among it.`,
		Example: `  ingot diff web-server/1.0.0 web-server/1.1.0
  ingot diff old.vmdk new.qcow2 --files
  ingot diff web-server/1.0.x new.raw --json`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			report, err := diffImages(cmd.Context(), args[0], args[1], all)
			if err != nil {
				if exitCode && cmd.Context().Err() == nil {
					return usageError{err} // which is 2
				}
				return err
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), compared{args[0], args[1], report})
			} else {
				err = report.Text(cmd.OutOrStdout(), diff.TextOptions{Files: files})
			}
			switch {
			case err != nil || !exitCode:
				return err
			case report.Different:
				return statusDifferent
			case len(report.Problems) > 0:
				return exitStatus(exitBadInput)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, with every file")
	cmd.Flags().BoolVar(&files, "files", false, "list every file, also those of packages and within new folders")
	cmd.Flags().BoolVar(&all, "all", false, "compare volatile files, too: logs, caches, identities, backups")
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 1 if there are differences")
	return cmd
}

// diffImages opens both images and compares what is installed in them.
func diffImages(ctx context.Context, a, b string, all bool) (*diff.Report, error) {
	images, err := newBuilder()
	if err != nil {
		return nil, err
	}
	p := newProgress(os.Stderr, false)
	defer p.close()
	images.Events = func(e builder.Event) {
		p.vm(builder.VMProgress{Doing: e.Detail, Done: e.Done, Total: e.Total})
	}
	roots := [2]*inspect.Root{}
	for i, name := range []string{a, b} {
		root, done, err := openRoot(ctx, images, name)
		if err != nil {
			return nil, err
		}
		defer done()
		roots[i] = root
	}
	o := diff.Options{All: all}
	if p.terminal {
		o.Progress = func(n int) { p.vm(builder.VMProgress{Doing: fmt.Sprintf("comparing, %d files so far", n)}) }
	}
	report, err := diff.Diff(ctx, roots[0], roots[1], o)
	if err != nil {
		return nil, err
	}
	for i, side := range []string{"a", "b"} {
		for _, problem := range roots[i].Problems {
			report.Problems = append(report.Problems, diff.Problem{Side: side, Path: problem.Where, What: problem.What})
		}
	}
	return report, nil
}

// openRoot opens the system in an image that a person names. Close it by done.
func openRoot(ctx context.Context, b *builder.Builder, name string) (_ *inspect.Root, done func(), err error) {
	path, _, err := b.ImageFile(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	image, err := disk.Open(ctx, path, disk.OpenOptions{})
	if err != nil {
		return nil, nil, badImage(path, err)
	}
	root, err := inspect.OpenRoot(ctx, image, inspect.Options{Mount: b.Mount})
	if err != nil {
		image.Close()
		return nil, nil, badImage(path, err)
	}
	return root, func() { root.Close(); image.Close() }, nil
}
