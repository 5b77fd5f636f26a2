package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ingot-image/ingot/builder"
	"github.com/ingot-image/ingot/builder/config"
	"github.com/ingot-image/ingot/builder/copyout"
)

func newCp() *cobra.Command {
	var asJSON bool
	var limit string
	cmd := &cobra.Command{
		Use:   "cp [BUILD|NAME|VM-ID]:/PATH DESTINATION",
		Short: "Copy a file or a folder out of a VM that was kept",
		Long: `Cp copies a file, or a folder with all that is in it, out of the guest of a failed build or another VM
that was kept. The VM stays as it was. The guest needs neither a network nor a program for it.

A DESTINATION that is a folder takes the copy by its own name, anything else is the name of the copy, as with
cp(1). Nothing but files, folders and links is made, with permissions but without setuid bits or owners. Devices,
and links that lead out of what is copied, are left out and named. A copy that fails changes nothing; files that
are there are replaced whole.

BUILD is NAME/VERSION/BUILD; NAME or NAME/VERSION is the one of these saved last, and without a name it is
the VM saved last of all. Exit status: 0 done, also if something was left out; 1 it failed, 2 a mistake.`,
		Example: `  ingot cp web-server/1.0.0/3:/var/log/nginx .
  ingot cp web-server:/etc/nginx/nginx.conf nginx.conf
  ingot cp :/root/core . --max-size 40GiB`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, file, found := strings.Cut(args[0], ":")
			if !found || !path.IsAbs(file) {
				return usageError{fmt.Errorf("%q: what to copy is BUILD:/PATH, an absolute path in a guest; ingot cp copies out of guests only", args[0])}
			}
			most, err := config.ParseSize(limit)
			if err == nil && most == 0 {
				err = errors.New("must not be 0")
			}
			if err != nil {
				return usageError{fmt.Errorf("--max-size: %w", err)}
			}
			to, err := copyout.To(args[1], file)
			if err != nil {
				return usageError{err}
			}
			b, err := newBuilder()
			if err != nil {
				return err
			}
			summary, err := copyOut(cmd.Context(), b, builder.VMFile{VM: name, Path: file, To: to, MaxBytes: most}, asJSON)
			if err != nil {
				return kept(err)
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), summary)
			}
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			names, directive := completeKept(cmd, args, typed)
			for i := range names {
				names[i] += ":/"
			}
			return names, directive | cobra.ShellCompDirectiveNoSpace
		},
	}
	cmd.Flags().StringVar(&limit, "max-size", "16GiB", "the most to copy: bytes, or a number of KiB, MiB, GiB or TiB")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what was copied and left out as JSON")
	return cmd
}

// copyOut copies, and tells people of it unless a program reads.
func copyOut(ctx context.Context, b *builder.Builder, file builder.VMFile, quiet bool) (*copyout.Summary, error) {
	p := newProgress(os.Stderr, false)
	if p.terminal {
		file.Progress = p.vm
	}
	summary, err := b.CopyFromVM(ctx, file)
	p.close()
	var limit *copyout.LimitError
	if errors.As(err, &limit) {
		return nil, fmt.Errorf("%w; --max-size sets it", err)
	}
	if err != nil || quiet {
		return summary, err
	}
	tellCopied(os.Stderr, summary)
	return summary, nil
}

// maxNamed is how many things that were left out people want to read of.
const maxNamed = 20

// tellCopied says what was copied, and what was not. Names are the guest's words.
func tellCopied(w io.Writer, s *copyout.Summary) {
	named := min(len(s.Skipped), maxNamed)
	for _, skipped := range s.Skipped[:named] {
		fmt.Fprintln(w, printable(fmt.Sprintf("left out: %s: %s", skipped.Path, skipped.Reason)))
	}
	if more := len(s.Skipped) - named + s.MoreSkipped; more > 0 {
		fmt.Fprintf(w, "left out: %d more; --json names them\n", more)
	}
	parts := []string{counted(s.Files, "file")}
	if s.Folders > 0 {
		parts = append(parts, counted(s.Folders, "folder"))
	}
	if s.Links > 0 {
		parts = append(parts, counted(s.Links, "link"))
	}
	fmt.Fprintf(w, "copied to %s: %s, %s\n", printable(s.Path), strings.Join(parts, ", "), size(s.Bytes))
}
