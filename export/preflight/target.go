package preflight

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/disk/inspect"
)

// Options are what Open needs besides.
type Options struct {
	// Inspect are the options of looking into the disk, Mount among them.
	Inspect inspect.Options
	TempDir string // for compressed images, see disk.OpenOptions
}

// Target is an image that is looked at: the file, the disk in it, and the system on that. What could not be read is nil.
type Target struct {
	Name    string // base name of the file
	File    string // path
	Request Request

	// Info is what the file's headers say, as far as they could be read: InfoErr says what is wrong with them. The file's bytes are in content.
	Info    disk.Info
	InfoErr error
	content *os.File
	// Disk is the content, nil if the file is damaged or of no known format: DiskErr says why.
	Disk    *disk.Disk
	DiskErr error
	// Report is what is on the disk, nil if it could not be read. Report.System is nil where no system was found.
	Report    *inspect.Report
	ReportErr error
	// Root gives the installed system's files, nil without a system.
	Root    *inspect.Root
	RootErr error
}

// Open looks at an image file. A file that is damaged or holds no system opens too: the checks say what is wrong with it. The error is one of
// the file itself, such as that it does not exist, or ctx's cause.
func Open(ctx context.Context, file string, r Request, o Options) (*Target, error) {
	t := &Target{Name: filepath.Base(file), File: file, Request: r}
	if r.Path == "" {
		t.Request.Path = ImportSnapshot
	}
	if t.Info, t.InfoErr = disk.Probe(file); t.InfoErr != nil && !ofTheImage(t.InfoErr) {
		return nil, fmt.Errorf("preflight: %w", t.InfoErr)
	}
	var err error
	if t.content, err = os.Open(file); err != nil {
		return nil, fmt.Errorf("preflight: %w", err)
	}
	t.Disk, t.DiskErr = disk.Open(ctx, file, disk.OpenOptions{Format: t.trueFormat(), TempDir: o.TempDir})
	if t.DiskErr != nil {
		t.Disk = nil
		if ctx.Err() != nil || !ofTheImage(t.DiskErr) {
			return nil, errors.Join(fmt.Errorf("preflight: %w", t.DiskErr), t.Close())
		}
		return t, nil
	}
	o.Inspect.Also = append(slices.Clone(o.Inspect.Also), alsoRead...)
	t.Report, t.Root, err = inspect.InspectRoot(ctx, t.Disk, o.Inspect)
	if t.Report == nil {
		t.ReportErr = err
	} else {
		t.RootErr = err
	}
	if ctx.Err() != nil {
		return nil, errors.Join(context.Cause(ctx), t.Close())
	}
	return t, nil
}

// alsoRead is what checks read of a system beyond what is in the report: file systems that need a VM are mounted without the rest.
var alsoRead = []string{"usr/bin/btrfs", "usr/sbin/btrfs", "usr/sbin/resize2fs", "usr/sbin/xfs_growfs", "sbin/btrfs", "sbin/resize2fs", "sbin/xfs_growfs",
	"usr/bin/vmtoolsd", "usr/bin/prltoolsd", "usr/sbin/VBoxService", "var/lib/cloud", "var/lib/dbus/machine-id"}

// ofTheImage tells whether an error is of what is in a file, and not of reading it.
func ofTheImage(err error) bool {
	var damaged *disk.FormatError
	var unsafe *disk.UnsafeError
	return errors.As(err, &damaged) || errors.As(err, &unsafe)
}

// trueFormat is what the content says where a wrong name must not keep the disk from being read: that the name is wrong is A01's to tell.
func (t *Target) trueFormat() disk.Format {
	switch t.Info.Format {
	case disk.Raw, disk.Qcow2, disk.VMDK, disk.VHD, disk.VHDX, disk.OVA:
		return t.Info.Format
	}
	return ""
}

// Close closes what Open opened.
func (t *Target) Close() error {
	var errs []error
	if t.Root != nil {
		errs = append(errs, t.Root.Close())
	}
	if t.Disk != nil {
		errs = append(errs, t.Disk.Close())
	}
	if t.content != nil {
		errs = append(errs, t.content.Close())
	}
	return errors.Join(errs...)
}

// lacks says why what a check needs is not there, "" if it is.
func (t *Target) lacks(n Need) string {
	switch {
	case n >= NeedContent && t.Disk == nil:
		return fmt.Sprintf("the image cannot be read: %v", t.DiskErr)
	case n >= NeedDisk && t.Report == nil:
		return fmt.Sprintf("the disk cannot be read: %v", t.ReportErr)
	case n >= NeedSystem && (t.Report.System == nil || t.Root == nil):
		if t.RootErr != nil {
			return fmt.Sprintf("the installed system cannot be read: %v", t.RootErr)
		}
		return "no installed system was found"
	}
	return ""
}
