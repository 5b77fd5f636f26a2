// Package image is what all formats of disk images share: a disk is bytes with holes, a [Source], wherever they come from, and [Copy] reads
// a source once and gives what it holds to any number of [Writer]s, each of which makes one file of some format.
//
//	raw, err := image.OpenFile("disk.raw")
//	…
//	out, err := vmdk.NewWriter(f, raw.Size(), vmdk.Options{Name: "disk.vmdk"})
//	…
//	err = image.Copy(ctx, raw, image.CopyOptions{}, out)
//
// The formats are in packages of their own beside this one; package disk puts them together and is what programs use.
package image

import (
	"context"
	"errors"
	"io"
)

// PieceSize is the unit in which disks are copied, in bytes: pieces start at multiples of it. It is a multiple of every format's unit but that
// of VHD, whose blocks are two of it.
const PieceSize = 1 << 20

// SectorSize is what sizes of disks are multiples of, in bytes.
const SectorSize = 512

// Extent is a range of bytes on a disk.
type Extent struct{ Start, Size int64 }

// End is the first byte behind the extent.
func (e Extent) End() int64 { return e.Start + e.Size }

// Source is the content of a disk.
type Source interface {
	// ReadAt reads like [io.ReaderAt]: it may be called by several goroutines at once, and what is in no extent reads as zeros. Nothing is there
	// at and beyond Size: io.EOF.
	io.ReaderAt
	// Size of the disk in bytes.
	Size() int64
	// Extents calls f for each range that may hold anything but zeros: in order, none empty, none touching another one or reaching
	// beyond the disk. It returns f's first error, or ctx's cause, or what is wrong with the source.
	Extents(ctx context.Context, f func(Extent) error) error
}

// Unchanged is a source that can tell whether it is still what it was when it was opened. Copy asks when it has read everything.
type Unchanged interface {
	// Unchanged returns an error that says what has changed.
	Unchanged() error
}

// Level says how hard a writer compresses.
type Level int

// The levels. Default gives files about as small as zlib's level 6, zstd's 3.
const (
	Default Level = iota
	Fast
	Best
)

func (l Level) String() string {
	switch l {
	case Fast:
		return "fast"
	case Best:
		return "best"
	}
	return "default"
}

// MarshalText gives the level's name.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads a level's name: fast, default or best. Empty is default.
func (l *Level) UnmarshalText(text []byte) error {
	switch string(text) {
	case "fast":
		*l = Fast
	case "", "default":
		*l = Default
	case "best":
		*l = Best
	default:
		return errors.New("must be fast, default or best")
	}
	return nil
}

// Piece is a piece of a disk that is not all zeros: PieceSize bytes from a multiple of PieceSize, or what is left at the end of the disk.
type Piece struct {
	Start int64
	Data  []byte // not to be changed
}

// Writer makes a file of some format from a disk's pieces. What it has written is a function of the disk and its options alone: not of how the
// source stores it, or of the number of CPUs.
type Writer interface {
	// Encode does with a piece what can be done in any order: it is called by several goroutines at once. It returns what is to be done in
	// the order of the disk, or nil. The piece's data is there until that has returned.
	//
	// Pieces that never come hold zeros.
	Encode(p Piece) (write func() error, err error)
	// Finish writes what comes last. It is called once, when all pieces are written.
	Finish() error
}
