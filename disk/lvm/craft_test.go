package lvm

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/ingot-image/ingot/disk/image"
)

// memory is a disk in memory, all of it one extent but for runs of 64 KiB of zeros.
type memory []byte

func (m memory) Size() int64 { return int64(len(m)) }

func (m memory) ReadAt(b []byte, off int64) (int, error) { return bytes.NewReader(m).ReadAt(b, off) }

func (m memory) Extents(ctx context.Context, f func(image.Extent) error) error {
	const unit = 64 << 10
	var last image.Extent
	for at := 0; at < len(m); at += unit {
		end := min(at+unit, len(m))
		if image.IsZero(m[at:end]) {
			continue
		}
		if last.Size > 0 && last.End() == int64(at) {
			last.Size += int64(end - at)
			continue
		}
		if last.Size > 0 {
			if err := f(last); err != nil {
				return err
			}
		}
		last = image.Extent{Start: int64(at), Size: int64(end - at)}
	}
	if last.Size > 0 {
		return f(last)
	}
	return nil
}

const (
	testID       = "0123456789abcdefghijklmnopqrstuv"
	testUUID     = "012345-6789-abcd-efgh-ijkl-mnop-qrstuv"
	otherUUID    = "zzzzzz-6789-abcd-efgh-ijkl-mnop-qrstuv"
	testMetadata = 64 << 10 // of the metadata area, in bytes
	testStart    = 1 << 20  // of the extents
)

// craft makes a physical volume of a size, by the format's description: label in sector 1, a metadata area from 4 KiB on whose text is at a
// place in it, extents from 1 MiB on. Byte i of the extents' sector s is a function of both.
func craft(size int, text string, at int) memory {
	m := make(memory, size)
	le := binary.LittleEndian
	l := m[sector : 2*sector]
	copy(l, labelMagic)
	le.PutUint64(l[8:], 1)
	le.PutUint32(l[20:], 32)
	copy(l[24:], labelType)
	copy(l[32:], testID)
	le.PutUint64(l[64:], uint64(size))
	areas := l[72:]
	for i, v := range []uint64{testStart, 0, 0, 0, 4096, testMetadata, 0, 0, 2, 1, 0, 0} {
		le.PutUint64(areas[8*i:], v)
	}
	le.PutUint32(l[16:], checksum(l[20:]))

	h := m[4096 : 4096+testMetadata]
	for i := range text {
		place := at + i
		if place >= testMetadata {
			place += headerSize - testMetadata
		}
		h[place] = text[i]
	}
	copy(h[4:], metadataMagic)
	le.PutUint32(h[20:], 1)
	le.PutUint64(h[24:], 4096)
	le.PutUint64(h[32:], testMetadata)
	if text != "" {
		le.PutUint64(h[40:], uint64(at))
		le.PutUint64(h[48:], uint64(len(text)))
		le.PutUint32(h[56:], checksum([]byte(text)))
	}
	le.PutUint32(h, checksum(h[4:headerSize]))
	for i := testStart; i < size; i++ {
		m[i] = byte(i/sector*7 + i/sector>>8 + i%sector)
	}
	return m
}

// groupText is the text of a group of extents of 64 KiB with logical volumes.
func groupText(volumes string) string {
	return `contents = "Text Format Volume Group"
version = 1

description = "Created *after* executing 'lvcreate'"
creation_host = "h"	# Linux
creation_time = 1700000000	# a comment

vg0 {
	id = "abcdef-0000-0000-0000-0000-0000-000000"
	seqno = 5
	format = "lvm2"			# informational
	status = ["RESIZEABLE", "READ", "WRITE"]
	flags = []
	tags = ["a \"quoted\" \\ # tag"]
	extent_size = 128		# 64 Kilobytes
	max_lv = 0
	physical_volumes {
		pv0 {
			id = "` + testUUID + `"
			device = "/dev/sda3"
			status = ["ALLOCATABLE"]
			pe_start = 2048
			pe_count = 100
		}
		pv1 {
			id = "` + otherUUID + `"
			device = "/dev/sdb"
			pe_start = 2048
			pe_count = 100
		}
	}
	logical_volumes {
` + volumes + `
	}
}
` + "\x00"
}

// volumeText is a volume with segments.
func volumeText(name string, segments ...string) string {
	s := fmt.Sprintf("%s {\nid = \"%s\"\nstatus = [\"READ\", \"WRITE\", \"VISIBLE\"]\nsegment_count = %d\n", name, testUUID, len(segments))
	for i, segment := range segments {
		s += fmt.Sprintf("segment%d {\n%s\n}\n", i+1, segment)
	}
	return s + "}\n"
}

// linear is a segment on one physical volume.
func linear(first, count int, pv string, extent int) string {
	return fmt.Sprintf("start_extent = %d\nextent_count = %d\ntype = \"striped\"\nstripe_count = 1\nstripes = [ \"%s\", %d ]", first, count, pv, extent)
}

func readAll(src image.Source) ([]byte, error) {
	return io.ReadAll(io.NewSectionReader(src, 0, src.Size()))
}
