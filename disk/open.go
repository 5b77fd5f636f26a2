package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/ingot-image/ingot/disk/box"
	"github.com/ingot-image/ingot/disk/compress"
	"github.com/ingot-image/ingot/disk/image"
	"github.com/ingot-image/ingot/disk/ova"
	"github.com/ingot-image/ingot/disk/qcow2"
	"github.com/ingot-image/ingot/disk/vhd"
	"github.com/ingot-image/ingot/disk/vhdx"
	"github.com/ingot-image/ingot/disk/vmdk"
)

// OpenOptions are options of [Open].
type OpenOptions struct {
	// Format that the image has, one of raw, qcow2, VMDK, VHD, VHDX and OVA; empty: what its content says, which must not contradict its name.
	Format Format
	// Limits of what is opened. A compressed image may not come to more than the largest virtual size.
	Limits Limits
	// TempDir is a folder for what a compressed image is expanded into, as a file without a name; default [os.TempDir].
	TempDir string
	// Progress is told how many bytes have come out of a compressed image. It must not block.
	Progress func(done int64)
}

// Disk is an open disk image: its content, whatever the format.
type Disk struct {
	image.Source
	// Info describes the image: of an OVA the VMDK in it, of a compressed file what it was expanded to.
	Info Info
	// Within lists what the image was in, outermost first: "gzip", "ova".
	Within []Format
	// FileSize is the length of the file that was opened, in bytes, and Allocated what it takes up on the host.
	FileSize, Allocated int64

	file    *image.File // that was opened, whatever the image is in
	closers []io.Closer
}

// Unchanged tells whether the file that was opened still has the length and the time of modification that it had then: what was read of it since is
// worth something only if it has. The error names the file.
func (d *Disk) Unchanged() error { return d.file.Unchanged() }

// Close closes the image's file.
func (d *Disk) Close() error {
	var errs []error
	for i := len(d.closers) - 1; i >= 0; i-- {
		errs = append(errs, d.closers[i].Close())
	}
	d.closers = nil
	return errors.Join(errs...)
}

// Open opens a disk image of any format that is read: raw, qcow2, VMDK, VHD, VHDX or OVA, each as it is or compressed by gzip, zstd, xz or bzip2. The image may
// come from anywhere: nothing outside its file is opened, whatever it names, and all that it says is checked (see [CheckSafe], whose errors
// these are).
//
// An OVA is compared with the digests of its manifest, if it has one: all of it is read for that.
//
// A raw disk that begins with another format's header is taken for that format, as all programs do that guess, but only if its name does not
// end in .raw; give the format where it matters.
func Open(ctx context.Context, path string, o OpenOptions) (_ *Disk, err error) {
	if o.Limits.VirtualSize == 0 {
		o.Limits.VirtualSize = DefaultVirtualSizeLimit
	}
	f, size, err := openRegular(path)
	var irregular *notRegularError
	if errors.As(err, &irregular) {
		return nil, &UnsafeError{Path: path, Reason: "it is " + irregular.kind}
	}
	if err != nil {
		return nil, fmt.Errorf("open disk image: %w", err)
	}
	d := &Disk{FileSize: size, Allocated: allocated(f), closers: []io.Closer{f}}
	defer func() {
		if err != nil {
			if d.file != nil && ctx.Err() == nil { // what was found may be that
				if changed := d.Unchanged(); changed != nil {
					err = fmt.Errorf("open disk image: %w", changed)
				}
			}
			d.Close()
			var damaged *FormatError
			if errors.As(err, &damaged) && damaged.Path == "" {
				damaged.Path = path
			}
		}
	}()
	if size == 0 {
		return nil, &UnsafeError{Path: path, Reason: "the file is empty"}
	}
	if d.file, err = image.NewFile(f); err != nil {
		return nil, fmt.Errorf("open disk image: %w", err)
	}
	size = d.file.Size()
	format, err := sniff(f, size)
	if err != nil {
		return nil, fmt.Errorf("open disk image: %w", err)
	}
	if format, err = o.settle(path, path, format); err != nil {
		return nil, err
	}
	return d, d.open(ctx, opening{path: path, name: path, format: format, file: f, r: f, size: size, options: o})
}

// settle decides between what the caller, the name and the content say.
func (o OpenOptions) settle(path, name string, content Format) (Format, error) {
	if o.Format == "" {
		if filepath.Ext(name) == ".img" { // which says nothing: many images of that name are qcow2
			return content, nil
		}
		named, ok := FormatOfName(name)
		if !ok && content == Raw { // which is all that has no signature
			named, ok = packedName(name)
		}
		if ok && named != content {
			return "", &UnsafeError{Path: path, Reason: fmt.Sprintf("named as %s, but the content is %s", named, content), Hint: "give its true format, or check where the file comes from"}
		}
		return content, nil
	}
	if _, compressed := expandable(content); compressed || o.Format == content {
		return content, nil
	}
	if o.Format == Raw { // the caller knows that it is no image of the format that it looks like
		return Raw, nil
	}
	return "", &UnsafeError{Path: path, Reason: fmt.Sprintf("declared as %s, but the content is %s", o.Format, content), Hint: "give its true format, or check where the file comes from"}
}

// packedName tells what a name promises beyond what [FormatOfName] knows, none of which is a raw disk.
func packedName(path string) (Format, bool) {
	switch ext := strings.ToLower(filepath.Ext(path)); ext {
	case ".ova", ".box", ".vdi", ".qed", ".dmg", ".tar", ".tgz", ".gz", ".zst", ".xz", ".bz2", ".zip", ".7z":
		return Format(ext[1:]), true
	}
	return "", false
}

// expandable tells whether a format is a compressed file of one other file.
func expandable(f Format) (Format, bool) {
	switch f {
	case Gzip, Zstd, XZ, Bzip2:
		return f, true
	}
	return "", false
}

// opening is a file, or a part of one, on its way to being a Disk.
type opening struct {
	path    string // for messages
	name    string // which promises a format
	format  Format
	file    *os.File // nil for a part of a file
	r       io.ReaderAt
	size    int64
	options OpenOptions
}

func (d *Disk) open(ctx context.Context, o opening) (err error) {
	switch o.format {
	case Gzip, Zstd, XZ, Bzip2:
		return d.expand(ctx, o)
	case OVA:
		return d.archive(ctx, o)
	case Raw, Qcow2, VMDK, VHD, VHDX:
	default:
		return &UnsafeError{Path: o.path, Reason: fmt.Sprintf("the content is %s", o.format), Hint: otherFormat(o.format)}
	}
	if d.Info, err = probeAs(o.format, o.r, o.size); err != nil {
		return unsupported(o.path, err)
	}
	if err := acceptable(o.path, d.Info, o.options.Limits); err != nil {
		return err
	}
	switch o.format {
	case Raw:
		d.Source, err = source(image.NewFile(o.file))
	case Qcow2:
		d.Source, err = source(qcow2.NewReader(o.r, o.size))
	case VMDK:
		d.Source, err = source(vmdk.NewReader(o.r, o.size))
	case VHD:
		d.Source, err = source(vhd.NewReader(o.r, o.size))
	case VHDX:
		d.Source, err = source(vhdx.NewReader(o.r, o.size))
	}
	if err == nil && d.Source.Size() > o.options.Limits.VirtualSize {
		err = tooLarge(o.path, d.Source.Size(), o.options.Limits)
	}
	return unsupported(o.path, err)
}

// unsupported names the file of an image that is in order but of a kind that is not read.
func unsupported(path string, err error) error {
	if errors.Is(err, errors.ErrUnsupported) {
		return &UnsafeError{Path: path, Reason: err.Error()}
	}
	return err
}

// source keeps a nil reader from becoming a source that is not nil.
func source[S image.Source](s S, err error) (image.Source, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// expand opens what is in a compressed file: directly where that is possible, else it is expanded into a file without a name.
func (d *Disk) expand(ctx context.Context, o opening) error {
	d.Within = append(d.Within, o.format)
	if len(d.Within) > 1 {
		return &UnsafeError{Path: o.path, Reason: fmt.Sprintf("%s in %s", o.format, d.Within[0]), Hint: "decompress it first"}
	}
	inner := o
	inner.name = strings.TrimSuffix(o.name, filepath.Ext(o.name))
	if o.format == Zstd {
		if disk, err := compress.OpenZstd(o.r, o.size); err == nil {
			d.closers = append(d.closers, disk)
			format, err := sniff(disk, disk.Size())
			if err != nil {
				return err
			}
			if format, err = o.options.settle(o.path, inner.name, format); err != nil {
				return err
			}
			if format == Raw {
				d.Info = Info{Format: Raw, VirtualSize: disk.Size(), FileSize: disk.Size(), Compressed: true}
				d.Source = disk
				return acceptable(o.path, d.Info, o.options.Limits)
			}
			inner.format, inner.file, inner.r, inner.size = format, nil, disk, disk.Size()
			return d.open(ctx, inner)
		}
	}
	dir := o.options.TempDir
	if dir == "" {
		dir = os.TempDir()
	}
	temp, err := Create(filepath.Join(dir, "ingot-expanded"))
	if err != nil {
		return err
	}
	d.closers = append(d.closers, temp) // which is never committed
	size, err := compress.Expand(ctx, io.NewSectionReader(o.r, 0, o.size), o.format, temp.File, o.options.Limits.VirtualSize, o.options.Progress)
	if changed := d.Unchanged(); changed != nil && ctx.Err() == nil { // nobody reads it again
		return changed
	}
	var limit *compress.LimitError
	if errors.As(err, &limit) {
		return &UnsafeError{Path: o.path, Reason: fmt.Sprintf("it comes to more than %s", formatBytes(o.options.Limits.VirtualSize))}
	}
	if err != nil {
		return fmt.Errorf("expand %s: %w", o.path, ExplainSpace(err, dir, 0))
	}
	format, err := sniff(temp, size)
	if err != nil {
		return err
	}
	if inner.format, err = o.options.settle(o.path, inner.name, format); err != nil {
		return err
	}
	inner.file, inner.r, inner.size = temp.File, temp, size
	return d.open(ctx, inner)
}

// archive opens the VMDK in an OVA or a Vagrant box, or the qcow2 image in a box.
func (d *Disk) archive(ctx context.Context, o opening) error {
	inner := o
	inner.file = nil
	qcow2Image, size, boxed, err := box.OpenLibvirt(o.r, o.size)
	if err != nil {
		return err
	}
	if boxed {
		d.Within = append(d.Within, VagrantLibvirt)
		inner.format, inner.r, inner.size = Qcow2, qcow2Image, size
		return d.open(ctx, inner)
	}
	a, err := ova.Open(o.r, o.size)
	for _, unsupported := range []error{ova.ErrSeveralDisks, ova.ErrNoDisk, ova.ErrOutside, ova.ErrCompressed, ova.ErrChunked} {
		if errors.Is(err, unsupported) {
			return &UnsafeError{Path: o.path, Reason: err.Error()}
		}
	}
	if err != nil {
		return err
	}
	if err := a.Verify(ctx); err != nil && !errors.Is(err, ova.ErrNoManifest) {
		return err
	}
	d.Within = append(d.Within, OVA)
	inner.format = VMDK
	inner.r, inner.size = a.Disk()
	return d.open(ctx, inner)
}
