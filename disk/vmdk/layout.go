package vmdk

import (
	"encoding/binary"

	"github.com/ingot-image/ingot/disk/image"
)

const (
	sectorSize = image.SectorSize

	magic = "KDMV"

	// Flags of the header: specification, section "Hosted Sparse Extent Header".
	flagNewline    = 1 << 0 // the bytes at 73 tell whether a transfer has changed line ends
	flagRedundant  = 1 << 1 // there is a second directory with tables of its own
	flagCompressed = 1 << 16
	flagMarkers    = 1 << 17
	flagsKnown     = 0xffff | flagCompressed | flagMarkers // those below 16 may be ignored by who does not know them

	newlines = "\n \r\n"

	directoryAtEnd = 1<<64 - 1
	deflate        = 1

	zeroGrain = 1 // entry of a grain table for a grain of zeros: section "Version 2 Hosted Sparse Extents"

	// Types of markers: section "Stream-Optimized Compressed".
	markerEnd       = 0
	markerTable     = 1
	markerDirectory = 2
	markerFooter    = 3

	markerSize = 12 // of a grain's marker: its sector on the disk, and the length of the data that follow
)

// header is that of a sparse extent: section "Hosted Sparse Extent Header". Places and sizes are in sectors.
type header struct {
	version            uint32
	flags              uint32
	capacity           uint64
	grain              uint64
	descriptor         uint64
	descriptorSize     uint64
	perTable           uint32
	redundantDirectory uint64
	directory          uint64
	overhead           uint64
	unclean            bool
	newlines           string
	algorithm          uint16
}

func decodeHeader(b []byte) header {
	le := binary.LittleEndian
	return header{
		version: le.Uint32(b[4:]), flags: le.Uint32(b[8:]), capacity: le.Uint64(b[12:]), grain: le.Uint64(b[20:]),
		descriptor: le.Uint64(b[28:]), descriptorSize: le.Uint64(b[36:]), perTable: le.Uint32(b[44:]),
		redundantDirectory: le.Uint64(b[48:]), directory: le.Uint64(b[56:]), overhead: le.Uint64(b[64:]),
		unclean: b[72] != 0, newlines: string(b[73:77]), algorithm: le.Uint16(b[77:]),
	}
}

func (h header) encode() []byte {
	b := make([]byte, 0, sectorSize)
	le := binary.LittleEndian
	b = append(b, magic...)
	b = le.AppendUint32(b, h.version)
	b = le.AppendUint32(b, h.flags)
	b = le.AppendUint64(b, h.capacity)
	b = le.AppendUint64(b, h.grain)
	b = le.AppendUint64(b, h.descriptor)
	b = le.AppendUint64(b, h.descriptorSize)
	b = le.AppendUint32(b, h.perTable)
	b = le.AppendUint64(b, h.redundantDirectory)
	b = le.AppendUint64(b, h.directory)
	b = le.AppendUint64(b, h.overhead)
	b = append(b, 0) // shut down cleanly
	b = append(b, newlines...)
	b = le.AppendUint16(b, h.algorithm)
	return b[:sectorSize]
}

// metadataMarker announces so many sectors of metadata, or the end of the stream.
func metadataMarker(kind uint32, sectors int64) []byte {
	b := make([]byte, sectorSize)
	binary.LittleEndian.PutUint64(b, uint64(sectors))
	binary.LittleEndian.PutUint32(b[12:], kind)
	return b
}

// padding is how many bytes are missing to whole sectors.
func padding(n int) int { return -n & (sectorSize - 1) }
