package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/ingot-image/ingot/export/preflight"
)

// fixFlags are those of ingot check that are about a corrected copy.
type fixFlags struct {
	fix    bool
	output string
}

func (f *fixFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&f.fix, "fix", false, "write a copy in which is mended what can safely be mended without booting it")
	flags.StringVarP(&f.output, "output", "o", "", "with --fix: the copy's file, which must not exist (default: IMAGE-fixed in the working directory)")
}

// check finds mistakes among the flags that were given.
func (f *fixFlags) check() error {
	if f.output != "" && !f.fix {
		return errors.New("--output is for --fix only: give that, too")
	}
	return nil
}

// copy writes the corrected copy. nil: there is nothing that could be mended.
func (f *fixFlags) copy(ctx context.Context, t *preflight.Target, report *preflight.Report, o preflight.Options) (*preflight.Fixed, error) {
	if !f.fix || !slices.ContainsFunc(report.Failed(), func(f preflight.Finding) bool { return f.Fixable }) {
		return nil, nil
	}
	out := f.output
	if out == "" {
		name, _, _ := strings.Cut(t.Name, ".")
		out = name + "-fixed" + t.FixedFormat(report).Extension()
	}
	if _, err := os.Lstat(out); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fmt.Errorf("%s exists already: give the copy another name with --output", out)
		}
		return nil, usageError{err}
	}
	fixed, err := preflight.Fix(ctx, t, report, out, preflight.FixOptions{Options: o})
	if err != nil {
		return nil, badImage(t.File, err)
	}
	return fixed, nil
}

// printFixed tells what was mended in the copy, and what is left to do.
func printFixed(w io.Writer, f *preflight.Fixed) error {
	if f == nil {
		return nil
	}
	fmt.Fprintf(w, "\nmended in %s:\n", printable(filepath.ToSlash(f.Path)))
	for _, m := range f.Mended {
		fmt.Fprintf(w, "  %-4s %s: %s\n", m.ID, printable(m.Where), printable(m.Seen))
	}
	if len(f.Mended) == 0 {
		fmt.Fprintln(w, "  nothing")
	}
	if len(f.Left) == 0 {
		_, err := fmt.Fprintln(w, "nothing is left")
		return err
	}
	fmt.Fprintln(w, "left:")
	for _, l := range f.Left {
		fmt.Fprintf(w, "  %-4s %s: %s\n", l.ID, printable(l.Where), printable(l.Seen))
		why := l.Fix
		if l.Reason != "" {
			why = l.Reason
		}
		fmt.Fprintf(w, "       %s\n       in a build: %s\n", printable(why), printable(inBuild(l)))
	}
	return nil
}
