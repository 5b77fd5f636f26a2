package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/klauspost/compress/zlib"
)

// A streamOptimized VMDK as we write it: VMware, "Virtual Disk Format 5.0", section "Stream-Optimized Compressed Sparse Extents". It is
// written from its beginning to its end, whose footer tells where the grain directory is:
//
//	header, descriptor
//	grains, each with its marker; after those of one grain table the table, with a marker
//	grain directory, footer and end of stream, each with a marker
const (
	vmdkCompressed = 1 << 16
	vmdkMarkers    = 1 << 17
	vmdkGDAtEnd    = 1<<64 - 1

	vmdkGrain    = 64 << 10
	vmdkPerTable = 512 // entries of a grain table
	vmdkOverhead = 128 // sectors before the first grain

	vmdkEndMarker, vmdkTableMarker, vmdkDirectoryMarker, vmdkFooterMarker = 0, 1, 2, 3

	// vmdkLevel is zlib's: 3 takes two thirds of the time of 6 for a twentieth more of bytes.
	vmdkLevel = 3
	// vmdkBatch is how many grains are compressed as one piece of work. A grain table has a whole number of batches.
	vmdkBatch = 16
)

// writeVMDK writes the disk in a raw file as a streamOptimized VMDK of the given name, as many grains at once as there are CPUs.
func writeVMDK(ctx context.Context, w io.Writer, raw *os.File, size int64, name string, progress Progress) error {
	if size%sectorSize != 0 || size == 0 {
		return fmt.Errorf("a disk of %d bytes: a VMDK has whole sectors", size)
	}
	ctx, stop := context.WithCancel(ctx)
	v := &vmdkWriter{w: w, size: size, directory: make([]uint32, (size+vmdkPerTable*vmdkGrain-1)/(vmdkPerTable*vmdkGrain)), current: -1}
	if err := v.begin(name); err != nil {
		stop()
		return err
	}
	batches, planned := compressGrains(ctx, raw, size)
	defer func() {
		stop()
		for b := range batches {
			<-b.done // nobody reads the file when this returns
		}
	}()
	for b := range batches {
		<-b.done
		if b.err != nil {
			return b.err
		}
		if err := v.add(b); err != nil {
			return err
		}
		if progress != nil {
			progress(float64(b.first*vmdkGrain) / float64(size))
		}
	}
	if err := <-planned; err != nil {
		return err
	}
	if err := v.end(name); err != nil {
		return err
	}
	if progress != nil {
		progress(1)
	}
	return nil
}

// grainBatch is a run of compressed grains.
type grainBatch struct {
	first int64            // number of the first grain, a multiple of vmdkBatch
	at    [vmdkBatch]int64 // where each grain is in data, in sectors; -1 for one of zeros
	data  []byte           // the grains with their markers
	err   error
	done  chan struct{} // closed when the above is there
}

// compressGrains compresses what is in the file, in order. The error comes when all batches have come; both channels are to be read until
// they are closed, or ctx is to end.
func compressGrains(ctx context.Context, raw *os.File, size int64) (<-chan *grainBatch, <-chan error) {
	workers := runtime.GOMAXPROCS(0)
	// The order in which batches are taken is that in which they were planned, so work is ahead by the length of the queue at most.
	ordered, work, planned := make(chan *grainBatch, 4*workers), make(chan *grainBatch), make(chan error, 1)
	for range workers {
		go func() {
			in := make([]byte, vmdkBatch*vmdkGrain)
			var out bytes.Buffer
			deflate, err := zlib.NewWriterLevel(&out, vmdkLevel)
			for b := range work {
				if b.err = err; err == nil {
					b.err = b.compress(raw, size, in, &out, deflate)
				}
				close(b.done)
			}
		}()
	}
	go func() {
		defer close(ordered)
		defer close(work)
		next := int64(0)
		planned <- EachExtent(raw, size, func(e Extent) error {
			const span = vmdkBatch * vmdkGrain
			for n := max(next, e.Start/span); n <= (e.Start+e.Size-1)/span; n++ {
				b := &grainBatch{first: n * vmdkBatch, done: make(chan struct{})}
				select {
				case work <- b:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
				select {
				case ordered <- b:
				case <-ctx.Done():
					<-b.done
					return context.Cause(ctx)
				}
				next = n + 1
			}
			return nil
		})
	}()
	return ordered, planned
}

// zeroGrain is a piece of zeros to compare with and to write.
var zeroGrain [vmdkGrain]byte

func (b *grainBatch) compress(raw *os.File, size int64, in []byte, out *bytes.Buffer, deflate *zlib.Writer) error {
	start := b.first * vmdkGrain
	n := min(int64(len(in)), size-start)
	if _, err := raw.ReadAt(in[:n], start); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	clear(in[n:])
	for i := range b.at {
		b.at[i] = -1
		grain := in[i*vmdkGrain:][:vmdkGrain]
		if bytes.Equal(grain, zeroGrain[:]) {
			continue
		}
		out.Reset()
		deflate.Reset(out)
		if _, err := deflate.Write(grain); err != nil {
			return err
		}
		if err := deflate.Close(); err != nil {
			return err
		}
		b.at[i] = int64(len(b.data) / sectorSize)
		b.data = binary.LittleEndian.AppendUint64(b.data, uint64(b.first+int64(i))*(vmdkGrain/sectorSize))
		b.data = binary.LittleEndian.AppendUint32(b.data, uint32(out.Len()))
		b.data = append(b.data, out.Bytes()...)
		b.data = append(b.data, zeroGrain[:padding(len(b.data))]...)
	}
	return nil
}

// padding is how many bytes are missing to whole sectors.
func padding(n int) int { return (sectorSize - n%sectorSize) % sectorSize }

// vmdkWriter writes the file's parts, one after the other.
type vmdkWriter struct {
	w         io.Writer
	size      int64 // of the disk
	written   int64
	directory []uint32 // sector of each grain table, 0 for one without grains
	table     [vmdkPerTable]uint32
	current   int64 // number of the table that grains are added to, -1 for none
}

func (v *vmdkWriter) write(parts ...[]byte) error {
	for _, p := range parts {
		n, err := v.w.Write(p)
		v.written += int64(n)
		if err != nil {
			return err
		}
	}
	return nil
}

func (v *vmdkWriter) sector() int64 { return v.written / sectorSize }

func (v *vmdkWriter) begin(name string) error {
	descriptor := v.descriptor(name)
	room := (vmdkOverhead - 1) * sectorSize
	if len(descriptor) > room {
		return errors.New("the name is too long for the descriptor")
	}
	return v.write(v.header(len(descriptor), vmdkGDAtEnd), []byte(descriptor), make([]byte, room-len(descriptor)))
}

func (v *vmdkWriter) add(b *grainBatch) error {
	if table := b.first / vmdkPerTable; table != v.current {
		if err := v.endTable(); err != nil {
			return err
		}
		v.current = table
	}
	for i, at := range b.at {
		if at < 0 {
			continue
		}
		if at += v.sector(); at > 1<<32-1 {
			return errors.New("a VMDK file cannot be larger than 2 TiB")
		}
		v.table[b.first%vmdkPerTable+int64(i)] = uint32(at)
	}
	return v.write(b.data)
}

func (v *vmdkWriter) endTable() error {
	if v.current < 0 || v.table == [vmdkPerTable]uint32{} {
		return nil
	}
	if v.sector()+1 > 1<<32-1 {
		return errors.New("a VMDK file cannot be larger than 2 TiB")
	}
	v.directory[v.current] = uint32(v.sector() + 1)
	err := v.write(vmdkMarker(vmdkPerTable*4/sectorSize, vmdkTableMarker), littleEndian(v.table[:]))
	v.table = [vmdkPerTable]uint32{}
	return err
}

func (v *vmdkWriter) end(name string) error {
	if err := v.endTable(); err != nil {
		return err
	}
	directory := littleEndian(v.directory)
	directory = append(directory, make([]byte, padding(len(directory)))...)
	at := uint64(v.sector() + 1)
	return v.write(
		vmdkMarker(int64(len(directory)/sectorSize), vmdkDirectoryMarker), directory,
		vmdkMarker(1, vmdkFooterMarker), v.header(len(v.descriptor(name)), at),
		vmdkMarker(0, vmdkEndMarker))
}

func littleEndian(values []uint32) []byte {
	b := make([]byte, 0, 4*len(values))
	for _, n := range values {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	return b
}

// vmdkMarker announces so many sectors of metadata.
func vmdkMarker(sectors int64, kind uint32) []byte {
	b := make([]byte, sectorSize)
	binary.LittleEndian.PutUint64(b, uint64(sectors))
	binary.LittleEndian.PutUint32(b[12:], kind)
	return b
}

// header is that of section "Hosted Sparse Extent Header", and the footer, which alone has the directory's place.
func (v *vmdkWriter) header(descriptor int, directory uint64) []byte {
	le, b := binary.LittleEndian, make([]byte, sectorSize)
	copy(b, "KDMV")
	le.PutUint32(b[4:], 3)                                                    // version
	le.PutUint32(b[8:], 1|vmdkCompressed|vmdkMarkers)                         // the bytes at 73 are valid
	le.PutUint64(b[12:], uint64(v.size/sectorSize))                           // capacity
	le.PutUint64(b[20:], vmdkGrain/sectorSize)                                // grain size
	le.PutUint64(b[28:], 1)                                                   // sector of the descriptor
	le.PutUint64(b[36:], uint64((descriptor+padding(descriptor))/sectorSize)) // and its length
	le.PutUint32(b[44:], vmdkPerTable)
	le.PutUint64(b[56:], directory)
	le.PutUint64(b[64:], vmdkOverhead)
	copy(b[73:], "\n \r\n") // shows whether a transfer has changed line ends
	le.PutUint16(b[77:], 1) // deflate
	return b
}

// descriptor is that of section "The Descriptor File", with the values by which ESXi and ImportSnapshot take the disk. VMware's tools
// expect the extent's line to name the file itself. The content's identifier is made of name and size: the same disk is the same file.
func (v *vmdkWriter) descriptor(name string) string {
	sectors := v.size / sectorSize
	id := fnv.New32a()
	fmt.Fprintf(id, "%d %s", sectors, name)
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == '"' {
			return '_'
		}
		return r
	}, name)
	return fmt.Sprintf(`# Disk DescriptorFile
version=1
CID=%08x
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RW %d SPARSE "%s"

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "6"
ddb.geometry.cylinders = "%d"
ddb.geometry.heads = "255"
ddb.geometry.sectors = "63"
ddb.adapterType = "lsilogic"
`, id.Sum32()&0x7fffffff, sectors, name, min(max(sectors/(255*63), 1), 65535))
}

// renameVMDKExtent puts the file's real name into the embedded descriptor. qemu-img wrote it by another name, and VMware's
// tools expect the extent line to name the file itself.
func renameVMDKExtent(f io.ReadWriteSeeker, name string) error {
	h := make([]byte, 512)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.ReadFull(f, h); err != nil {
		return err
	}
	off, n := binary.LittleEndian.Uint64(h[28:]), binary.LittleEndian.Uint64(h[36:])
	if string(h[:4]) != "KDMV" || off == 0 || off > 1<<40 || n == 0 || n > 1<<20/512 {
		return fmt.Errorf("rename vmdk extent: no embedded descriptor")
	}
	area := make([]byte, n*512)
	if _, err := f.Seek(int64(off)*512, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.ReadFull(f, area); err != nil {
		return err
	}
	text, _, _ := strings.Cut(string(area), "\x00")
	before, rest, ok := strings.Cut(text, `SPARSE "`)
	_, after, ok2 := strings.Cut(rest, `"`)
	if !ok || !ok2 {
		return fmt.Errorf("rename vmdk extent: no sparse extent in the descriptor")
	}
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == '"' {
			return '_'
		}
		return r
	}, name)
	text = before + `SPARSE "` + name + `"` + after
	if len(text) > len(area) {
		return fmt.Errorf("rename vmdk extent: the name is too long for the descriptor")
	}
	clear(area)
	copy(area, text)
	if _, err := f.Seek(int64(off)*512, io.SeekStart); err != nil {
		return err
	}
	_, err := f.Write(area)
	return err
}
