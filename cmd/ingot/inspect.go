package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/ingot-image/ingot/builder"
	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/disk/image"
	"github.com/ingot-image/ingot/disk/inspect"
)

// inspected is what ingot inspect prints as JSON.
type inspected struct {
	Image imageFile `json:"image"`
	*inspect.Report
}

// imageFile is a disk image as a file.
type imageFile struct {
	Path        string        `json:"path"`
	Format      disk.Format   `json:"format"`
	Variant     string        `json:"variant,omitempty"`
	Within      []disk.Format `json:"within,omitempty"`
	VirtualSize int64         `json:"virtualSize"`
	FileSize    int64         `json:"fileSize"`
	Allocated   int64         `json:"allocated"`
	ClusterSize int64         `json:"clusterSize,omitempty"`
	Compressed  bool          `json:"compressed,omitempty"`
}

func newInspect() *cobra.Command {
	var asJSON, packages, noVM bool
	cmd := &cobra.Command{
		Use:   "inspect IMAGE",
		Short: "Tell what is inside a disk image",
		Long: `Inspect reads a disk image, raw, qcow2, VMDK, VHD, VHDX or OVA, compressed or not, or an image of the
catalog by NAME/VERSION, and tells its partitions, file systems and how full they are, what can boot it,
the operating system, its kernels and packages. Nothing of it is started, nothing is mounted on this
machine, and nothing in the image is trusted. XFS and Btrfs are read in a VM.`,
		Example: `  ingot inspect disk.qcow2
  ingot inspect web-server/1.0.x --packages
  ingot inspect disk.vmdk --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			b, err := newBuilder()
			if err != nil {
				return err
			}
			path, _, err := b.ImageFile(ctx, args[0])
			if err != nil {
				return err
			}
			o := inspect.Options{Mount: announced(b)}
			if noVM {
				o.Mount = nil
			}
			report, err := inspectImage(ctx, path, o)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), report)
			}
			return printInspected(cmd.OutOrStdout(), report, packages)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&packages, "packages", false, "list the packages, too")
	cmd.Flags().BoolVar(&noVM, "no-vm", false, "start no VM to read XFS and Btrfs: tell what their superblocks do")
	return cmd
}

// mounter gives the files of a file system that Ingot does not read itself.
type mounter = func(ctx context.Context, src image.Source, fsType string, paths []string) (fs.FS, io.Closer, error)

// announced is the builder's way to read file systems in a VM, which takes seconds: people are told.
func announced(b *builder.Builder) mounter {
	return func(ctx context.Context, src image.Source, fsType string, paths []string) (fs.FS, io.Closer, error) {
		fmt.Fprintf(os.Stderr, "reading a file system of the type %s in a VM\n", fsType)
		return b.Mount(ctx, src, fsType, paths)
	}
}

// inspectImage opens an image and looks inside. What is wrong with the image is bad input.
func inspectImage(ctx context.Context, path string, o inspect.Options) (*inspected, error) {
	d, err := disk.Open(ctx, path, disk.OpenOptions{})
	if err != nil {
		return nil, badImage(path, err)
	}
	defer d.Close()
	report, err := inspect.Inspect(ctx, d, o)
	if err != nil {
		return nil, badImage(path, err)
	}
	return &inspected{imageFile{Path: path, Format: d.Info.Format, Variant: d.Info.Variant, Within: d.Within, VirtualSize: d.Size(), FileSize: d.FileSize,
		Allocated: d.Allocated, ClusterSize: d.Info.ClusterSize, Compressed: d.Info.Compressed}, report}, nil
}

// badImage makes an error of the user's input of what is wrong with an image, but not of what is wrong with this machine.
func badImage(path string, err error) error {
	var unsafe *disk.UnsafeError
	var damaged *disk.FormatError
	var missing *disk.MissingToolError
	var full *disk.NoSpaceError
	var mount *inspect.MountError
	switch {
	case errors.As(err, &mount): // the VM for it does not run here, or the file system is damaged: nobody can tell
		return fmt.Errorf("%s: %w", path, err)
	case errors.Is(err, context.Canceled), errors.As(err, &missing), errors.As(err, &full), errors.Is(err, os.ErrPermission):
		return err
	case errors.Is(err, inspect.ErrNoDisk):
		err = fmt.Errorf("%s: %w", path, inspect.ErrNoDisk)
	case !errors.As(err, &unsafe) && !errors.As(err, &damaged) && !errors.Is(err, os.ErrNotExist):
		err = fmt.Errorf("%s: %w", path, err)
	}
	return usageError{err}
}
