package image

import (
	"errors"
	"fmt"
	"os"
)

// RawWriter writes a raw disk into a file; zeros become holes.
type RawWriter struct {
	file *os.File
	size int64
}

// NewRawWriter writes a disk of size bytes into an empty file.
func NewRawWriter(f *os.File, size int64) (*RawWriter, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() != 0 {
		return nil, errors.New("the file for the raw disk is not empty")
	}
	if size < 0 {
		return nil, fmt.Errorf("a disk of %d bytes", size)
	}
	return &RawWriter{f, size}, f.Truncate(size)
}

// rawBlock is the unit in which zeros become holes.
const rawBlock = 64 << 10

// Encode writes the piece where it belongs.
func (w *RawWriter) Encode(p Piece) (func() error, error) {
	for start := 0; start < len(p.Data); {
		if end := min(start+rawBlock, len(p.Data)); IsZero(p.Data[start:end]) {
			start = end
			continue
		}
		end := start
		for end < len(p.Data) && !IsZero(p.Data[end:min(end+rawBlock, len(p.Data))]) {
			end = min(end+rawBlock, len(p.Data))
		}
		if _, err := w.file.WriteAt(p.Data[start:end], p.Start+int64(start)); err != nil {
			return nil, err
		}
		start = end
	}
	return nil, nil
}

// Finish has nothing left to do.
func (w *RawWriter) Finish() error { return nil }
