package ova

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"math"
	"sync/atomic"

	"github.com/ingot-image/ingot/disk/image"
	"github.com/ingot-image/ingot/disk/internal/tarfile"
	"github.com/ingot-image/ingot/disk/vmdk"
)

// File is what an archive is written to: an empty file, at its beginning. The descriptor and the headers of members are put in when all else is written.
type File = tarfile.File

// Layout is what an archive of a descriptor and its disk has in it. An OVA's is fixed; Vagrant boxes for VirtualBox are made in the same way.
type Layout struct {
	Kind       string  // what errors call it
	First      []Entry // members before the descriptor
	Descriptor string  // names of members
	Disk       string
	Manifest   string // empty: none
}

// Entry is a small member of an archive.
type Entry struct {
	Name string
	Data []byte
}

// Writer writes an archive: an [image.Writer].
type Writer struct {
	machine   resolved
	layout    Layout
	tar       *tarfile.Writer
	disk      image.Writer
	hash      hash.Hash // of the VMDK; nil without a manifest
	file      diskFile
	populated atomic.Int64
	at        int64 // where the descriptor is
	room      int   // that it has
}

// NewWriter begins an OVA of a disk of size bytes. Errors name all options that are wrong, or why a VMDK cannot hold such a disk.
//
// A member of 8 GiB or more has the binary length of GNU tar: DSP0243 asks for ustar, which ends there; vSphere and VirtualBox read this.
func NewWriter(f File, size int64, o Options) (*Writer, error) {
	base := fileName(o.Name)
	return NewLayoutWriter(f, size, o, Layout{Kind: "ova", Descriptor: base + ".ovf", Disk: base + "-disk1.vmdk", Manifest: base + ".mf"})
}

// NewLayoutWriter begins an archive of another layout.
func NewLayoutWriter(f File, size int64, o Options, l Layout) (*Writer, error) {
	w := &Writer{layout: l, tar: tarfile.New(f), file: diskFile{Name: l.Disk, Capacity: size}}
	if err := w.begin(size, o); err != nil {
		return nil, fmt.Errorf("write %s: %w", l.Kind, err)
	}
	return w, nil
}

func (w *Writer) begin(size int64, o Options) (err error) {
	if w.machine, err = o.resolve(); err != nil {
		return err
	}
	for _, e := range w.layout.First {
		if _, err := w.tar.Add(e.Name, e.Data); err != nil {
			return err
		}
	}
	longest := w.file
	longest.Size, longest.Populated = math.MaxInt64, math.MaxInt64
	placeholder, err := w.machine.descriptor(longest)
	if err != nil {
		return err
	}
	w.room = len(placeholder)
	if w.at, err = w.tar.Add(w.layout.Descriptor, placeholder); err != nil {
		return err
	}
	if err := w.tar.Begin(w.layout.Disk); err != nil {
		return err
	}
	var out io.Writer = w.tar
	if w.layout.Manifest != "" {
		w.hash = sha256.New()
		out = io.MultiWriter(w.tar, w.hash)
	}
	w.disk, err = vmdk.NewWriter(out, size, vmdk.Options{Name: w.layout.Disk, Level: o.Level, AdapterType: w.machine.controller.adapter, ToolsVersion: o.ToolsVersion})
	return err
}

// Encode compresses a piece.
func (w *Writer) Encode(p image.Piece) (func() error, error) {
	w.populated.Add(populated(p))
	return w.disk.Encode(p)
}

// populated is how many bytes of a piece are in grains that are not all zeros.
func populated(p image.Piece) int64 {
	const grain = 64 << 10
	n := 0
	for b := p.Data; len(b) > 0; b = b[min(grain, len(b)):] {
		if g := b[:min(grain, len(b))]; !image.IsZero(g) {
			n += len(g)
		}
	}
	return int64(n)
}

// Finish writes the end of the VMDK, the manifest and, at last, the descriptor.
func (w *Writer) Finish() error {
	if err := w.finish(); err != nil {
		return fmt.Errorf("write %s: %w", w.layout.Kind, err)
	}
	return nil
}

func (w *Writer) finish() (err error) {
	if err := w.disk.Finish(); err != nil {
		return err
	}
	if w.file.Size, err = w.tar.End(); err != nil {
		return err
	}
	w.file.Populated = w.populated.Load()
	text, err := w.machine.descriptor(w.file)
	if err != nil {
		return err
	}
	for len(text) < w.room { // white space may follow the root element
		text = append(text, '\n')
	}
	if w.hash != nil { // the form that ovftool and openssl write: DSP0243 1.1, section 5.1
		manifest := fmt.Sprintf("SHA256(%s)= %x\nSHA256(%s)= %x\n", w.layout.Descriptor, sha256.Sum256(text), w.layout.Disk, w.hash.Sum(nil))
		if _, err := w.tar.Add(w.layout.Manifest, []byte(manifest)); err != nil {
			return err
		}
	}
	if err := w.tar.Replace(w.at, text); err != nil {
		return err
	}
	return w.tar.Close()
}
