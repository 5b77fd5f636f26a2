package qcow2

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"

	"github.com/ingot-image/ingot/disk/image"
)

// expand decompresses a cluster into p, which has a cluster's length. Never more than that is produced. The entry tells the data's length in sectors: what
// follows it may belong to the next cluster.
func (q *Reader) expand(p []byte, entry uint64) error {
	host, n := q.compressed(entry)
	n = min(n, q.Headers.Size-host) // the last sector of a file may be cut off
	buffer, _ := q.input.Get().(*[]byte)
	if buffer == nil {
		b := make([]byte, 2*q.cluster) // the most that an entry can tell
		buffer = &b
	}
	defer q.input.Put(buffer)
	in := (*buffer)[:n]
	if got, err := q.R.ReadAt(in, host); got < len(in) {
		if err == io.EOF || err == nil {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	var err error
	if q.layout.zstd {
		err = q.expandZstd(p, in)
	} else {
		err = q.expandDeflate(p, in)
	}
	if err != nil {
		return image.Damaged(image.Qcow2, "compressed cluster at offset %d: %v", host, err)
	}
	return nil
}

func (q *Reader) expandDeflate(p, in []byte) error {
	source := bytes.NewReader(in)
	r, _ := q.deflate.Get().(io.ReadCloser)
	if r == nil {
		r = flate.NewReader(source)
	} else if err := r.(flate.Resetter).Reset(source, nil); err != nil {
		return err
	}
	defer q.deflate.Put(r)
	_, err := io.ReadFull(r, p)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func (q *Reader) expandZstd(p, in []byte) error {
	n, err := frameSize(in)
	if err != nil {
		return err
	}
	out, err := q.zstd.DecodeAll(in[:n], p[:0:len(p)]) // what lies behind p is somebody else's
	if err != nil {
		return err
	}
	if len(out) != len(p) {
		return fmt.Errorf("it has %d bytes instead of %d", len(out), len(p))
	}
	return nil
}

// frameSize finds where the zstd frame ends that data begins with: RFC 8878, 3.1.1.
func frameSize(data []byte) (int, error) {
	var h zstd.Header
	if err := h.Decode(data); err != nil {
		return 0, err
	}
	if h.Skippable {
		return 0, errors.New("a skippable frame")
	}
	for at, last := h.HeaderSize, false; ; {
		if last {
			if h.HasCheckSum {
				at += 4
			}
			if at > len(data) {
				return 0, io.ErrUnexpectedEOF
			}
			return at, nil
		}
		if at+3 > len(data) {
			return 0, io.ErrUnexpectedEOF
		}
		block := int(data[at]) | int(data[at+1])<<8 | int(data[at+2])<<16
		last = block&1 == 1
		size := block >> 3
		if block>>1&3 == 1 { // a byte that is repeated
			size = 1
		}
		at += 3 + size
	}
}
