package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/ingot-image/ingot/disk/image"
)

// DefaultMargin is how much of a file system [Shrink] leaves free, in bytes: enough for the first boot of an image to write what it writes before the
// file system is grown again.
const DefaultMargin = 128 << 20

// ShrinkOptions are options of [Shrink].
type ShrinkOptions struct {
	// Margin is how many bytes are to stay free in the file system; 0 is [DefaultMargin], less than 0 none. More stays free where resize2fs knows no
	// way to less.
	Margin int64
}

// ShrinkReport says what [Shrink] did. When nothing was to be gained sizes are the same before and after, and the file is as it was.
type ShrinkReport struct {
	Before, After                     int64 // size of the disk in bytes
	Partition                         int   // index of the one that was made smaller, 0 when a file system fills the disk
	FileSystemBefore, FileSystemAfter int64 // in bytes
	Free                              int64 // bytes that are free in it now
}

// Shrink makes a raw disk smaller: the file system in its last partition, which must be ext2, ext3 or ext4 and in order, becomes as small as
// resize2fs can make it and Margin allows, then the partition, then the disk; a GPT's backup moves to the new end. Ends are at multiples of 1 MiB.
// All else on the disk stays where it is, boot loaders too, but what file systems do not use is left behind (see [Unused]). growpart and resize2fs
// enlarge the file system at the next boot, like that of any cloud image.
//
// The work is done on a copy without a name, which is checked by "e2fsck -fn" before and after and replaces the file when it is complete: after an
// error, or when the program is killed, the file is what it was. That takes room for the used data once more. The file's owner and permissions are
// kept.
//
// Errors: [UncleanError], [MissingToolError], [NoSpaceError], [ToolError], ctx's cause, or what is in the way: a last partition with something
// else in it, a logical one, a hybrid MBR, a boot loader that knows the blocks of its files by number.
func Shrink(ctx context.Context, path string, o ShrinkOptions) (ShrinkReport, error) {
	return shrinkFile(ctx, path, o, unix.FALLOC_FL_INSERT_RANGE)
}

func shrinkFile(ctx context.Context, path string, o ShrinkOptions, insert uint32) (ShrinkReport, error) {
	fail := func(report ShrinkReport, err error) (ShrinkReport, error) {
		return report, fmt.Errorf("shrink %s: %w", path, err)
	}
	raw, err := image.OpenFile(path)
	if err != nil {
		return fail(ShrinkReport{}, err)
	}
	defer raw.Close()
	smaller, report, err := shrink(ctx, raw, path, o, insert)
	if err != nil {
		return fail(report, err)
	}
	if smaller == nil {
		return report, nil
	}
	defer smaller.Close()
	if err := copyAttributes(path, smaller.File); err != nil {
		return fail(report, err)
	}
	if err := smaller.Commit(); err != nil {
		return fail(report, err)
	}
	return report, nil
}

// Shrunk is [Shrink] of a disk that is not to be changed: the smaller one is a raw disk in a file without a name in the folder, which goes when it is
// closed. It is nil where nothing was to be gained. name is that of the disk in errors.
func Shrunk(ctx context.Context, src image.Source, name, folder string, o ShrinkOptions) (*PendingFile, ShrinkReport, error) {
	smaller, report, err := shrink(ctx, src, filepath.Join(folder, "shrunk"), o, unix.FALLOC_FL_INSERT_RANGE)
	var unclean *UncleanError
	if errors.As(err, &unclean) {
		unclean.Path = name
	}
	if err != nil {
		return nil, report, fmt.Errorf("shrink %s: %w", name, err)
	}
	return smaller, report, nil
}

// shrink makes the smaller disk in a file beside path.
func shrink(ctx context.Context, raw image.Source, path string, o ShrinkOptions, insert uint32) (_ *PendingFile, report ShrinkReport, err error) {
	table, last, err := lastPartition(raw, path)
	if err != nil {
		return nil, report, err
	}
	report = ShrinkReport{Before: raw.Size(), After: raw.Size(), Partition: last.Index}
	used, err := ext4Copy(ctx, raw, path, last)
	if err != nil {
		return nil, report, ExplainSpace(err, filepath.Dir(path), 0)
	}
	done := false
	defer func() {
		if !done {
			used.Close()
		}
	}()
	if reason, err := e2fsckOutput(ctx, used.File, 0); err != nil {
		return nil, report, err
	} else if reason != "" {
		return nil, report, &UncleanError{path, last.Index, last.FileSystem.Type, reason}
	}
	before, after, err := resizeExt(ctx, used.File, last.Start, o)
	if err != nil {
		return nil, report, ExplainSpace(err, filepath.Dir(path), 0)
	}
	report.FileSystemBefore, report.FileSystemAfter, report.Free = before.bytes(), after.bytes(), after.free*after.blockSize
	end := min(alignUp(last.Start+after.bytes()), last.Start+last.Size)
	size := alignUp(end)
	if table.Kind == "gpt" {
		size = alignUp(end + mib/2) // the backup table takes 33 sectors
	}
	if size >= raw.Size() {
		report.FileSystemAfter, report.Free = before.bytes(), before.free*before.blockSize
		return nil, report, nil
	}
	if reason, err := e2fsckOutput(ctx, used.File, 0); err != nil {
		return nil, report, err
	} else if reason != "" {
		return nil, report, fmt.Errorf("the file system is damaged after resize2fs, of which nothing is kept: %s", reason)
	}
	if used, err = prepend(ctx, used, path, raw, last.Start, size, insert); err != nil {
		return nil, report, ExplainSpace(err, filepath.Dir(path), 0)
	}
	if err := writeShrunkTable(raw, used, table.Kind, last, end, size); err != nil {
		return nil, report, fmt.Errorf("partition table: %w", err)
	}
	if u, ok := raw.(image.Unchanged); ok {
		if err := u.Unchanged(); err != nil {
			return nil, report, err
		}
	}
	report.After, done = size, true
	return used, report, nil
}

// lastPartition finds the partition that can be made smaller, or says what is in the way.
func lastPartition(raw image.Source, path string) (Table, Partition, error) {
	table, err := ReadTable(raw, raw.Size())
	if err != nil {
		return table, Partition{}, err
	}
	if table.FromBackup {
		return table, Partition{}, errors.New("the primary partition table is damaged: repair it with sgdisk first")
	}
	if len(table.Partitions) == 0 {
		return table, Partition{}, ErrNoPartitionTable
	}
	last := table.Partitions[len(table.Partitions)-1]
	for _, p := range table.Partitions[:len(table.Partitions)-1] {
		if p.isExtended() && p.Start+p.Size > last.Start {
			return table, last, fmt.Errorf("the last partition, %d, is a logical one: only a primary one can be made smaller", last.Index)
		}
		if p.Start+p.Size > last.Start {
			return table, last, fmt.Errorf("partitions %d and %d overlap", p.Index, last.Index)
		}
	}
	name := fmt.Sprintf("the last partition, %d,", last.Index)
	if table.Kind == "none" {
		name = "the disk, which has no partitions,"
	}
	f := last.FileSystem
	switch {
	case last.isExtended():
		return table, last, fmt.Errorf("%s is an extended one: only a primary one can be made smaller", name)
	case f.Type == "":
		return table, last, fmt.Errorf("%s holds nothing that is known here: only ext2, ext3 and ext4 can be made smaller", name)
	case !f.IsExt():
		return table, last, fmt.Errorf("%s holds %s: only ext2, ext3 and ext4 can be made smaller", name, f.Type)
	case f.Others != "":
		return table, last, fmt.Errorf("%s has signatures of two file systems, %s and %s: remove the old one with wipefs first", name, f.Type, f.Others)
	case f.NeedsRecovery:
		return table, last, &UncleanError{path, last.Index, f.Type, "the journal needs recovery: the system was not shut down cleanly"}
	case f.Unclean:
		return table, last, &UncleanError{path, last.Index, f.Type, "marked as not cleanly unmounted or as having errors"}
	}
	if table.Kind == "gpt" {
		if err := plainProtectiveMBR(raw); err != nil {
			return table, last, err
		}
	}
	return table, last, findsFilesByPlace(raw, last)
}

// ext4Copy copies what is used of a partition into a file without a name beside the disk. resize2fs cannot work in the disk itself: it cuts the file
// off at the file system's size, wherever in the file that begins.
func ext4Copy(ctx context.Context, raw image.Source, path string, p Partition) (*PendingFile, error) {
	src, _, err := Unused(ctx, raw)
	if err != nil {
		return nil, err
	}
	out, err := Create(path)
	if err != nil {
		return nil, err
	}
	w, err := image.NewRawWriter(out.File, p.Size)
	if err == nil {
		err = image.Copy(ctx, image.Section(src, Extent{Start: p.Start, Size: p.Size}), image.CopyOptions{}, w)
	}
	if err != nil {
		out.Close()
		return nil, err
	}
	return out, nil
}

// extSize is how large a file system is, in blocks.
type extSize struct{ blocks, free, blockSize int64 }

func (s extSize) bytes() int64 { return s.blocks * s.blockSize }

func readExtSize(f io.ReaderAt) (s extSize, err error) {
	sb := make([]byte, 1024)
	if _, err := f.ReadAt(sb, extSuperOffset); err != nil {
		return s, fmt.Errorf("read superblock: %w", err)
	}
	le := binary.LittleEndian
	s = extSize{int64(le.Uint32(sb[4:])), int64(le.Uint32(sb[0xc:])), 1024 << min(le.Uint32(sb[0x18:]), 6)}
	if le.Uint32(sb[0x60:])&extIncompat64bit != 0 {
		s.blocks |= int64(le.Uint32(sb[0x150:])) << 32
		s.free |= int64(le.Uint32(sb[0x158:])) << 32
	}
	if s.blocks <= 0 || s.free < 0 || s.free > s.blocks || s.blocks > 1<<50 {
		return s, fmt.Errorf("damaged superblock: %d blocks, %d of them free", s.blocks, s.free)
	}
	return s, nil
}

// resizeRounds is how often resize2fs is asked: what it believes to be the least size becomes better the nearer to it the file system is.
const resizeRounds = 5

// resizeExt makes the file system that is at the start of f, and of the disk at offset, as small as it becomes.
func resizeExt(ctx context.Context, f *os.File, offset int64, o ShrinkOptions) (before, after extSize, err error) {
	if before, err = readExtSize(f); err != nil {
		return before, after, err
	}
	margin := o.Margin
	if margin == 0 {
		margin = DefaultMargin
	}
	after = before
	for range resizeRounds {
		least, err := leastExtSize(ctx, f)
		if err != nil {
			return before, after, err
		}
		wanted := max(least, after.blocks-after.free+max(margin, 0)/after.blockSize)
		target := (alignUp(offset+wanted*after.blockSize) - offset) / after.blockSize
		if target > after.blocks-mib/after.blockSize {
			break
		}
		// e2fsck has just found it in order, so that resize2fs need not insist on a check that is written into it.
		err = Run(ctx, Command{Tool: resize2fs, Files: []*os.File{f}, Args: []string{"-f", FilePath(0), strconv.FormatInt(target, 10)}})
		if err != nil {
			return before, after, err
		}
		if after, err = readExtSize(f); err != nil {
			return before, after, err
		}
	}
	return before, after, nil
}

// leastExtSize asks resize2fs for the least size, in blocks.
func leastExtSize(ctx context.Context, f *os.File) (int64, error) {
	var out bytes.Buffer
	if err := Run(ctx, Command{Tool: resize2fs, Files: []*os.File{f}, Stdout: &out, Args: []string{"-f", "-P", FilePath(0)}}); err != nil {
		return 0, err
	}
	_, number, _ := bytes.Cut(out.Bytes(), []byte(": "))
	n, err := strconv.ParseInt(string(bytes.TrimSpace(number)), 10, 64)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("resize2fs: least size %q", out.String())
	}
	return n, nil
}

// prepend puts the start of the disk before the file system, and makes the file as long as the disk is to be. The host's file system may be able to
// shift the content (ext4, XFS); otherwise it is copied once more.
func prepend(ctx context.Context, f *PendingFile, path string, raw image.Source, start, size int64, insert uint32) (*PendingFile, error) {
	err := f.Truncate(size - start)
	if err == nil && start > 0 {
		if unix.Fallocate(int(f.Fd()), insert, 0, start) != nil {
			f, err = prependCopy(ctx, f, path, start)
		}
	}
	if err == nil {
		err = copyInto(ctx, f.File, 0, image.Section(raw, Extent{Size: start}))
	}
	return f, err
}

// prependCopy gives a new file and closes the old one, or gives the old one.
func prependCopy(ctx context.Context, f *PendingFile, path string, start int64) (*PendingFile, error) {
	src, err := image.NewFile(f.File)
	if err != nil {
		return f, err
	}
	out, err := Create(path)
	if err != nil {
		return f, err
	}
	if err = out.Truncate(start + src.Size()); err == nil {
		err = copyInto(ctx, out.File, start, src)
	}
	if err != nil {
		out.Close()
		return f, err
	}
	return out, f.Close()
}

// copyInto copies what a source holds to a place in a file.
func copyInto(ctx context.Context, f *os.File, at int64, src image.Source) error {
	buffer := make([]byte, mib)
	return src.Extents(ctx, func(e image.Extent) error {
		for e.Size > 0 {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			p := buffer[:min(e.Size, mib)]
			if n, err := src.ReadAt(p, e.Start); n < len(p) {
				return fmt.Errorf("read at %d: %w", e.Start, err)
			}
			if _, err := f.WriteAt(p, at+e.Start); err != nil {
				return err
			}
			e = Extent{Start: e.Start + int64(len(p)), Size: e.Size - int64(len(p))}
		}
		return nil
	})
}

// copyAttributes gives the new file the permissions of the old one, and its owner where that is allowed.
func copyAttributes(path string, f *os.File) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err
	}
	if err := f.Chown(int(st.Uid), int(st.Gid)); err != nil && !errors.Is(err, os.ErrPermission) {
		return err
	}
	return f.Chmod(os.FileMode(st.Mode & 0o777))
}

func alignUp(n int64) int64 { return (n + mib - 1) / mib * mib }
