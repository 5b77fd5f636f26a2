// Package tarfile writes tar archives with a member whose length is known only when it has been written: its header is put in afterwards.
//
//	t := tarfile.New(f)
//	at, err := t.Add("disk.ovf", placeholder)
//	…
//	err = t.Begin("disk.vmdk")
//	…
//	_, err = io.Copy(t, vmdk)
//	size, err := t.End()
//	…
//	err = t.Replace(at, descriptor) // as long as the placeholder
//	err = t.Close()
//
// The same members give the same bytes always: mode 0644, owner 0, and one time for all.
package tarfile

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"
)

// File is what an archive is written to, empty and at its beginning.
type File interface {
	io.Writer
	io.WriterAt
}

const (
	block = 512
	// record is what tar programs fill the last one of: POSIX, pax, "ustar Interchange Format"; some readers ask for it.
	record = 20 * block
	// maxUSTAR is the first length that has no room in the 11 octal digits of a ustar header.
	maxUSTAR = 8 << 30
)

// modTime of all members. Not the epoch itself, which tar programs warn about.
var modTime = time.Unix(315532800, 0) // 1980-01-01

// Header is the header of a regular file. It is ustar; from 8 GiB on, where that ends, it has GNU tar's binary length, which vSphere, VirtualBox
// and bsdtar read, and not an extended header of pax, which vSphere refuses (vmware/open-vmdk, pull request 65).
func Header(name string, size int64) *tar.Header {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: modTime, Format: tar.FormatUSTAR}
	if size >= maxUSTAR {
		h.Format = tar.FormatGNU
	}
	return h
}

func headerBlock(name string, size int64) ([]byte, error) {
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(Header(name, size)); err != nil {
		return nil, err
	}
	if b.Len() != block {
		return nil, fmt.Errorf("the name %q is too long for a tar archive", name)
	}
	return b.Bytes(), nil
}

// Writer writes an archive. It is for one goroutine.
type Writer struct {
	f     File
	at    int64  // bytes written
	name  string // of the member begun
	start int64  // of its header
	err   error
}

// New begins an archive at the beginning of f.
func New(f File) *Writer { return &Writer{f: f} }

var errOrder = errors.New("tar member added or ended out of order")

// Add writes a whole member and returns where its bytes begin.
func (w *Writer) Add(name string, data []byte) (at int64, err error) {
	if w.name != "" {
		return 0, errOrder
	}
	h, err := headerBlock(name, int64(len(data)))
	if err != nil {
		return 0, err
	}
	at = w.at + block
	w.write(h)
	w.write(data)
	w.pad(block)
	return at, w.err
}

// Begin begins a member that is then written to.
func (w *Writer) Begin(name string) error {
	if w.name != "" {
		return errOrder
	}
	if _, err := headerBlock(name, 0); err != nil {
		return err
	}
	w.name, w.start = name, w.at
	w.write(make([]byte, block))
	return w.err
}

// Write writes to the member begun.
func (w *Writer) Write(p []byte) (int, error) {
	if w.name == "" {
		return 0, errOrder
	}
	return w.write(p)
}

// End ends the member begun and returns its length.
func (w *Writer) End() (int64, error) {
	if w.name == "" {
		return 0, errOrder
	}
	size := w.at - w.start - block
	h, err := headerBlock(w.name, size)
	if err != nil {
		return 0, err
	}
	w.pad(block)
	w.name = ""
	return size, w.Replace(w.start, h)
}

// Replace overwrites bytes written before.
func (w *Writer) Replace(at int64, data []byte) error {
	if w.err == nil {
		_, w.err = w.f.WriteAt(data, at)
	}
	return w.err
}

// Close writes the end of the archive. The file stays open.
func (w *Writer) Close() error {
	if w.name != "" {
		return errOrder
	}
	w.write(make([]byte, 2*block))
	w.pad(record)
	return w.err
}

func (w *Writer) write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.f.Write(p)
	w.at += int64(n)
	w.err = err
	return n, err
}

func (w *Writer) pad(unit int64) {
	if n := w.at % unit; n != 0 {
		w.write(make([]byte, unit-n))
	}
}
