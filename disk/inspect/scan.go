package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/disk/fat"
	"github.com/ingot-image/ingot/disk/image"
	"github.com/ingot-image/ingot/disk/lvm"
)

// Options are options of [Inspect] and [OpenRoot].
type Options struct {
	// Mount gives the files of a file system that this package cannot read itself, of type "xfs" or "btrfs" for example, as an [fs.FS] that is an
	// [fs.StatFS], [fs.ReadDirFS] and [fs.ReadLinkFS], too. Only paths, without a leading slash, are asked for; nil: everything. Those that do not
	// exist are no error. Of Btrfs the top subvolume is wanted. nil: such file systems are only named.
	Mount func(ctx context.Context, src image.Source, fsType string, paths []string) (fs.FS, io.Closer, error)
	// Also are paths of the system, without a leading slash, that [InspectRoot] has mounted besides what it reads itself.
	Also []string
}

// ErrNoDisk says that what was read is no disk: there is neither a partition table nor a file system.
var ErrNoDisk = errors.New("no partition table and no known file system: this is no disk image, or an empty one")

// files is what the readers of file systems offer.
type files interface {
	fs.StatFS
	fs.ReadDirFS
	fs.ReadLinkFS
}

// volume is a place that a file system can be in.
type volume struct {
	FileSystem
	partition disk.Partition
	group     string // of a logical volume
	logical   string
	src       image.Source
	files     files // nil where they cannot be read, or before they were mounted
	mounted   io.Closer
	tried     bool
	// unreadable is why there are no files.
	unreadable error
}

// contents are a disk's partition table and its volumes.
type contents struct {
	src      image.Source
	options  Options
	meter    *meter
	wanted   bool // what Inspect reads is enough of file systems that must be mounted
	table    disk.Table
	report   PartitionTable
	volumes  []*volume
	problems []Problem
	failed   map[string]bool // names of files of the system that are told of
}

// maxProblems are told: a hostile disk has as many as it likes.
const maxProblems = 200

func (c *contents) problem(where, format string, args ...any) {
	p := Problem{where, fmt.Sprintf(format, args...)}
	if len(c.problems) < maxProblems && !slices.Contains(c.problems, p) {
		c.problems = append(c.problems, p)
	}
}

// Close ends the mounts.
func (c *contents) Close() error {
	var errs []error
	for _, v := range c.volumes {
		if v.mounted != nil {
			errs = append(errs, v.mounted.Close())
		}
	}
	return errors.Join(errs...)
}

// scan reads the partition table and all superblocks.
func scan(ctx context.Context, src image.Source, o Options) (*contents, error) {
	c := &contents{src: src, options: o}
	t, err := disk.ReadTable(src, src.Size())
	if err != nil {
		if errors.Is(err, disk.ErrNoPartitionTable) {
			return nil, ErrNoDisk
		}
		if len(t.Partitions) == 0 {
			return nil, fmt.Errorf("read partition table: %w", err)
		}
	}
	c.table, c.report = t, newTable(t)
	if err != nil {
		c.report.Problem = err.Error()
		c.problem("partition table", "%v", err)
	}
	c.checkCopies()
	for _, p := range t.Partitions {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if p.Start < 0 || p.Size <= 0 || p.Start > src.Size() || p.Size > src.Size()-p.Start || isExtended(p) {
			continue
		}
		v := &volume{partition: p, src: image.Section(src, image.Extent{Start: p.Start, Size: p.Size})}
		v.FileSystem = FileSystem{Device: fmt.Sprintf("partition %d", p.Index), Partition: p.Index, Start: p.Start, Capacity: p.Size}
		if t.Kind == "none" {
			v.Device = "disk"
		}
		c.add(v)
		if v.Type == "LVM2_member" {
			c.addLogical(ctx, v)
		}
	}
	return c, nil
}

func isExtended(p disk.Partition) bool {
	return p.Type == "0x05" || p.Type == "0x0f" || p.Type == "0x85"
}

// add finds out what is in a volume and opens what can be read here.
func (c *contents) add(v *volume) {
	c.volumes = append(c.volumes, v)
	found, err := disk.DetectFileSystem(v.src, v.src.Size())
	if err != nil {
		c.problem(v.Device, "%v", err)
		return
	}
	v.Type, v.UUID, v.Label, v.NeedsRecovery, v.Unclean = found.Type, found.UUID, found.Label, found.NeedsRecovery, found.Unclean
	switch {
	case found.IsExt():
		v.tried = true
		ext, err := disk.NewExt(io.NewSectionReader(v.src, 0, v.src.Size()))
		if err != nil {
			v.unreadable = fmt.Errorf("%s (%s) cannot be read: %w", v.Device, v.Type, err)
			c.problem(v.Device, "%v", err)
			break
		}
		v.files = ext
	case found.Type == "vfat":
		v.tried = true
		f, err := fat.New(v.src, v.src.Size())
		if err != nil {
			c.problem(v.Device, "%v", err)
			break
		}
		v.files, v.Variant = f, fmt.Sprintf("FAT%d", f.Bits())
		if label := f.Label(); label != "" {
			v.Label = label
		}
		if total, free, ok := f.Space(); ok {
			v.Space = &Space{Size: total, Used: total - free, Free: free}
		}
	}
	if err := v.readSuperblock(); err != nil {
		c.problem(v.Device, "%v", err)
	}
	if v.files != nil {
		v.FS = v.files
	}
}

// addLogical adds the logical volumes of a physical one.
func (c *contents) addLogical(ctx context.Context, pv *volume) {
	volumes, err := lvm.Volumes(ctx, pv.src)
	if err != nil {
		c.problem(pv.Device, "%v", err)
		return
	}
	const most = 256
	for i, l := range volumes {
		device := l.Group + "/" + l.Name
		if i == most {
			c.problem(pv.Device, "%d logical volumes: only the first %d are looked at", len(volumes), most)
			return
		}
		if l.Source == nil {
			c.problem(device, "%s", l.Reason)
			continue
		}
		v := &volume{partition: pv.partition, group: l.Group, logical: l.Name, src: l.Source}
		v.FileSystem = FileSystem{Device: device, Partition: pv.Partition, Start: pv.Start, Capacity: l.Source.Size()}
		c.add(v)
	}
}

// mount makes the files of a volume readable where the caller can mount it.
func (c *contents) mount(ctx context.Context, v *volume) files {
	if v.tried {
		return v.files
	}
	f, closer := c.mountPaths(ctx, v, c.paths(v))
	v.tried = true
	if f == nil {
		return nil
	}
	v.mounted, v.files, v.FS = closer, f, f
	return f
}

// mountPaths has some paths of a volume mounted, nil for all. Without files the volume is unreadable, and not tried again.
func (c *contents) mountPaths(ctx context.Context, v *volume, paths []string) (files, io.Closer) {
	if v.Type != "xfs" && v.Type != "btrfs" {
		return nil, nil
	}
	fail := func(err error) (files, io.Closer) {
		v.tried, v.unreadable = true, &MountError{v.Device, v.Type, err}
		c.problem(v.Device, "%v", err)
		return nil, nil
	}
	if c.options.Mount == nil {
		v.tried, v.unreadable = true, fmt.Errorf("%s (%s) cannot be read here", v.Device, v.Type)
		return nil, nil
	}
	resume := c.meter.pause()
	tree, closer, err := c.options.Mount(ctx, v.src, v.Type, paths)
	resume()
	if err != nil {
		return fail(err)
	}
	f, ok := tree.(files)
	if !ok {
		return fail(errors.Join(errors.New("what mounted it gave no files that can be listed"), closer.Close()))
	}
	return f, closer
}

// find gives the volume that a source of fstab means: fstab(5). byName tells that the source is a device name, which is the machine's.
func (c *contents) find(source string) (found *volume, byName bool) {
	kind, value, tagged := strings.Cut(source, "=")
	value = strings.Trim(value, `"`)
	if !tagged {
		for prefix, tag := range map[string]string{"/dev/disk/by-uuid/": "UUID", "/dev/disk/by-label/": "LABEL", "/dev/disk/by-partuuid/": "PARTUUID", "/dev/disk/by-partlabel/": "PARTLABEL"} {
			if rest, ok := strings.CutPrefix(source, prefix); ok {
				kind, value, tagged = tag, rest, true
			}
		}
	}
	for _, v := range c.volumes {
		match := false
		switch {
		case !tagged && v.logical != "":
			mapper := strings.ReplaceAll(v.group, "-", "--") + "-" + strings.ReplaceAll(v.logical, "-", "--")
			match = source == "/dev/"+v.group+"/"+v.logical || source == "/dev/mapper/"+mapper
		case !tagged:
			index, ok := deviceIndex(source)
			match = ok && index == v.Partition
			byName = byName || ok
		case kind == "UUID":
			match = v.UUID != "" && strings.EqualFold(v.UUID, value)
		case kind == "LABEL":
			match = v.Label != "" && v.Label == value
		case v.logical != "":
		case kind == "PARTUUID":
			match = v.partition.GUID != "" && strings.EqualFold(v.partition.GUID, value)
		case kind == "PARTLABEL":
			match = v.partition.Name != "" && v.partition.Name == value
		}
		if match {
			return v, byName
		}
	}
	return nil, byName
}

// deviceIndex is the partition's number in the name of a disk's device: /dev/sda1, /dev/vda1, /dev/xvda1, /dev/nvme0n1p1. It is 0 for the
// whole disk, -1 for another disk than the first one.
func deviceIndex(name string) (int, bool) {
	rest, ok := strings.CutPrefix(name, "/dev/")
	if !ok {
		return 0, false
	}
	for _, name := range []string{"sd", "vd", "hd", "xvd", "nvme", "mmcblk"} {
		at, ok := strings.CutPrefix(rest, name)
		if !ok || at == "" {
			continue
		}
		first, separator := "a", ""
		switch name {
		case "nvme":
			first, separator = "0n1", "p"
		case "mmcblk":
			first, separator = "0", "p"
		}
		digits, ok := strings.CutPrefix(at, first)
		if !ok || digits != "" && !strings.HasPrefix(digits, separator) {
			return -1, true
		}
		if digits == "" {
			return 0, true
		}
		n, err := strconv.ParseUint(strings.TrimPrefix(digits, separator), 10, 16)
		return int(n), err == nil
	}
	return 0, false
}
