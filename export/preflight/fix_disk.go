package preflight

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/disk/image"
	"github.com/ingot-image/ingot/disk/inspect"
)

// The programs that mend.
var (
	e2fsck  = disk.Tool{Name: "e2fsck", Package: "e2fsprogs"}
	debugfs = disk.Tool{Name: "debugfs", Package: "e2fsprogs"}
	mcopy   = disk.Tool{Name: "mcopy", Package: "mtools"}
	mmd     = disk.Tool{Name: "mmd", Package: "mtools"}
)

// moveBackupTable writes the second copy of a GPT to the disk's end, from the first one.
func moveBackupTable(_ context.Context, w *workpiece, _ Finding) error {
	if !w.target.Report.PartitionTable.PrimaryValid {
		return fmt.Errorf("the first copy of the GPT is damaged: restore it by gdisk, from the second one")
	}
	return disk.Grow(w.path(), 0)
}

// recoverFileSystem replays the journal of an ext file system, and mends what e2fsck mends without asking.
func recoverFileSystem(ctx context.Context, w *workpiece, f Finding) error {
	for _, v := range w.target.Report.FileSystems {
		if v.Device != f.Where || v.Partition == 0 || !strings.HasPrefix(v.Type, "ext") {
			continue
		}
		return w.apart(ctx, disk.Extent{Start: v.Start, Size: v.Capacity}, func(alone *os.File) error {
			return disk.Run(ctx, disk.Command{Tool: e2fsck, Files: []*os.File{alone}, AcceptExit: []int{1, 2, 3}, Args: []string{"-f", "-p", disk.FilePath(0)}})
		})
	}
	return fmt.Errorf("%s is no ext file system in a partition: mount and unmount it", f.Where)
}

// apart changes a part of the disk in a file of its own, without a name: when e2fsck has replayed a journal it opens its file once more, and forgets the offset
// that it was given (e2fsck/journal.c, e2fsck_run_ext3_journal).
func (w *workpiece) apart(ctx context.Context, part disk.Extent, change func(alone *os.File) error) error {
	alone, err := disk.Create(w.Name())
	if err != nil {
		return err
	}
	defer alone.Close()
	whole, err := image.NewFile(w.File)
	if err != nil {
		return err
	}
	raw, err := image.NewRawWriter(alone.File, part.Size)
	if err != nil {
		return err
	}
	if err := image.Copy(ctx, image.Section(whole, part), image.CopyOptions{}, raw); err != nil {
		return err
	}
	if err := change(alone.File); err != nil {
		return err
	}
	changed, err := image.NewFile(alone.File)
	if err != nil {
		return err
	}
	one, other := make([]byte, 1<<20), make([]byte, 1<<20)
	same := func(e disk.Extent) error {
		for at := e.Start; at < e.Start+e.Size; at += int64(len(one)) {
			n := min(int64(len(one)), e.Start+e.Size-at)
			if _, err := alone.ReadAt(one[:n], at); err != nil {
				return err
			}
			if _, err := w.ReadAt(other[:n], part.Start+at); err != nil {
				return err
			}
			if bytes.Equal(one[:n], other[:n]) {
				continue
			}
			if _, err := w.WriteAt(one[:n], part.Start+at); err != nil {
				return err
			}
		}
		return nil
	}
	if err := changed.Extents(ctx, same); err != nil {
		return err
	}
	// What became zeros may be a hole now: e2fsck has files give up ranges (libext2fs, unix_zeroout).
	return image.Section(whole, part).Extents(ctx, same)
}

// fallbackNames are the loader that firmware starts by its name, and the distribution's that it can be a copy of. A signed shim cannot be: it looks for its
// GRUB in its own folder.
var fallbackNames = map[string][2]string{x86: {"BOOTX64.EFI", "GRUBX64.EFI"}, arm64: {"BOOTAA64.EFI", "GRUBAA64.EFI"}}

// grubOfESP is the distribution's GRUB for the system's architecture on the EFI system partition, nil if there is none.
func (t *Target) grubOfESP() *inspect.EFILoader {
	want := t.architecture()
	for i := range t.Report.Boot.EFI {
		l := &t.Report.Boot.EFI[i]
		name := l.Path[strings.LastIndexAny(l.Path, `/\`)+1:]
		if (want == "" || ec2Architecture(l.Architecture) == want) && name != "" && strings.EqualFold(name, fallbackNames[ec2Architecture(l.Architecture)][1]) {
			return l
		}
	}
	return nil
}

// addFallbackLoader copies the distribution's GRUB to where firmware looks.
func addFallbackLoader(ctx context.Context, w *workpiece, _ Finding) error {
	l := w.target.grubOfESP()
	if l == nil {
		return errors.New("the EFI system partition has no GRUB that could be copied: grub-install --removable")
	}
	esp := partition(w.target.Report, l.Partition)
	if esp == nil || esp.Type != "vfat" {
		return fmt.Errorf("partition %d is not FAT", l.Partition)
	}
	inside := strings.Trim(strings.ReplaceAll(l.Path, `\`, "/"), "/")
	if !plainName.MatchString("/" + inside) {
		return fmt.Errorf("%.100q is a name that is not given to mtools", inside)
	}
	at := fmt.Sprintf("%s@@%d", disk.FilePath(0), esp.Start)
	run := func(tool disk.Tool, in io.Reader, out io.Writer, args ...string) error {
		return disk.Run(ctx, disk.Command{Tool: tool, Files: []*os.File{w.File}, Stdin: in, Stdout: out,
			Args: append([]string{"-i", at}, args...), Env: []string{"MTOOLSRC=/dev/null"}})
	}
	var loader bytes.Buffer
	if err := run(mcopy, nil, &loader, "::/"+inside, "-"); err != nil {
		return err
	}
	_ = run(mmd, nil, nil, "-D", "s", "::/EFI/BOOT") // which may be there: what is to be in it tells
	return run(mcopy, &loader, nil, "-Q", "-D", "s", "-", "::/EFI/BOOT/"+fallbackNames[ec2Architecture(l.Architecture)][0])
}

// partition is the file system that is in a partition.
func partition(r *inspect.Report, index int) *inspect.FileSystem {
	for i := range r.FileSystems {
		if v := &r.FileSystems[i]; v.Partition == index && index != 0 {
			return v
		}
	}
	return nil
}
