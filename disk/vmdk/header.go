package vmdk

import (
	"io"
	"strings"

	"github.com/ingot-image/ingot/disk/image"
)

// Probe reads the headers of an image, size bytes long, and looks whether its tables point into the file. Nothing outside of it is opened. The
// error is an [image.FormatError] when they are damaged or the file is cut off.
func Probe(r io.ReaderAt, size int64) (image.Info, error) {
	info, s, err := open(image.Headers{R: r, Size: size, Format: image.VMDK})
	if err == nil && s != nil {
		err = s.check()
	}
	return info, err
}

const (
	// maxDescriptor is the longest descriptor that is read, in bytes; real ones have a few hundred.
	maxDescriptor = 1 << 20
	// maxDirectory is the longest grain directory that is read, in entries. The largest disk that VMware takes has 2 Mi.
	maxDirectory = 4 << 20
	// maxCompressedGrain is the largest grain that is expanded, in sectors: 1 MiB. open-vmdk knows 64 KiB at most, and writes no other.
	maxCompressedGrain = 2048
	maxGrain           = 0x200000 // sectors; QEMU's limit
)

// open reads what kind of VMDK a file is: a sparse extent with its descriptor embedded, or a descriptor alone, which has no extent here. What
// is known before an error is in the information.
func open(h image.Headers) (image.Info, *sparse, error) {
	info := image.Info{Format: image.VMDK, FileSize: h.Size}
	start, err := h.At("header", 0, min(h.Size, 4))
	if err != nil {
		return info, nil, err
	}
	switch string(start) {
	case magic:
		info.Variant = "monolithicSparse"
		s, err := openSparse(h, &info)
		return info, s, err
	case "COWD":
		info.Variant = "COWD (ESX 3)"
		return info, nil, nil
	}
	text, err := h.At("descriptor", 0, min(h.Size, maxDescriptor))
	if err != nil {
		return info, nil, err
	}
	d := parseDescriptor(string(text))
	info.Variant, info.VirtualSize, info.References = d.createType, d.sectors*sectorSize, d.parents
	for _, e := range d.extents {
		info.References = append(info.References, image.Reference{Kind: "extent", Name: e.name})
	}
	if info.Variant == "" {
		info.Variant = "descriptor"
	}
	return info, nil, nil
}

func openSparse(h image.Headers, info *image.Info) (*sparse, error) {
	damaged := func(format string, args ...any) (*sparse, error) {
		return nil, image.Damaged(image.VMDK, format, args...)
	}
	b, err := h.At("header", 0, sectorSize)
	if err != nil {
		return nil, err
	}
	s := &sparse{Headers: h, header: decodeHeader(b)}
	// A streamOptimized file has its grain directory's place only in the footer, the sector before the end-of-stream marker.
	if s.directory == directoryAtEnd {
		b, err := h.At("footer", h.Size-2*sectorSize, sectorSize)
		if err != nil {
			return nil, err
		}
		footer := decodeHeader(b)
		if string(b[:4]) != magic || footer.directory == directoryAtEnd {
			return damaged("no footer at the end: the file is cut off")
		}
		if footer.capacity != s.capacity || footer.grain != s.grain || footer.perTable != s.perTable {
			return damaged("header and footer do not agree")
		}
		s.directory = footer.directory
	}
	info.Compressed = s.flags&flagCompressed != 0
	if err := s.supported(); err != nil {
		return nil, err
	}
	s.size, s.grainSize = int64(s.capacity)*sectorSize, int64(s.grain)*sectorSize
	info.VirtualSize, info.ClusterSize = s.size, s.grainSize
	d, err := embedded(h, s.descriptor, s.descriptorSize)
	if err != nil {
		return nil, err
	}
	info.References = d.references()
	if d.createType != "" {
		info.Variant = d.createType
	}
	// VirtualBox rounds the header's capacity up to whole grains; the true one is the descriptor's.
	if len(d.extents) == 1 && d.sectors > 0 && d.sectors < int64(s.capacity) && int64(s.capacity)-d.sectors < int64(s.grain) {
		s.size = d.sectors * sectorSize
		info.VirtualSize = s.size
	}
	return s, s.placeDirectory()
}

// supported tells whether a header is one that this package reads.
func (h header) supported() error {
	damaged := func(format string, args ...any) error { return image.Damaged(image.VMDK, format, args...) }
	compressed := h.flags&flagCompressed != 0
	switch {
	case h.version < 1 || h.version > 3:
		return damaged("unknown version %d", h.version)
	case h.flags&^flagsKnown != 0:
		return damaged("unknown flags %#x", h.flags&^flagsKnown)
	case h.flags&flagNewline != 0 && h.newlines != newlines:
		return damaged("line ends were changed: the file was transferred as a text")
	case compressed && h.algorithm != deflate:
		return damaged("unknown compression algorithm %d", h.algorithm)
	case compressed != (h.flags&flagMarkers != 0): // open-vmdk and the specification know both or none
		return damaged("compressed grains without markers, or the other way round")
	// Readers take capacity 0 to mean "use the descriptor instead", and with it any file it names.
	case h.capacity == 0 || h.capacity > 1<<53:
		return damaged("capacity of %d sectors", h.capacity)
	case h.grain < 1 || h.grain > maxGrain || h.grain&(h.grain-1) != 0 || (compressed && h.grain > maxCompressedGrain):
		return damaged("grain size of %d sectors", h.grain)
	case h.perTable < 1 || h.perTable > perTable:
		return damaged("grain tables of %d entries", h.perTable)
	}
	return nil
}

// embedded reads the descriptor in a sparse extent.
func embedded(h image.Headers, off, n uint64) (descriptor, error) {
	if off == 0 || n == 0 {
		return descriptor{}, nil
	}
	if off > 1<<40 || n > maxDescriptor/sectorSize {
		return descriptor{}, image.Damaged(image.VMDK, "descriptor of %d sectors at sector %d", n, off)
	}
	text, err := h.At("descriptor", int64(off)*sectorSize, int64(n)*sectorSize)
	if err != nil {
		return descriptor{}, err
	}
	s, _, _ := strings.Cut(string(text), "\x00")
	return parseDescriptor(s), nil
}
