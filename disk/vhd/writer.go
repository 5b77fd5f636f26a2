package vhd

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"

	"github.com/cespare/xxhash/v2"

	"github.com/ingot-image/ingot/disk/image"
)

const (
	// MaxSize is the size of the largest disk that a VHD holds, in bytes: 2040 GiB.
	MaxSize = 2040 << 30
	// AzureAlign is the unit that Azure wants the size of disks to be a multiple of, in bytes.
	AzureAlign = 1 << 20

	blockSize  = 2 << 20
	bitmapSize = blockSize / 512 / 8
	tableAt    = footerSize + headerSize

	// Blocks begin where pages do, as those of Windows and XenServer, and sectors are marked as used by the page.
	page         = 4 << 10
	pagesInPiece = image.PieceSize / page
	// hole is the least number of pages of zeros that are left out when a block is written.
	hole = 16
)

// File is what a [Writer] writes to: an [os.File] is one.
type File interface {
	io.WriterAt
	Truncate(size int64) error
}

// Options are options of a [Writer]. The zero value makes a dynamic disk.
type Options struct {
	// Fixed makes a disk without a table: as long as the disk and a footer, with holes where the disk has zeros. Azure takes no other.
	Fixed bool
	// Align is what the size of the disk is rounded up to a multiple of, in bytes, itself a multiple of 512; see [AzureAlign]. 0: the size is
	// kept as it is.
	Align int64
}

// Writer writes a VHD. It is an [image.Writer].
//
// What it writes is a function of the disk's content and the options: the disk's unique identifier is derived from both, and its time of creation is
// the start of the year 2000, the format's zero.
type Writer struct {
	f     File
	size  int64
	fixed bool
	sum   hash.Hash // of all pieces' places and checksums

	table  []byte // sectors of all blocks, big endian
	end    int64  // of the last block
	block  int64  // number of the block that is written, -1: none yet
	at     int64  // where it is
	bitmap [bitmapSize]byte
}

var _ image.Writer = (*Writer)(nil)

// DiskSize is the size, in bytes, of the disk in a VHD that is written of one of size bytes: aligned. The error says why a VHD cannot hold it.
func DiskSize(size int64, o Options) (int64, error) {
	if o.Align < 0 || o.Align%512 != 0 || o.Align > MaxSize {
		return 0, fmt.Errorf("VHD: an alignment of %d bytes: give a multiple of 512", o.Align)
	}
	if size <= 0 || size > MaxSize {
		return 0, fmt.Errorf("VHD: a disk of %d bytes: the format holds at most 2040 GiB (%d bytes), and no empty disk", size, int64(MaxSize))
	}
	given := size
	if o.Align > 0 {
		size = (size + o.Align - 1) / o.Align * o.Align
	}
	if size%512 != 0 {
		return 0, fmt.Errorf("VHD: a disk of %d bytes: the format holds whole sectors of 512 bytes", size)
	}
	if size > MaxSize {
		return 0, fmt.Errorf("VHD: a disk of %d bytes, rounded up to a multiple of %d: the format holds at most 2040 GiB (%d bytes)", given, o.Align, int64(MaxSize))
	}
	return size, nil
}

// NewWriter writes a disk of size bytes, a multiple of 512 or with Align anything, into an empty file. It is an error if the disk is larger
// than [MaxSize].
func NewWriter(f File, size int64, o Options) (*Writer, error) {
	size, err := DiskSize(size, o)
	if err != nil {
		return nil, err
	}
	w := &Writer{f: f, size: size, fixed: o.Fixed, sum: sha256.New(), block: -1}
	fmt.Fprintf(w.sum, "VHD %t %d", w.fixed, size)
	// It is not emptied here: ext4 would wait for the disk when a file is closed that was, fearing that it replaces another one.
	if s, ok := f.(interface{ Stat() (fs.FileInfo, error) }); ok {
		if st, err := s.Stat(); err != nil {
			return nil, err
		} else if st.Size() != 0 {
			return nil, errors.New("VHD: the file is not empty")
		}
	}
	if w.fixed {
		return w, f.Truncate(size)
	}
	w.table = make([]byte, (4*((size+blockSize-1)/blockSize)+511)&^511)
	for i := range w.table {
		w.table[i] = 0xff
	}
	w.end = tableAt + int64(len(w.table))
	return w, nil
}

// Size is the size of the disk in the file, in bytes: that given to [NewWriter], aligned.
func (w *Writer) Size() int64 { return w.size }

// Encode finds out what of a piece holds no zeros.
func (w *Writer) Encode(p image.Piece) (func() error, error) {
	if len(p.Data) == 0 || len(p.Data) > image.PieceSize || p.Start%image.PieceSize != 0 || p.Start < 0 || int64(len(p.Data)) > w.size-p.Start {
		return nil, fmt.Errorf("VHD: a piece of %d bytes at %d for a disk of %d", len(p.Data), p.Start, w.size)
	}
	var used [pagesInPiece]byte
	for i := range (len(p.Data) + page - 1) / page {
		if !image.IsZero(p.Data[i*page : min((i+1)*page, len(p.Data))]) {
			used[i] = 0xff
		}
	}
	if used == [pagesInPiece]byte{} {
		return nil, nil
	}
	sum := xxhash.Sum64(p.Data)
	return func() error {
		var record [16]byte
		binary.BigEndian.PutUint64(record[:], uint64(p.Start))
		binary.BigEndian.PutUint64(record[8:], sum)
		w.sum.Write(record[:])
		if w.fixed { // writing from several goroutines would only make them wait for the file's lock
			return w.write(p.Data, p.Start, &used)
		}
		return w.add(p, &used)
	}, nil
}

// add writes a piece into its block, which it begins if the piece is its first.
func (w *Writer) add(p image.Piece, used *[pagesInPiece]byte) error {
	if n := p.Start / blockSize; n != w.block {
		if err := w.endBlock(); err != nil {
			return err
		}
		w.block, w.bitmap = n, [bitmapSize]byte{}
		w.at = (w.end+bitmapSize+page-1)/page*page - bitmapSize
		w.end = w.at + bitmapSize + blockSize
		binary.BigEndian.PutUint32(w.table[4*n:], uint32(w.at/512))
	}
	in := p.Start % blockSize
	copy(w.bitmap[in/page:], used[:])
	return w.write(p.Data, w.at+bitmapSize+in, used)
}

// endBlock writes the bitmap of the block that is complete.
func (w *Writer) endBlock() error {
	if w.block < 0 {
		return nil
	}
	_, err := w.f.WriteAt(w.bitmap[:], w.at)
	return err
}

// write writes what is used of data, with short gaps between.
func (w *Writer) write(data []byte, off int64, used *[pagesInPiece]byte) error {
	for i := 0; i < pagesInPiece; i++ {
		if used[i] == 0 {
			continue
		}
		first, last := i, i
		for ; i < pagesInPiece && i-last <= hole; i++ {
			if used[i] != 0 {
				last = i
			}
		}
		if _, err := w.f.WriteAt(data[first*page:min((last+1)*page, len(data))], off+int64(first)*page); err != nil {
			return err
		}
		i = last
	}
	return nil
}

// Finish writes the headers and the footer.
func (w *Writer) Finish() error {
	if w.fixed {
		_, err := w.f.WriteAt(encodeFooter(w.size, typeFixed, noOffset, uuid(w.sum)), w.size)
		return err
	}
	if err := w.endBlock(); err != nil {
		return err
	}
	footer := encodeFooter(w.size, typeDynamic, footerSize, uuid(w.sum))
	head := append(append(footer, encodeHeader(tableAt, int((w.size+blockSize-1)/blockSize))...), w.table...)
	if _, err := w.f.WriteAt(head, 0); err != nil {
		return err
	}
	_, err := w.f.WriteAt(head[:footerSize], w.end)
	return err
}
