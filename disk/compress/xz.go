package compress

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"runtime"

	"github.com/ulikunitz/xz/lzma"

	"github.com/ingot-image/ingot/disk/image"
)

// maxDictionary is the longest dictionary of an xz file that is read, in bytes: that of xz -9.
const maxDictionary = 64 << 20

// xz reads files of the .xz format, version 1.2.0 (doc/xz-file-format.txt of XZ Utils; numbers of sections are its own). The container is read
// here and not by the library, which takes memory for a dictionary of any size that a file names, up to 4 GiB for each block.
type xz struct {
	r      counter
	check  byte // type of check (2.1.1.2)
	stream int  // how many have begun
	block  *xzBlock
	blocks int64 // of the stream
	sizes  hash.Hash
	used   int64 // bytes of dictionaries since garbage was collected
}

type xzBlock struct {
	header   int64
	start    int64 // of its data in the file
	data     *lzma.Reader2
	sum      hash.Hash // nil where there is none, or one that we do not know
	done     int64     // expanded bytes
	packed   int64     // as its header says, or -1
	unpacked int64
}

func newXZ(r *bufio.Reader) *xz { return &xz{r: counter{r: r}} }

// counter counts what is read; whoever wants single bytes does not read ahead.
type counter struct {
	r   *bufio.Reader
	n   int64
	crc hash.Hash32 // of what is read, unless nil
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if c.crc != nil {
		c.crc.Write(p[:n])
	}
	return n, err
}

func (c *counter) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
		if c.crc != nil {
			c.crc.Write([]byte{b})
		}
	}
	return b, err
}

func damagedXZ(format string, args ...any) error { return image.Damaged(image.XZ, format, args...) }

// take reads exactly n bytes; n is small.
func (x *xz) take(n int64) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(&x.r, b); err != nil {
		return nil, cutOff(err)
	}
	return b, nil
}

func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Read gives what the blocks of all streams hold.
func (x *xz) Read(p []byte) (int, error) {
	for {
		if x.sizes == nil {
			if err := x.begin(); err != nil {
				return 0, err
			}
		}
		if x.block == nil {
			if err := x.next(); err != nil {
				return 0, err
			}
			continue
		}
		b := x.block
		n, err := b.data.Read(p)
		b.done += int64(n)
		if b.sum != nil {
			b.sum.Write(p[:n])
		}
		if err == io.EOF {
			err = x.endBlock()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// begin reads a stream's header (2.1.1). Before another one than the first there may be padding (2.2); io.EOF says that there is none.
func (x *xz) begin() error {
	start := x.r.n
	for x.stream > 0 {
		b, err := x.r.r.Peek(1)
		if len(b) == 0 {
			if err == io.EOF && (x.r.n-start)%4 != 0 {
				return damagedXZ("%d bytes of padding follow a stream", x.r.n-start)
			}
			return err
		}
		if b[0] != 0 {
			break
		}
		if _, err := x.r.ReadByte(); err != nil {
			return err
		}
	}
	if (x.r.n-start)%4 != 0 {
		return damagedXZ("%d bytes of padding follow a stream", x.r.n-start)
	}
	h, err := x.take(12)
	if err != nil {
		return err
	}
	if string(h[:6]) != "\xfd7zXZ\x00" {
		return damagedXZ("no stream begins at %d", x.r.n-12)
	}
	if crc32.ChecksumIEEE(h[6:8]) != binary.LittleEndian.Uint32(h[8:]) {
		return damagedXZ("the header of a stream has a wrong checksum")
	}
	if h[6] != 0 || h[7] > 15 {
		return damagedXZ("a stream has unknown flags %#x", h[6:8])
	}
	x.check, x.blocks, x.sizes = h[7], 0, sha256.New()
	x.stream++
	return nil
}

// next reads the header of a block (3.1), or the index and the footer when there is none.
func (x *xz) next() error {
	start := x.r.n
	first, err := x.r.ReadByte()
	if err != nil {
		return cutOff(err)
	}
	if first == 0 {
		return x.endStream(start)
	}
	rest, err := x.take(int64(first)*4 + 3)
	if err != nil {
		return err
	}
	h := append([]byte{first}, rest...)
	body := h[:len(h)-4]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(h[len(h)-4:]) {
		return damagedXZ("the header of a block has a wrong checksum")
	}
	flags := body[1]
	if flags&0x3f != 0 {
		return damagedXZ("a block uses more filters than LZMA2 or unknown flags %#x, which are not read", flags)
	}
	b, f := &xzBlock{header: int64(len(h)), packed: -1, unpacked: -1}, bytes.NewReader(body[2:])
	if flags&0x40 != 0 {
		if b.packed, err = varint(f); err != nil {
			return err
		}
	}
	if flags&0x80 != 0 {
		if b.unpacked, err = varint(f); err != nil {
			return err
		}
	}
	var filter [3]byte // its number, the length of its properties, the size of the dictionary (5.3.1)
	if _, err := io.ReadFull(f, filter[:]); err != nil || filter[0] != 0x21 || filter[1] != 1 || filter[2] > 40 {
		return damagedXZ("a block uses another filter than LZMA2, which is not read")
	}
	for f.Len() > 0 {
		if c, _ := f.ReadByte(); c != 0 {
			return damagedXZ("the header of a block has unknown fields")
		}
	}
	dictionary := int64(2|filter[2]&1) << (filter[2]/2 + 11)
	if dictionary > maxDictionary {
		return damagedXZ("expanding it would take %d MiB of memory; %d MiB are allowed", dictionary>>20, maxDictionary>>20)
	}
	b.start = x.r.n
	b.data, err = x.lzma2(dictionary, b.unpacked)
	if err != nil {
		return cutOff(err)
	}
	switch x.check {
	case 1:
		b.sum = crc32.NewIEEE()
	case 4:
		b.sum = crc64.New(crc64.MakeTable(crc64.ECMA))
	case 10:
		b.sum = sha256.New()
	}
	x.block = b
	return nil
}

// lzma2 begins to expand a block's data. The library takes a dictionary anew for each block, so it is no longer than the block's content where that is
// known, and what earlier ones took is free again before it.
func (x *xz) lzma2(dictionary, unpacked int64) (*lzma.Reader2, error) {
	for _, n := range []int64{unpacked, x.shortBlock()} {
		if n >= 0 {
			dictionary = min(dictionary, max(n, lzma.MinDictCap))
		}
	}
	if x.used += dictionary; x.used > maxDictionary {
		runtime.GC()
		x.used = dictionary
	}
	return lzma.Reader2Config{DictCap: int(dictionary)}.NewReader2(&x.r)
}

// shortBlock gives how much a block that follows expands to if its data is not longer than what can be looked at before it is read, or -1. The data is
// chunks, whose headers tell their sizes (lzma2_decoder.c of XZ Utils).
func (x *xz) shortBlock() int64 {
	unpacked, at := int64(0), 0
	for {
		h, err := x.r.r.Peek(at + 1)
		if err != nil {
			return -1
		}
		control := h[at]
		switch {
		case control == 0: // the end
			return unpacked
		case control >= 0x80: // LZMA: the size before, the one after, and from 0xc0 on properties
			if h, err = x.r.r.Peek(at + 5); err != nil {
				return -1
			}
			unpacked += int64(control&0x1f)<<16 + int64(binary.BigEndian.Uint16(h[at+1:])) + 1
			packed := int(binary.BigEndian.Uint16(h[at+3:])) + 1
			if at += 5 + packed; control >= 0xc0 {
				at++
			}
		case control <= 2: // as it is
			if h, err = x.r.r.Peek(at + 3); err != nil {
				return -1
			}
			n := int(binary.BigEndian.Uint16(h[at+1:])) + 1
			unpacked += int64(n)
			at += 3 + n
		default:
			return -1
		}
	}
}

// endBlock reads a block's padding and check (3.3, 3.4), and keeps its sizes for the index.
func (x *xz) endBlock() error {
	b := x.block
	x.block = nil
	packed := x.r.n - b.start
	if b.packed >= 0 && b.packed != packed || b.unpacked >= 0 && b.unpacked != b.done {
		return damagedXZ("a block has other sizes than its header says")
	}
	if err := x.padding(packed); err != nil {
		return err
	}
	length := int64([16]byte{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}[x.check])
	sum, err := x.take(length)
	if err != nil {
		return err
	}
	if b.sum != nil {
		want := b.sum.Sum(nil)
		if x.check != 10 { // CRCs stand lowest byte first
			for i, j := 0, len(want)-1; i < j; i, j = i+1, j-1 {
				want[i], want[j] = want[j], want[i]
			}
		}
		if !bytes.Equal(sum, want) {
			return damagedXZ("a block has a wrong checksum")
		}
	}
	x.blocks++
	fmt.Fprintln(x.sizes, b.header+packed+length, b.done)
	return nil
}

// padding reads zeros up to a multiple of four bytes from n.
func (x *xz) padding(n int64) error {
	b, err := x.take(-n & 3)
	if err != nil {
		return err
	}
	for _, c := range b {
		if c != 0 {
			return damagedXZ("padding is not zeros")
		}
	}
	return nil
}

// endStream reads the index (4), whose first byte has been read, at start, and the footer (2.1.2).
func (x *xz) endStream(start int64) error {
	x.r.crc = crc32.NewIEEE()
	x.r.crc.Write([]byte{0})
	defer func() { x.r.crc = nil }()
	n, err := varint(&x.r)
	if err != nil {
		return err
	}
	if n != x.blocks {
		return damagedXZ("the index has %d blocks, the stream %d", n, x.blocks)
	}
	sizes := sha256.New()
	for range n {
		packed, err := varint(&x.r)
		if err != nil {
			return err
		}
		unpacked, err := varint(&x.r)
		if err != nil {
			return err
		}
		fmt.Fprintln(sizes, packed, unpacked)
	}
	if !bytes.Equal(sizes.Sum(nil), x.sizes.Sum(nil)) {
		return damagedXZ("the index does not fit the blocks")
	}
	if err := x.padding(x.r.n - start); err != nil {
		return err
	}
	sum := x.r.crc.Sum32()
	b, err := x.take(16) // the index's checksum and the footer
	if err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(b) != sum {
		return damagedXZ("the index has a wrong checksum")
	}
	foot := b[4:]
	if string(foot[10:]) != "YZ" || crc32.ChecksumIEEE(foot[4:10]) != binary.LittleEndian.Uint32(foot) ||
		int64(binary.LittleEndian.Uint32(foot[4:]))*4+4 != x.r.n-12-start || foot[8] != 0 || foot[9] != x.check {
		return damagedXZ("the footer of a stream is wrong")
	}
	x.sizes = nil
	return nil
}

// varint reads a number (1.2): 7 bits a byte from the lowest on, 63 bits at most.
func varint(r io.ByteReader) (int64, error) {
	n := int64(0)
	for i := range 9 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, cutOff(err)
		}
		if n |= int64(b&0x7f) << (7 * i); b&0x80 == 0 {
			if b == 0 && i > 0 {
				break
			}
			return n, nil
		}
	}
	return 0, damagedXZ("a number is too long")
}
