package vhd

import (
	"encoding/binary"
	"hash"
)

// Fields of the footer and the header: sections "Hard Disk Footer Format" and "Dynamic Disk Header Format". All numbers are big endian.
const (
	cookie       = "conectix"
	headerCookie = "cxsparse"

	footerChecksum = 64
	headerChecksum = 36

	typeFixed        = 2
	typeDynamic      = 3
	typeDifferencing = 4

	featureReserved = 2       // is always set
	formatVersion   = 1 << 16 // 1.0
	noOffset        = 1<<64 - 1

	creator        = "qem2"       // counts in bytes: see the package
	creatorVersion = 5<<16 | 3    // that of Virtual PC 2007, as qemu-img writes
	creatorHost    = "Wi2k"       // Windows; the other choice is "Mac "
	maxGeometry    = 0xffff_10_ff // 65535 cylinders, 16 heads, 255 sectors
)

// encodeFooter makes the footer of a disk. The time of creation is the format's first, the start of the year 2000.
func encodeFooter(size int64, kind uint32, headerAt uint64, id [16]byte) []byte {
	be := binary.BigEndian
	b := make([]byte, footerSize)
	copy(b, cookie)
	be.PutUint32(b[8:], featureReserved)
	be.PutUint32(b[12:], formatVersion)
	be.PutUint64(b[16:], headerAt)
	copy(b[28:], creator)
	be.PutUint32(b[32:], creatorVersion)
	copy(b[36:], creatorHost)
	be.PutUint64(b[40:], uint64(size)) // original size
	be.PutUint64(b[48:], uint64(size)) // current size
	be.PutUint32(b[56:], maxGeometry)
	be.PutUint32(b[60:], kind)
	copy(b[68:], id[:])
	be.PutUint32(b[footerChecksum:], checksum(b, footerChecksum))
	return b
}

// encodeHeader makes the header of a dynamic disk.
func encodeHeader(tableAt int64, entries int) []byte {
	be := binary.BigEndian
	b := make([]byte, headerSize)
	copy(b, headerCookie)
	be.PutUint64(b[8:], noOffset)
	be.PutUint64(b[16:], uint64(tableAt))
	be.PutUint32(b[24:], formatVersion)
	be.PutUint32(b[28:], uint32(entries))
	be.PutUint32(b[32:], blockSize)
	be.PutUint32(b[headerChecksum:], checksum(b, headerChecksum))
	return b
}

// uuid makes an identifier of what was hashed: RFC 9562, version 8.
func uuid(h hash.Hash) (id [16]byte) {
	copy(id[:], h.Sum(nil))
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80
	return id
}
