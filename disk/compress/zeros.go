package compress

import (
	"bytes"
	"io"
)

// deflated is a run of zeros as deflate data (RFC 1951): what stands before the body, the body's length, all of it zero bytes, and what stands
// behind. It begins and ends on a byte's border and refers to nothing before it.
type deflated struct {
	head []byte
	body int64
	tail []byte
}

// deflateZeros is n zero bytes, at deflate's best ratio: one block with Huffman codes such that a match of the greatest length, 258 bytes, is
// two bits, and these are zeros. So runs of any length are written without compressing anything.
func deflateZeros(n int64) deflated {
	const (
		codes   = 286 // of literals and lengths: 0..255, end of block, lengths
		longest = 258 // symbol 285
	)
	var w bitWriter
	w.bits(0, 1)         // not the last block
	w.bits(2, 2)         // dynamic Huffman codes
	w.bits(codes-257, 5) // HLIT
	w.bits(0, 5)         // HDIST: one distance
	w.bits(18-4, 4)      // HCLEN: 18 lengths of codes of lengths of codes
	// In the order 16 17 18 0 8 7 9 6 10 5 11 4 12 3 13 2 14 1: 18, a run of lengths of zero, has a code of 1 bit, 0; lengths 1 and 2 have
	// 2 bits, 10 and 11.
	for _, length := range [18]uint{2: 1, 15: 2, 17: 2} {
		w.bits(length, 3)
	}
	one := func() { w.code(0b10, 2) }
	two := func() { w.code(0b11, 2) }
	none := func(n uint) { // 11 to 138 lengths of zero
		w.code(0, 1)
		w.bits(n-11, 7)
	}
	two() // literal 0: its code will be 10
	none(138)
	none(255 - 138)
	two() // end of block: 11
	none(285 - 257)
	one() // length 258: 0
	one() // distance 1: 0

	for range (n-1)%longest + 1 { // literals, the first of which the matches repeat
		w.code(0b10, 2)
	}
	matches := (n - 1) / longest
	d := deflated{}
	for ; matches > 0 && w.n != 0; matches-- { // up to a byte's border, where there is one: codes are of 2 bits
		if w.n%2 != 0 {
			break
		}
		w.bits(0, 2)
	}
	rest := 2 * matches // bits
	if w.n != 0 {       // an odd place: the border lies within a match's code
		fill := min(rest, int64(8-w.n))
		w.bits(0, uint(fill))
		rest -= fill
	}
	d.head = w.out.Bytes()
	d.body = rest / 8
	tail := bitWriter{n: w.n, last: w.last}
	tail.bits(0, uint(rest%8))
	tail.code(0b11, 2) // end of block
	tail.bits(0, 3)    // an empty stored block, as a sync flush ends with
	if tail.n != 0 {
		tail.bits(0, 8-tail.n)
	}
	tail.out.Write([]byte{0, 0, 0xff, 0xff})
	d.tail = tail.out.Bytes()
	return d
}

// writeTo writes the data; zeros is a buffer of zeros.
func (d deflated) writeTo(w io.Writer, zeros []byte) error {
	if _, err := w.Write(d.head); err != nil {
		return err
	}
	for left := d.body; left > 0; {
		n := min(left, int64(len(zeros)))
		if _, err := w.Write(zeros[:n]); err != nil {
			return err
		}
		left -= n
	}
	_, err := w.Write(d.tail)
	return err
}

// bitWriter packs bits into bytes from the lowest on.
type bitWriter struct {
	out  bytes.Buffer
	last byte
	n    uint // bits in last, 0..7
}

func (w *bitWriter) bits(v, n uint) {
	for ; n > 0; n-- {
		w.last |= byte(v&1) << w.n
		v >>= 1
		if w.n++; w.n == 8 {
			w.out.WriteByte(w.last)
			w.last, w.n = 0, 0
		}
	}
}

// code writes a Huffman code, which goes with its highest bit first.
func (w *bitWriter) code(v, n uint) {
	for i := n; i > 0; i-- {
		w.bits(v>>(i-1), 1)
	}
}
