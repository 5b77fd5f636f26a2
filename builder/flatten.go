package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/disk/image"
	"github.com/ingot-image/ingot/qemu"
)

// file is one of the image's files, in the folder where files wait beside their final place.
type file struct {
	format disk.Format
	path   string
}

// rawCopy is the image's raw disk while the guest still writes to its own: a copy of all that lies below the image that the guest writes to.
type rawCopy struct {
	overlay string     // what the guest writes to
	below   disk.Image // what it is on
	*task[struct{}]
}

// copyBelow starts to copy what lies below the guest's disk into the image's raw one. That is nearly all of it, and is read only: when the guest
// is down little is left to be done.
func (j *job) copyBelow(ctx context.Context, root qemu.Disk) {
	j.rawDisk = filepath.Join(j.staging, j.fileName(disk.Raw.Extension()))
	below := disk.Image{Path: root.Backing[0].Path, Format: formatOf(root.Backing[0].Format)}
	j.rawCopy = &rawCopy{root.Path, below, beside(ctx, j, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, disk.Convert(ctx, below, disk.Image{Path: j.rawDisk, Format: disk.Raw, Unsynced: true}, nil)
	})}
}

// flatten turns the guest's disk into the files asked for. The raw disk is made first, checked, and the source of all others; it is thrown
// away in the end if nobody asked for it. Each file's digest is computed from when they are complete, beside all that follows.
func (j *job) flatten(ctx context.Context, g *guest) ([]file, error) {
	if _, err := j.rawCopy.wait(ctx); err != nil {
		return nil, err
	}
	// An overlay that was made for a layer that was lost names a disk that never came to be.
	if err := disk.Rebase(ctx, j.rawCopy.overlay, j.rawCopy.below); err != nil {
		return nil, err
	}
	if err := disk.Merge(ctx, j.rawDisk, j.rawCopy.overlay); err != nil {
		return nil, err
	}
	if err := os.Remove(j.rawCopy.overlay); err != nil {
		return nil, err
	}
	if table, err := disk.Partitions(j.rawDisk); err == nil && g.larger && table.Kind == "gpt" {
		// The backup of the table belongs to the end of the disk, whether or not something in the guest moved it there.
		if err := disk.Grow(j.rawDisk, 0); err != nil {
			return nil, err
		}
	}
	// The guest was told to trim its file systems; what it did not they still know to be unused.
	if _, err := disk.PunchUnused(ctx, j.rawDisk); err != nil && !errors.Is(err, errors.ErrUnsupported) { // some file systems have no holes
		return nil, err
	}
	// From here on nothing is written to the raw disk.
	j.event(Event{Type: Progress, Detail: string(disk.Raw), Done: 1000, Total: 1000})
	var group errgroup.Group
	group.SetLimit(runtime.NumCPU())
	running, stop := context.WithCancel(ctx)
	defer stop()
	work := func(f func(context.Context) error) {
		group.Go(func() error {
			err := f(running)
			if err != nil {
				stop() // the first error is the one that Wait gives
			}
			return err
		})
	}
	j.sealed = map[string]*task[seal]{}
	var files []file
	modes, err := bootModesOf(j.rawDisk)
	if err != nil {
		modes = bootModes{bios: true} // the tests say what is wrong, if there are any
	}
	system := ""
	if g.info != nil {
		system = g.info.OS
	}
	var outputs []disk.Output
	written := make(chan struct{})
	for _, format := range j.formats() {
		f := file{format, filepath.Join(j.staging, j.fileName(format.Extension()))}
		files = append(files, f)
		if format == disk.Raw {
			j.sealed[f.path] = j.seal(ctx, f.path, nil)
			continue
		}
		j.sealed[f.path] = j.seal(ctx, f.path, written)
		outputs = append(outputs, disk.Output{Path: f.path, Format: format, Options: j.formatOptions(format, system, modes), Unsynced: true})
	}
	if len(outputs) > 0 {
		work(func(ctx context.Context) error {
			err := j.write(ctx, outputs)
			if err == nil {
				close(written)
			}
			return err
		})
	}
	work(j.checkClean)
	return files, group.Wait()
}

func (j *job) checkClean(ctx context.Context) error {
	checked, err := disk.CheckClean(ctx, j.rawDisk)
	if err == nil && checked == 0 {
		j.event(Event{Type: Warning, Detail: "the image has no ext file system: nothing could be checked for being clean"})
	}
	return err
}

// write writes the raw disk in all other formats at once.
func (j *job) write(ctx context.Context, outputs []disk.Output) error {
	raw, err := image.OpenFile(j.rawDisk)
	if err != nil {
		return err
	}
	defer raw.Close()
	var names []string
	for _, o := range outputs {
		names = append(names, string(o.Format))
	}
	return disk.Write(ctx, raw, disk.WriteOptions{Progress: func(done, total int64) {
		j.event(Event{Type: Progress, Detail: strings.Join(names, ", "), Done: done, Total: total})
	}}, outputs...)
}

// formatOptions are those of the recipe, and what the image itself says of the machine that it wants, unless that and the recipe's cannot both be.
func (j *job) formatOptions(format disk.Format, system string, modes bootModes) disk.Options {
	o := j.plan.Distribution.Options[format]
	add := func(key, value string) {
		with := o
		err := with.Set(key, value)
		if err == nil {
			err = with.Check(format)
		}
		if err != nil {
			j.event(Event{Type: Warning, Detail: fmt.Sprintf("%s: %s=%s, as the image wants, is left out: %v", format, key, value, err)})
			return
		}
		o = with
	}
	keys := disk.OptionKeys(format)
	if o.OSType == "" && system != "" && slices.Contains(keys, "osType") {
		add("osType", system)
	}
	if o.Firmware == "" && !modes.bios && slices.Contains(keys, "firmware") {
		add("firmware", "efi")
	}
	return o
}

// formatOf is the format that QEMU has this name for.
func formatOf(driver string) disk.Format {
	if driver == "vpc" {
		return disk.VHD
	}
	return disk.Format(driver)
}

// seal is what a finished file was when its digest was computed and it was flushed to the disk.
type seal struct {
	sha256hex string
	size      int64
	info      os.FileInfo
}

// seal makes a file's seal once it is complete, which after tells; nil: it is.
func (j *job) seal(ctx context.Context, path string, after <-chan struct{}) *task[seal] {
	return beside(ctx, j, func(ctx context.Context) (s seal, err error) {
		if after != nil {
			select {
			case <-after:
			case <-ctx.Done():
				return s, context.Cause(ctx)
			}
		}
		f, err := os.Open(path)
		if err != nil {
			return s, err
		}
		defer f.Close()
		if s.info, err = f.Stat(); err != nil {
			return s, err
		}
		flushed := make(chan error, 1)
		go func() { flushed <- f.Sync() }()
		s.sha256hex, s.size, err = disk.Digest(ctx, path)
		return s, errors.Join(err, <-flushed)
	})
}

// unsealed waits for a file's seal and gives it, unless the file is no longer what it was.
func (j *job) unsealed(ctx context.Context, f file) (seal, error) {
	s, err := j.sealed[f.path].wait(ctx)
	if err != nil {
		return s, err
	}
	now, err := os.Stat(f.path)
	if err != nil {
		return s, err
	}
	if !os.SameFile(now, s.info) || now.Size() != s.size || !now.ModTime().Equal(s.info.ModTime()) {
		return s, fmt.Errorf("%s was changed by something else after it was made", f.path)
	}
	return s, nil
}
