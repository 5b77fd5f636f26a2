package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ingot-image/ingot/builder/config"
	"github.com/ingot-image/ingot/disk"
)

// conversion is what the command line of convert comes to.
type conversion struct {
	image   string // a file, or NAME/VERSION
	path    string // of the file
	source  disk.OpenOptions
	outputs []disk.Output
	exact   bool
	shrink  bool
	margin  int64 // that is to stay free in what is made smaller, in bytes
	asJSON  bool
	close   []func() error
}

func newConvert() *cobra.Command {
	var formats, options []string
	var level, from, margin string
	var force bool
	c := conversion{}
	cmd := &cobra.Command{
		Use:   "convert SOURCE DESTINATION...",
		Short: "Write a disk image in other formats",
		Long: `Convert writes the disk in SOURCE, a file or NAME/VERSION of an image that was built, into one or more files.
It reads raw, qcow2, VMDK, VHD, VHDX and OVA files, as they are or compressed by gzip, zstd, xz or bzip2; what they are
their content says. It writes ` + strings.Join(formatNames(), ", ") + `;
which one a DESTINATION's name says, or --format, given once for each. If DESTINATION is a folder, every --format is
written into it. The source is read once, however many files there are, and its holes cost nothing.

Blocks that ext and FAT file systems on the disk do not use are left out, so that what was deleted is not handed on;
--exact keeps the disk as it is, bit by bit. --shrink makes the disk itself smaller: the last partition, which must
hold an ext file system, to what is in it and --margin.

A file appears under its name when all are complete. One that is there is replaced only with --force.
Exit status: 0 done, 1 it failed, 2 a mistake or an image that is refused; nothing was changed.`,
		Example: `  ingot convert disk.raw disk.vmdk
  ingot convert web-server/1.0.0 . --format ova,vhd-fixed -o align=1MiB
  ingot convert upload.qcow2 disk.raw.zst disk.ova --level best -o firmware=efi
  ingot convert appliance.ova disk.raw --shrink`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.image = args[0]
			b, err := newBuilder()
			if err != nil {
				return err
			}
			if from != "" {
				if c.source.Format, err = sourceFormat(from); err != nil {
					return usageError{fmt.Errorf("--from: %w", err)}
				}
			}
			if c.margin, err = config.ParseSize(margin); err != nil {
				return usageError{fmt.Errorf("--margin: %w", err)}
			}
			if c.margin == 0 {
				c.margin = -1 // none
			}
			if cmd.Flags().Changed("margin") && !c.shrink {
				return usageError{errors.New("--margin is about --shrink, which is not given")}
			}
			if c.exact && c.shrink {
				return usageError{errors.New("--exact and --shrink cannot both be")}
			}
			if level != "" {
				options = append(options, "level="+level)
			}
			var built bool
			if c.path, built, err = b.ImageFile(cmd.Context(), c.image); err != nil {
				return err
			}
			if built && from != "" {
				return usageError{errors.New("--from is about a file: the format of an image that was built is known")}
			}
			if c.outputs, err = outputs(c.path, args[1:], formats, options, level != ""); err != nil {
				return usageError{err}
			}
			if err := free(c.outputs, c.path, force); err != nil {
				return usageError{err}
			}
			return c.run(cmd)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&formats, "format", nil, "format of each destination: "+strings.Join(formatNames(), ", "))
	flags.StringVar(&level, "level", "", "compression: fast, default or best")
	flags.StringArrayVarP(&options, "option", "o", nil, "KEY=VALUE of the formats that have the key: see ingot's page on formats")
	flags.StringVar(&from, "from", "", "format of the source, if its content and name do not say it")
	flags.BoolVar(&c.exact, "exact", false, "keep what file systems no longer use")
	flags.BoolVar(&c.shrink, "shrink", false, "make the disk as small as its last file system allows")
	flags.StringVar(&margin, "margin", "128MiB", "what stays free in the file system that --shrink makes smaller")
	flags.BoolVar(&force, "force", false, "replace files that are there")
	flags.BoolVar(&c.asJSON, "json", false, "print what was written as JSON")
	cmd.RegisterFlagCompletionFunc("format", complete(formatNames()...))
	cmd.RegisterFlagCompletionFunc("level", complete("fast", "default", "best"))
	return cmd
}

func formatNames() []string {
	var names []string
	for _, f := range disk.Formats() {
		names = append(names, string(f))
	}
	return names
}

// sourceFormat reads the name of a format that files are read as.
func sourceFormat(name string) (disk.Format, error) {
	f, err := disk.ParseFormat(name)
	if f == disk.VHDFixed { // which kind a VHD is its content says
		f = disk.VHD
	}
	if readable := []disk.Format{disk.Raw, disk.Qcow2, disk.VMDK, disk.VHD, disk.VHDX, disk.OVA}; err != nil || !slices.Contains(readable, f) {
		return "", fmt.Errorf("%q: must be raw, qcow2, vmdk, vhd, vhdx or ova", name)
	}
	return f, nil
}

// outputs gives each destination its format and options. A level counts for the formats that have one.
func outputs(source string, destinations, formats, options []string, levelGiven bool) ([]disk.Output, error) {
	var outs []disk.Output
	var given []disk.Format
	for _, name := range formats {
		f, err := disk.ParseFormat(strings.TrimSpace(name))
		if err != nil {
			return nil, fmt.Errorf("--format: %w", err)
		}
		given = append(given, f)
	}
	info, err := os.Stat(destinations[0])
	switch {
	case len(destinations) == 1 && err == nil && info.IsDir():
		if len(given) == 0 {
			return nil, fmt.Errorf("%s is a folder: --format tells what to write into it", destinations[0])
		}
		for _, f := range given {
			outs = append(outs, disk.Output{Path: filepath.Join(destinations[0], stem(source)+f.Extension()), Format: f})
		}
	case len(given) > 0 && len(given) != len(destinations):
		return nil, fmt.Errorf("--format names %s for %s: name one for each, or none", counted(len(given), "format"), counted(len(destinations), "destination"))
	default:
		for i, path := range destinations {
			var f disk.Format
			ok := true
			if len(given) > 0 {
				f = given[i]
			} else {
				f, ok = disk.FormatToWrite(path)
			}
			if !ok {
				return nil, fmt.Errorf("%s: the name does not tell the format: give it with --format", path)
			}
			outs = append(outs, disk.Output{Path: path, Format: f})
		}
	}
	for _, o := range options {
		if err := setOption(outs, o, levelGiven); err != nil {
			return nil, err
		}
	}
	for _, o := range outs {
		if err := o.Options.Check(o.Format); err != nil {
			return nil, fmt.Errorf("%s: %w", o.Format, err)
		}
	}
	return outs, nil
}

// setOption sets KEY=VALUE for all outputs whose format has the key.
func setOption(outs []disk.Output, option string, levelGiven bool) error {
	key, value, found := strings.Cut(option, "=")
	if !found {
		return fmt.Errorf("-o %q: must be KEY=VALUE", option)
	}
	used := false
	for i := range outs {
		var all disk.Options
		if err := all.Set(key, value); err != nil {
			return fmt.Errorf("-o %s: %w", key, err)
		}
		if slices.Contains(disk.OptionKeys(outs[i].Format), key) {
			used = true
			if err := outs[i].Options.Set(key, value); err != nil {
				return fmt.Errorf("-o %s: %w", key, err)
			}
		}
	}
	if !used && !(key == "level" && levelGiven) {
		return fmt.Errorf("-o %s: no file that is to be written has this option", key)
	}
	return nil
}

// stem is what the files of a source are named after: its file's name without what its formats add to it.
func stem(path string) string {
	endings := []string{".gz", ".zst", ".xz", ".bz2", ".img", ".vpc", ".box"}
	for _, f := range disk.Formats() {
		endings = append(endings, f.Extension())
	}
	slices.SortFunc(endings, func(a, b string) int { return len(b) - len(a) }) // .zstd.qcow2 before .qcow2
	name := filepath.Base(path)
	for {
		i := slices.IndexFunc(endings, func(e string) bool { return strings.HasSuffix(strings.ToLower(name), e) })
		if i < 0 {
			return cmp.Or(name, "disk")
		}
		name = name[:len(name)-len(endings[i])]
	}
}

// free refuses destinations that are there, or the same, or the source.
func free(outs []disk.Output, source string, force bool) error {
	from, _ := os.Stat(source)
	seen := map[string]bool{}
	for _, o := range outs {
		path, err := filepath.Abs(o.Path)
		if err != nil {
			return err
		}
		if seen[path] {
			return fmt.Errorf("%s is named twice", o.Path)
		}
		seen[path] = true
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			if _, err := os.Stat(filepath.Dir(path)); err != nil {
				return err
			}
		case err != nil:
			return err
		case from != nil && os.SameFile(from, info):
			return fmt.Errorf("%s is the source", o.Path)
		case !info.Mode().IsRegular():
			return fmt.Errorf("%s is there and is not a file", o.Path)
		case !force:
			return fmt.Errorf("%s is there: --force replaces it", o.Path)
		}
	}
	return nil
}
