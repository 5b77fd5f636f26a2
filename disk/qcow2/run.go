package qcow2

import (
	"encoding/binary"
	"math/bits"

	"github.com/ingot-image/ingot/disk/image"
)

// runKind is how a part of the disk is stored.
type runKind int

const (
	hole       runKind = iota // not, or as zeros
	plain                     // as it is
	compressed                // in one compressed cluster
)

// run is a part of the disk that is stored in one way.
type run struct {
	kind  runKind
	host  int64  // offset in the file: of the first byte if plain, of the compressed data
	end   int64  // on the disk
	entry uint64 // of the L2 table, if compressed
}

// run finds how the disk is stored at off, and how far, up to limit, and not beyond what one L2 table describes.
func (q *Reader) run(off, limit int64) (run, error) {
	span := q.span()
	index := off / span
	limit = min(limit, (index+1)*span)
	if limit < off { // the sum was too large
		limit = q.size
	}
	tableAt := q.l2Offset(index)
	if tableAt == 0 {
		return run{kind: hole, end: limit}, nil
	}
	table, err := q.l2.get(tableAt, func() ([]byte, error) { return q.At("L2 table", tableAt, q.cluster) })
	if err != nil {
		return run{}, err
	}
	r, err := q.one(table, off)
	for err == nil && r.end < limit && r.kind != compressed {
		var next run
		if next, err = q.one(table, r.end); err != nil {
			return run{kind: r.kind, host: r.host, end: r.end}, nil // what comes before the damage can be read
		}
		if next.kind != r.kind || r.kind == plain && next.host != r.host+(r.end-off) {
			break
		}
		r.end = next.end
	}
	r.end = min(r.end, limit)
	return r, err
}

// one finds how the disk is stored from off to the end of a cluster or of some of its subclusters: sections "L2 table entries", "Extended L2 Entries".
func (q *Reader) one(table []byte, off int64) (run, error) {
	at := off % q.span() / q.cluster * q.entry
	e := binary.BigEndian.Uint64(table[at:])
	inside := off % q.cluster
	end := off - inside + q.cluster
	if e&compressedFlag != 0 {
		host, _ := q.compressed(e)
		if host >= q.Headers.Size {
			return run{}, image.Damaged(image.Qcow2, "compressed cluster at offset %d, beyond the end of the file (%d bytes)", host, q.Headers.Size)
		}
		return run{kind: compressed, host: host, end: end, entry: e}, nil
	}
	host := int64(e & offsetMask)
	if host%q.cluster != 0 {
		return run{}, image.Damaged(image.Qcow2, "data cluster at unaligned offset %d", host)
	}
	if q.incompatible&extendedL2 != 0 {
		return q.subclusters(binary.BigEndian.Uint64(table[at+8:]), host, off)
	}
	switch {
	case e&zeroFlag != 0 && q.version < 3:
		return run{}, image.Damaged(image.Qcow2, "zero cluster in an image of version 2")
	case e&zeroFlag != 0 || host == 0:
		return run{kind: hole, end: end}, nil
	}
	return run{kind: plain, host: host + inside, end: end}, nil
}

// subclusters tells it of a cluster that has 32 of them: the lower half of bitmap has those with data, the upper half those that read as zeros.
func (q *Reader) subclusters(bitmap uint64, host, off int64) (run, error) {
	data, zero := uint32(bitmap), uint32(bitmap>>32)
	if data&zero != 0 || data != 0 && host == 0 {
		return run{}, image.Damaged(image.Qcow2, "subclusters with data and zeros, or with data nowhere: bitmap %#x", bitmap)
	}
	size := q.cluster / 32
	inside := off % q.cluster
	i := int(inside / size)
	r := run{kind: hole}
	same := bits.TrailingZeros32(data >> i) // how many without data follow
	if data>>i&1 == 1 {
		r = run{kind: plain, host: host + inside}
		same = bits.TrailingZeros32(^(data >> i))
	}
	r.end = off - inside + int64(min(i+same, 32))*size
	return r, nil
}
