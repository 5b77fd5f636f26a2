package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ingot-image/ingot/disk/box"
	"github.com/ingot-image/ingot/disk/compress"
	"github.com/ingot-image/ingot/disk/image"
	"github.com/ingot-image/ingot/disk/ova"
	"github.com/ingot-image/ingot/disk/qemuimg"
	"github.com/ingot-image/ingot/disk/vhd"
	"github.com/ingot-image/ingot/disk/vmdk"
)

// Output is a file to be written.
type Output struct {
	Path    string
	Format  Format
	Options Options
	// Unsynced leaves it to the caller to flush the file to disk (os.File.Sync) before it counts on it. It can be done beside other work on the file.
	Unsynced bool
	// Verify, if given, looks at the complete file before it has its name: file is a path by which this process, and no other, opens it. After an error, which
	// Write returns, no file appears.
	Verify func(file string) error
}

// WriteOptions are options of [Write].
type WriteOptions struct {
	// Workers is how many pieces of the disk are compressed at once, 0 for as many as there are CPUs.
	Workers int
	// Progress is told how much of what the source holds is written, in bytes. It must not block.
	Progress func(done, total int64)
}

// Write writes a disk into one or more files. The source is read once, whatever the number of files, and its holes cost nothing. Files of
// the same content and options are the same, byte by byte; of qcow2 and VHDX as long as QEMU and its libraries are.
//
// Each file appears under its name, replacing what was there, when all of them are complete and flushed to disk; after an error none does, and a
// program that is killed before that leaves nothing behind. If one of them cannot be given its name, those that are new are removed again; a file
// that another one of them has already replaced cannot be brought back.
//
// Errors: [MissingToolError] (qcow2 and VHDX are written by QEMU), [NoSpaceError], what is wrong with an option or the size, ctx's
// cause, or what the source says.
func Write(ctx context.Context, src image.Source, o WriteOptions, outputs ...Output) (err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var files []*writing
	defer func() {
		stop() // what QEMU still writes
		for _, w := range files {
			w.close()
		}
	}()
	if err := apart(outputs); err != nil {
		return err
	}
	var writers []image.Writer
	for _, out := range outputs {
		w, err := newWriting(ctx, src, out)
		if w != nil {
			files = append(files, w)
		}
		if err != nil {
			return w.fail(err, out)
		}
		if !w.cloned {
			writers = append(writers, w)
		}
	}
	if len(writers) > 0 {
		end := writeBack(ctx, files)
		err := image.Copy(ctx, src, image.CopyOptions{Workers: o.Workers, Progress: o.Progress}, writers...)
		end()
		var failed *outputError
		if errors.As(err, &failed) {
			return failed.file.fail(failed.err, failed.file.out)
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", outputs[0].Path, err)
		}
	} else if u, ok := src.(image.Unchanged); ok { // as Copy does
		if err := u.Unchanged(); err != nil {
			return fmt.Errorf("write %s: %w", outputs[0].Path, err)
		}
	}
	return commitAll(ctx, files)
}

// ErrSameOutput is wrapped by the error of [Write] about two outputs that would be one file.
var ErrSameOutput = errors.New("they are the same file")

// apart refuses outputs that would be one file, by whatever paths.
func apart(outputs []Output) error {
	type place struct {
		folder os.FileInfo
		name   string
	}
	var places []place
	for i, out := range outputs {
		folder, err := os.Stat(filepath.Dir(out.Path))
		if err != nil {
			return fmt.Errorf("write %s: %w", out.Path, err)
		}
		p := place{folder, filepath.Base(out.Path)}
		for j, other := range places {
			if p.name == other.name && os.SameFile(p.folder, other.folder) {
				return fmt.Errorf("write %s and %s: %w", outputs[j].Path, outputs[i].Path, ErrSameOutput)
			}
		}
		places = append(places, p)
	}
	return nil
}

// commitAll gives all files their names, or none that was not there before.
func commitAll(ctx context.Context, files []*writing) (err error) {
	for _, w := range files {
		if !w.out.Unsynced {
			if err := w.pending.Sync(); err != nil {
				return w.fail(err, w.out)
			}
		}
	}
	for _, w := range files {
		if w.out.Verify != nil {
			if err := w.out.Verify(fmt.Sprintf("/proc/self/fd/%d", w.pending.Fd())); err != nil {
				return fmt.Errorf("verify %s: %w", w.out.Path, err)
			}
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("write disk image: %w", context.Cause(ctx))
	}
	var made []string
	defer func() {
		if err != nil {
			for _, path := range made {
				os.Remove(path)
			}
		}
	}()
	for _, w := range files {
		_, before := os.Lstat(w.pending.path)
		if err := w.pending.commitUnsynced(); err != nil {
			return w.fail(err, w.out)
		}
		if errors.Is(before, os.ErrNotExist) {
			made = append(made, w.pending.path)
		}
	}
	for _, w := range files {
		if !w.out.Unsynced {
			if err := syncDir(filepath.Dir(w.pending.path)); err != nil {
				return w.fail(err, w.out)
			}
		}
	}
	return nil
}

// writeBack has the system write to the disk what it holds of the files while they grow, so that little is left for their flushes at the end. What it
// returns ends that.
func writeBack(ctx context.Context, files []*writing) (end func()) {
	ctx, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	for _, w := range files {
		if w.out.Unsynced || w.cloned {
			continue
		}
		group.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-time.After(50 * time.Millisecond):
				}
				// It only begins; an error shows at the flush.
				_ = unix.SyncFileRange(int(w.pending.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
			}
		})
	}
	return func() {
		stop()
		group.Wait()
	}
}

// writing is an output that is being written.
type writing struct {
	image.Writer
	ctx     context.Context
	out     Output
	pending *PendingFile
	qcow2   *PendingFile // in a box, which is packed when this is complete
	size    int64
	cloned  bool // and complete
}

func newWriting(ctx context.Context, src image.Source, out Output) (*writing, error) {
	w := &writing{ctx: ctx, out: out, size: src.Size()}
	if err := out.Options.Check(out.Format); err != nil {
		return w, err
	}
	var err error
	if w.pending, err = Create(out.Path); err != nil {
		return w, err
	}
	f, o, name := w.pending.File, out.Options, filepath.Base(out.Path)
	switch out.Format {
	case Raw:
		if raw, ok := src.(interface{ CloneTo(*os.File) error }); ok && raw.CloneTo(f) == nil {
			w.cloned = true
			return w, nil
		}
		w.Writer, err = image.NewRawWriter(f, w.size)
	case RawGzip:
		w.Writer, err = compress.NewGzipWriter(f, w.size, o.Level)
	case RawZstd:
		w.Writer, err = compress.NewZstdWriter(f, w.size, o.Level)
	case Qcow2, Qcow2Zstd, VHDX:
		w.Writer, err = qemuimg.NewWriter(ctx, f, out.Format, w.size, o.Level)
	case VMDK:
		w.Writer, err = vmdk.NewWriter(f, w.size, o.vmdk(name))
	case VHD, VHDFixed:
		w.Writer, err = vhd.NewWriter(f, w.size, vhd.Options{Fixed: out.Format == VHDFixed, Align: o.Align})
	case OVA:
		w.Writer, err = ova.NewWriter(f, w.size, o.ova(name))
	case VagrantVirtualBox:
		w.Writer, err = box.NewVirtualBoxWriter(f, w.size, o.ova(name))
	case VagrantLibvirt:
		if w.qcow2, err = Create(out.Path); err == nil { // which only lends it a folder
			w.Writer, err = qemuimg.NewWriter(ctx, w.qcow2.File, Qcow2Zstd, w.size, o.Level)
		}
	default:
		err = fmt.Errorf("%s cannot be written: use %s", out.Format, formatNames())
	}
	if err != nil {
		w.Writer = nil // and no nil of some writer's type
	}
	return w, err
}

// outputError is an error of one of several outputs.
type outputError struct {
	file *writing
	err  error
}

func (e *outputError) Error() string { return e.err.Error() }
func (e *outputError) Unwrap() error { return e.err }

func (w *writing) Encode(p image.Piece) (func() error, error) {
	write, err := w.Writer.Encode(p)
	if err != nil {
		return nil, &outputError{w, err}
	}
	if write == nil {
		return nil, nil
	}
	return func() error {
		if err := write(); err != nil {
			return &outputError{w, err}
		}
		return nil
	}, nil
}

func (w *writing) Finish() error {
	err := w.Writer.Finish()
	if err == nil && w.qcow2 != nil {
		err = box.PackLibvirt(w.ctx, w.pending, w.qcow2.File, w.size, nil)
	}
	if err != nil {
		return &outputError{w, err}
	}
	return nil
}

func (w *writing) close() {
	if c, ok := w.Writer.(io.Closer); ok { // a QEMU
		c.Close()
	}
	for _, f := range []*PendingFile{w.pending, w.qcow2} {
		if f != nil {
			f.Close()
		}
	}
}

func (w *writing) fail(err error, out Output) error {
	return fmt.Errorf("write %s: %w", out.Path, ExplainSpace(err, filepath.Dir(out.Path), 0))
}
