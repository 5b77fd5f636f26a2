package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/disk/image"
)

// conversionMemory is what the collector of garbage aims at, in bytes, if nobody has told it otherwise.
const conversionMemory = 150 << 20

// converted is a file that was written.
type converted struct {
	Path             string `json:"path"`
	Format           string `json:"format"`
	SizeBytes        int64  `json:"sizeBytes"`
	VirtualSizeBytes int64  `json:"virtualSizeBytes"` // of the disk in it
}

func (c *conversion) run(cmd *cobra.Command) error {
	// What a conversion holds is a small part of this; the limit keeps garbage from doubling it.
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(conversionMemory)
	}
	p := newProgress(os.Stderr, false)
	start := time.Now()
	size, err := c.write(cmd.Context(), p)
	p.close()
	if err != nil {
		return err
	}
	var written []converted
	for _, o := range c.outputs {
		info, err := os.Stat(o.Path)
		if err != nil {
			return err
		}
		virtual, err := o.Options.VirtualSize(o.Format, size)
		if err != nil {
			return err
		}
		written = append(written, converted{o.Path, string(o.Format), info.Size(), virtual})
	}
	if c.asJSON {
		return printJSON(cmd.OutOrStdout(), struct {
			Outputs []converted `json:"outputs"`
		}{written})
	}
	return printConverted(cmd.OutOrStdout(), written, size, time.Since(start))
}

func (c *conversion) write(ctx context.Context, p *progress) (size int64, err error) {
	c.source.TempDir = filepath.Dir(c.outputs[0].Path)
	c.source.Progress = func(done int64) { p.bytes("expand", done, 0) }
	d, err := disk.Open(ctx, c.path, c.source)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	defer func() {
		for _, end := range c.close {
			end()
		}
	}()
	src, err := c.contents(ctx, d, p)
	if err != nil {
		return 0, err
	}
	for _, o := range c.outputs {
		if _, err := o.Options.VirtualSize(o.Format, src.Size()); err != nil {
			return 0, usageError{fmt.Errorf("%s: %w", o.Path, err)}
		}
	}
	err = disk.Write(ctx, src, disk.WriteOptions{Progress: func(done, total int64) { p.bytes("convert", done, total) }}, c.outputs...)
	if errors.Is(err, disk.ErrSameOutput) {
		err = usageError{err}
	}
	return src.Size(), err
}

// contents is what is to be written of the source: all of it, or what its file systems use, or that on a smaller disk.
func (c *conversion) contents(ctx context.Context, d *disk.Disk, p *progress) (image.Source, error) {
	if c.exact {
		return d, nil
	}
	used, report, err := disk.Unused(ctx, d)
	if err != nil {
		return nil, err
	}
	for _, f := range report.FileSystems {
		if f.Kept != "" && f.Type != "" {
			p.note("partition %d (%s): what is unused is kept: %s", f.Partition, f.Type, f.Kept)
		}
	}
	if c.shrink {
		return c.shrunk(ctx, used, p)
	}
	return used, nil
}

// shrunk makes the disk smaller in a raw file that has no name.
func (c *conversion) shrunk(ctx context.Context, src image.Source, p *progress) (image.Source, error) {
	p.bytes("shrink", 0, 0)
	raw, _, err := disk.Shrunk(ctx, src, c.path, filepath.Dir(c.outputs[0].Path), disk.ShrinkOptions{Margin: c.margin})
	if err != nil || raw == nil {
		return src, err
	}
	c.close = append(c.close, raw.Close)
	return image.NewFile(raw.File)
}

// printConverted tells people what was written, and how fast.
func printConverted(w io.Writer, files []converted, disk int64, took time.Duration) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range files {
		fmt.Fprintf(t, "%s\t%s\t%s\n", printable(f.Path), f.Format, size(f.SizeBytes))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "a disk of %s, written in %s\n", size(disk), elapsed(took))
	return err
}
