package inspect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Bounds of LZ4, by its formats (lz4's doc/lz4_Frame_format.md): what a block expands to, and how far back it may refer.
const (
	lz4LegacyBlock = 8 << 20
	lz4Window      = 64 << 10
	lz4Legacy      = 0x184c2102
	lz4Frame       = 0x184d2204
)

var errLZ4 = errors.New("what is compressed by lz4 is damaged")

// lz4Reader expands LZ4: the legacy format, which is the one that Linux reads (lib/decompress_unlz4.c), and frames. Checksums are not verified: what is read
// is names, and the kernel does not verify them either. It holds one block at a time, of at most 8 MiB and what it refers back to.
type lz4Reader struct {
	r       io.Reader
	legacy  bool
	linked  bool // blocks refer to those before
	block   int  // what a block may expand to
	check   bool // a checksum is behind each block
	tail    bool // a checksum is at the frame's end
	history int  // bytes at the beginning of out that were given already
	out     []byte
	in      []byte
	at      int
	err     error
}

// newLZ4 reads the header that r begins with.
func newLZ4(r io.Reader) (*lz4Reader, error) {
	z := &lz4Reader{r: r}
	magic, err := z.word()
	if err != nil {
		return nil, err
	}
	return z, z.begin(magic)
}

func (z *lz4Reader) word() (uint32, error) {
	var b [4]byte
	_, err := io.ReadFull(z.r, b[:])
	return binary.LittleEndian.Uint32(b[:]), err
}

func (z *lz4Reader) begin(magic uint32) error {
	switch magic {
	case lz4Legacy:
		z.legacy, z.block = true, lz4LegacyBlock
		return nil
	case lz4Frame:
	default:
		return fmt.Errorf("%w: it begins with %08x", errLZ4, magic)
	}
	var b [2]byte
	if _, err := io.ReadFull(z.r, b[:]); err != nil {
		return err
	}
	size := b[1] >> 4 & 7
	if b[0]>>6 != 1 || size < 4 || b[0]&1 != 0 { // version 1, no dictionary
		return fmt.Errorf("%w: a frame of a kind that is not known", errLZ4)
	}
	z.linked, z.check, z.tail, z.block = b[0]&0x20 == 0, b[0]&0x10 != 0, b[0]&4 != 0, 1<<(8+2*int(size))
	rest := int64(1) // the header's checksum
	if b[0]&8 != 0 {
		rest += 8
	}
	_, err := io.CopyN(io.Discard, z.r, rest)
	return err
}

// Read gives io.EOF at the end of the frame, or of what is in the legacy format: the end of the file, or zeros.
func (z *lz4Reader) Read(p []byte) (int, error) {
	for z.at == len(z.out) && z.err == nil {
		z.err = z.next()
	}
	if z.at < len(z.out) {
		n := copy(p, z.out[z.at:])
		z.at += n
		return n, nil
	}
	return 0, z.err
}

func (z *lz4Reader) Close() error { return nil }

// next expands a block.
func (z *lz4Reader) next() error {
	size, err := z.word()
	switch {
	case z.legacy && (err != nil || size == 0):
		if err == io.ErrUnexpectedEOF { // fewer than four bytes are padding
			err = io.EOF
		}
		if err == nil {
			err = io.EOF
		}
		return err
	case z.legacy && size == lz4Legacy: // another one behind it
		return nil
	case err != nil:
		return io.ErrUnexpectedEOF
	case !z.legacy && size == 0:
		if z.tail {
			_, err = z.word()
		}
		if err == nil {
			err = io.EOF
		}
		return err
	}
	plain := !z.legacy && size>>31 != 0
	if plain {
		size &= 1<<31 - 1
	}
	if int64(size) > int64(z.block)+int64(z.block)/255+16 { // LZ4_COMPRESSBOUND
		return fmt.Errorf("%w: a block of %d bytes", errLZ4, size)
	}
	if cap(z.in) < int(size) {
		z.in = make([]byte, size)
	}
	z.in = z.in[:size]
	if _, err := io.ReadFull(z.r, z.in); err != nil {
		return io.ErrUnexpectedEOF
	}
	if z.check {
		if _, err := z.word(); err != nil {
			return io.ErrUnexpectedEOF
		}
	}
	z.history = 0
	if z.linked {
		z.history = copy(z.out, z.out[max(0, len(z.out)-lz4Window):])
	}
	z.out, z.at = z.out[:z.history], z.history
	if plain {
		if int(size) > z.block {
			return errLZ4
		}
		z.out = append(z.out, z.in...)
		return nil
	}
	if z.out, err = expandLZ4(z.out, z.in, z.history+z.block); err != nil {
		z.out = z.out[:z.history]
	}
	return err
}

// expandLZ4 appends what a block holds to out, to at most limit bytes: lz4's doc/lz4_Block_format.md.
func expandLZ4(out, in []byte, limit int) ([]byte, error) {
	length := func(n int) (int, bool) {
		if n != 15 {
			return n, true
		}
		for len(in) > 0 && n <= limit {
			b := in[0]
			in = in[1:]
			if n += int(b); b != 255 {
				return n, true
			}
		}
		return 0, false
	}
	for len(in) > 0 {
		token := in[0]
		in = in[1:]
		n, ok := length(int(token >> 4))
		if !ok || n > len(in) || n > limit-len(out) {
			return out, errLZ4
		}
		out, in = append(out, in[:n]...), in[n:]
		if len(in) == 0 {
			return out, nil // the last sequence has no match
		}
		if len(in) < 2 {
			return out, errLZ4
		}
		back := int(in[0]) | int(in[1])<<8
		in = in[2:]
		n, ok = length(int(token & 15))
		n += 4
		if !ok || back == 0 || back > len(out) || n > limit-len(out) {
			return out, errLZ4
		}
		for n > 0 { // a match may overlap what it makes
			m := min(n, back)
			out = append(out, out[len(out)-back:len(out)-back+m]...)
			n -= m
		}
	}
	return out, errLZ4 // a block ends with literals
}
