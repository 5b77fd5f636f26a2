package vhdx

import (
	"encoding/binary"
	"io"

	"github.com/ingot-image/ingot/disk/image"
)

const (
	logSector = 4 * kib
	// maxLog bounds the log that is replayed, in bytes. Hyper-V and QEMU make it 1 MiB.
	maxLog = 8 * mib
	// maxHashed bounds, as a multiple of the log, how much of it is hashed: whole entries lie one behind another, forged ones over each other.
	maxHashed = 16
	// maxPatches bounds the updates of one replay. A log of 1 MiB has room for some thousand.
	maxPatches = 64 << 10
)

// patch is an update of the file that is only in the log.
type patch struct {
	off, size int64
	data      []byte // nil: zeros
}

// entry is a log entry that is whole, section 2.3.1.
type entry struct {
	at, length, tail int64
	sequence         uint64
	flushed, last    int64 // sizes of the file
	descriptors      int
}

// ring is the content of the log, section 2.3.
type ring struct {
	b      []byte
	id     guid
	known  map[int64]*entry // what has been looked at, by offset; nil is no entry
	hashed int64
}

// replay reads the updates of the log, section 2.3.3, in their order, and the size that the file has with them.
func replay(file image.Headers, h header) (patches []patch, size int64, err error) {
	if h.log == (guid{}) {
		return nil, file.Size, nil
	}
	if h.logLength == 0 {
		return nil, 0, image.Damaged(image.VHDX, "updates in a log that has no room")
	}
	if h.logLength > maxLog {
		return nil, 0, unsupported("a VHDX that was not closed, whose log of %d bytes is too large to be replayed here: let Hyper-V or qemu-img check -r all do it", h.logLength)
	}
	b, err := file.At("log", h.logOffset, h.logLength)
	if err != nil {
		return nil, 0, err
	}
	l := &ring{b: b, id: h.log, known: map[int64]*entry{}}
	active, err := l.active()
	if err != nil {
		return nil, 0, err
	}
	if len(active) == 0 {
		return nil, 0, image.Damaged(image.VHDX, "it was not closed, and nothing in its log is whole")
	}
	head := active[len(active)-1]
	if head.flushed > file.Size {
		return nil, 0, image.Damaged(image.VHDX, "a file of %d bytes, which had %d when it was written last: it is cut off", file.Size, head.flushed)
	}
	size = max(file.Size, head.last)
	for _, e := range active {
		if len(patches)+e.descriptors > maxPatches {
			return nil, 0, image.Damaged(image.VHDX, "more than %d updates in the log", maxPatches)
		}
		p, err := l.patches(e)
		if err != nil {
			return nil, 0, err
		}
		for _, p := range p {
			size = max(size, p.off+p.size)
		}
		patches = append(patches, p...)
	}
	return patches, size, nil
}

// active finds the newest sequence of entries that is valid and complete, by the steps of section 2.3.3.
func (l *ring) active() ([]*entry, error) {
	var candidate []*entry
	size := int64(len(l.b))
	for tail := int64(0); tail < size; {
		var current []*entry
		at, contained := tail, map[int64]bool{}
		for int64(len(current)) <= size/logSector {
			e, err := l.entry(at)
			if err != nil {
				return nil, err
			}
			if e == nil || len(current) > 0 && e.sequence != current[len(current)-1].sequence+1 || contained[at] {
				break
			}
			current, contained[at] = append(current, e), true
			at = (at + e.length) % size
		}
		if len(current) == 0 || !contained[current[len(current)-1].tail] {
			tail += logSector
			continue
		}
		head := current[len(current)-1]
		if len(candidate) == 0 || head.sequence > candidate[len(candidate)-1].sequence {
			for current[0].at != head.tail { // what comes before is done
				current = current[1:]
			}
			candidate = current
		}
		if at <= tail { // it has gone round
			break
		}
		tail = at
	}
	return candidate, nil
}

// slice gives a part of the ring, which may go round its end.
func (l *ring) slice(at, size int64) []byte {
	if at+size <= int64(len(l.b)) {
		return l.b[at : at+size]
	}
	return append(append(make([]byte, 0, size), l.b[at:]...), l.b[:at+size-int64(len(l.b))]...)
}

// entry reads the entry at an offset of the log. It is nil if there is none that is whole and of this log.
func (l *ring) entry(at int64) (*entry, error) {
	if e, ok := l.known[at]; ok {
		return e, nil
	}
	l.known[at] = nil
	le := binary.LittleEndian
	b := l.b[at : at+logSector]
	length := int64(le.Uint32(b[8:]))
	if string(b[:4]) != "loge" || guid(b[32:48]) != l.id || length == 0 || length%logSector != 0 || length > int64(len(l.b)) {
		return nil, nil
	}
	if l.hashed += length; l.hashed > maxHashed*int64(len(l.b)) {
		return nil, image.Damaged(image.VHDX, "entries of its log lie one over another")
	}
	whole := l.slice(at, length)
	if !intact(whole, "loge") {
		return nil, nil
	}
	e := &entry{
		at: at, length: length, tail: int64(le.Uint32(whole[12:])), sequence: le.Uint64(whole[16:]), descriptors: int(le.Uint32(whole[24:])),
		flushed: int64(le.Uint64(whole[48:])), last: int64(le.Uint64(whole[56:])),
	}
	if e.sequence == 0 || e.tail%logSector != 0 || e.tail >= int64(len(l.b)) || e.flushed < 0 || e.last < 0 || e.last > maxFile ||
		int64(e.descriptors) > (length-64)/32 {
		return nil, nil
	}
	l.known[at] = e
	return e, nil
}

// maxFile bounds what the log may make of the file's size, in bytes: the largest disk and its tables.
const maxFile = 2 * maxDisk

// patches reads the updates of an entry. That they are not as they should be in an entry whose checksum is right is no accident of a host switched off.
func (l *ring) patches(e *entry) ([]patch, error) {
	le := binary.LittleEndian
	b := l.slice(e.at, e.length)
	data := (64 + 32*int64(e.descriptors) + logSector - 1) / logSector * logSector // where the data sectors begin
	bad := func(what string) ([]patch, error) {
		return nil, image.Damaged(image.VHDX, "log entry %d: %s", e.sequence, what)
	}
	var all []patch
	for i := range e.descriptors {
		d := b[64+32*i:][:32]
		p := patch{off: int64(le.Uint64(d[16:])), size: logSector}
		if le.Uint64(d[24:]) != e.sequence || p.off < 0 || p.off%logSector != 0 || p.off > maxFile {
			return bad("a descriptor of another entry, or of no place in the file")
		}
		switch string(d[:4]) {
		case "zero":
			p.size = int64(le.Uint64(d[8:]))
			if p.size < 0 || p.size%logSector != 0 || p.size > maxFile {
				return bad("zeros of no size")
			}
		case "desc":
			if data+logSector > e.length {
				return bad("fewer data sectors than descriptors")
			}
			s := b[data : data+logSector]
			data += logSector
			if string(s[:4]) != "data" || le.Uint32(s[4:]) != uint32(e.sequence>>32) || le.Uint32(s[logSector-4:]) != uint32(e.sequence) {
				return bad("a data sector of another entry")
			}
			p.data = make([]byte, logSector)
			copy(p.data, d[8:16])
			copy(p.data[8:], s[8:logSector-4])
			copy(p.data[logSector-4:], d[4:8])
		default:
			return bad("an unknown descriptor")
		}
		all = append(all, p)
	}
	if data != e.length {
		return bad("more data sectors than descriptors")
	}
	return all, nil
}

// patched is a file with the updates of its log.
type patched struct {
	file    io.ReaderAt
	length  int64 // of the file itself; zeros follow
	patches []patch
}

func (f *patched) ReadAt(p []byte, off int64) (int, error) {
	n := int64(0)
	if off < f.length {
		n = min(int64(len(p)), f.length-off)
		if got, err := f.file.ReadAt(p[:n], off); int64(got) < n {
			return got, err
		}
	}
	clear(p[n:])
	for _, u := range f.patches {
		from, to := max(u.off, off), min(u.off+u.size, off+int64(len(p)))
		if from >= to {
			continue
		}
		if part := p[from-off : to-off]; u.data == nil {
			clear(part)
		} else {
			copy(part, u.data[from-u.off:])
		}
	}
	return len(p), nil
}
