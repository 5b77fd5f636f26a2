package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ingot-image/ingot/builder"
	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/disk/inspect"
	"github.com/ingot-image/ingot/export/distribution"
	"github.com/ingot-image/ingot/export/preflight"
)

// statusFatal is the exit status of an image that must not be imported as it is.
const statusFatal = exitStatus(1)

// checked is what ingot check prints as JSON.
type checked struct {
	*preflight.Report
	Fixed     *preflight.Fixed   `json:"fixed,omitempty"`
	Rehearsal *builder.Rehearsal `json:"rehearsal,omitempty"`
}

// fatal tells whether the image, or the copy of it that was mended, must not be imported.
func (c *checked) fatal() bool {
	if c.Fixed != nil {
		return c.Fixed.Report.Fatal()
	}
	return c.Report.Fatal()
}

// checkOptions are what ingot check is told besides the image.
type checkOptions struct {
	path, architecture, bootMode, format string
	shared, noVM, json, all              bool
	rehearsalFlags
	fixes fixFlags
}

func newCheck() *cobra.Command {
	var f checkOptions
	cmd := &cobra.Command{
		Use:   "check IMAGE",
		Short: "Tell what would keep a disk image from becoming an AMI, before it is uploaded",
		Long: `Check reads a disk image, raw, qcow2, VMDK, VHD, VHDX or OVA, or an image of the catalog by NAME/VERSION, and
tells what would make its import to AWS fail, or its AMI come up deaf: each finding with what was seen
and where, the message of AWS that it prevents, and what to do. Nothing in the image is changed, and nothing
of it is started but with --boot. XFS and Btrfs are read in a VM. docs/check.md lists the checks.

With --fix a copy is written in which is mended what is safe to mend without booting it, and checked again; of
the rest it is told what to do, or which component mends it in a build.

With --boot the image is also booted as EC2 would boot the AMI, in a throwaway VM with a metadata service:
cloud-init's Ec2 source, the key, user data, the root file system and the console. See docs/rehearsal.md.

How bad a finding is depends on the path: import-image has AWS look into the image and change it,
import-snapshot and ebs-direct take it as it is, and one that cannot boot becomes an AMI that cannot.

Exit status: 0 nothing fatal was found; 1 something fatal was, or the rehearsal failed; 2 a mistake, or a disk that cannot be read.`,
		Example: `  ingot check web.vmdk
  ingot check web-server/1.0.x --path ebs-direct --boot-mode uefi-preferred
  ingot check web.qcow2 --fix -o web.vmdk
  ingot check web.qcow2 --boot
  ingot check windows.ova --path import-image --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			target, o, err := f.open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer target.Close()
			var c checked
			if c.Report, err = preflight.Run(cmd.Context(), target); err != nil {
				return err
			}
			if c.Fixed, err = f.fixes.copy(cmd.Context(), target, c.Report, o); err != nil {
				return err
			}
			if f.boots(target) {
				if c.Rehearsal, err = f.rehearse(cmd.Context(), target.File, f.bootMode); err != nil {
					return err
				}
			}
			if f.json {
				err = printJSON(cmd.OutOrStdout(), c)
			} else {
				err = errors.Join(printChecked(cmd.OutOrStdout(), c.Report, f.all), printFixed(cmd.OutOrStdout(), c.Fixed), printRehearsal(cmd.OutOrStdout(), c.Rehearsal))
			}
			switch {
			case err != nil:
				return err
			case c.fatal() || !c.Rehearsal.Passed():
				return statusFatal
			case target.DiskErr != nil: // nothing fatal, because next to nothing was looked at
				return fmt.Errorf("what is on the disk was not checked: %w", target.DiskErr)
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.path, "path", distribution.ImportSnapshot, "the way to AWS: "+strings.Join(distribution.Paths(), ", "))
	flags.StringVar(&f.architecture, "architecture", "", "of the AMI: x86_64 or arm64 (default: the disk's)")
	flags.StringVar(&f.bootMode, "boot-mode", "", "of the AMI: legacy-bios, uefi or uefi-preferred (default: whatever the disk can)")
	flags.StringVar(&f.format, "format", "", "that the file is going to be declared as (default: what its name says)")
	flags.BoolVar(&f.shared, "shared", false, "others will launch the AMI: secrets in it are fatal")
	flags.BoolVar(&f.noVM, "no-vm", false, "start no VM to read XFS and Btrfs")
	flags.BoolVar(&f.json, "json", false, "print JSON, with every check")
	flags.BoolVar(&f.all, "all", false, "list the checks that passed or were skipped, too")
	f.fixes.add(flags)
	f.add(flags)
	return cmd
}

// open finds the image and opens it for checks.
func (f *checkOptions) open(ctx context.Context, image string) (*preflight.Target, preflight.Options, error) {
	var o preflight.Options
	r, err := f.request()
	if err != nil {
		return nil, o, usageError{err}
	}
	b, err := newBuilder()
	if err != nil {
		return nil, o, err
	}
	file, built, err := b.ImageFile(ctx, image)
	if err != nil {
		return nil, o, err
	}
	r.Converted = built // an image of the catalog is brought into the path's format when it is distributed
	if !f.noVM {
		o.Inspect = inspect.Options{Mount: announced(b)}
	}
	target, err := preflight.Open(ctx, file, r, o)
	if err != nil {
		return nil, o, badImage(file, err)
	}
	return target, o, nil
}

// request makes a request of the flags. The error tells all that is wrong with them.
func (f *checkOptions) request() (preflight.Request, error) {
	var wrong []error
	one := func(flag, value string, of ...string) {
		if value != "" && !slices.Contains(of, value) {
			wrong = append(wrong, fmt.Errorf("--%s %s: use %s", flag, value, strings.Join(of, ", ")))
		}
	}
	one("path", f.path, distribution.Paths()...)
	one("architecture", f.architecture, "x86_64", "arm64")
	one("boot-mode", f.bootMode, "legacy-bios", "uefi", "uefi-preferred")
	if err := f.fixes.check(); err != nil {
		wrong = append(wrong, err)
	}
	wrong = append(wrong, f.mistakes()...)
	r := preflight.Request{Path: preflight.Path(f.path), Architecture: f.architecture, BootMode: f.bootMode, Shared: f.shared}
	if f.format != "" {
		format, err := disk.ParseFormat(f.format)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("--format: %w", err))
		}
		r.Format = format
	}
	return r, errors.Join(wrong...)
}
