package lvm

import (
	"context"
	"fmt"
	"io"
	"math/bits"
	"sort"

	"github.com/ingot-image/ingot/disk/image"
)

// view is a logical volume as a disk.
type view struct {
	src   image.Source
	size  int64
	parts []part // one after the other, from 0 to size
}

// part is a segment: bytes from at on, in turns of stripe bytes from each of the places in src.
type part struct {
	at, size int64
	stripe   int64 // 0 if there is only one place
	places   []int64
}

func (v *view) Size() int64 { return v.size }

// ReadAt reads the volume.
func (v *view) ReadAt(b []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("read at %d", off)
	}
	for n < len(b) {
		if off >= v.size {
			return n, io.EOF
		}
		i := sort.Search(len(v.parts), func(i int) bool { return v.parts[i].at+v.parts[i].size > off })
		at, most := v.parts[i].place(off - v.parts[i].at)
		want := int(min(int64(len(b)-n), most))
		got, err := v.src.ReadAt(b[n:n+want], at)
		n, off = n+got, off+int64(got)
		if got < want {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
	}
	return n, nil
}

// place gives where a byte of the part is, and how many follow it there.
func (p *part) place(off int64) (at, most int64) {
	if p.stripe == 0 {
		return p.places[0] + off, p.size - off
	}
	chunk, within := off/p.stripe, off%p.stripe
	count := int64(len(p.places))
	return p.places[chunk%count] + chunk/count*p.stripe + within, p.stripe - within
}

// Extents calls f for what the physical volume's extents make of the volume, in steps of a unit. Segments may be anywhere, and their number is
// the metadata's choice, so that which units are used is found in one pass, into a map of at most 4 MiB.
func (v *view) Extents(ctx context.Context, f func(image.Extent) error) error {
	used, err := v.used(ctx)
	if err != nil {
		return err
	}
	out := joined{f: f}
	for i := range v.parts {
		p := &v.parts[i]
		count := int64(len(p.places))
		length := p.size / count // in each place
		step := length
		if count > 1 {
			step = max(p.stripe, used.unit/p.stripe*p.stripe)
		}
		for off := int64(0); off < length; off += step {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			n := min(step, length-off)
			if count == 1 {
				err = used.each(ctx, p.places[0]+off, n, func(e image.Extent) error {
					return out.add(image.Extent{Start: p.at + e.Start - p.places[0], Size: e.Size})
				})
			} else if used.any(p.places, off, n) {
				err = out.add(image.Extent{Start: p.at + off*count, Size: n * count})
			}
			if err != nil {
				return err
			}
		}
	}
	return out.flush()
}

// joined passes on extents, those that touch as one.
type joined struct {
	f    func(image.Extent) error
	last image.Extent
}

func (j *joined) add(e image.Extent) error {
	if j.last.Size > 0 && j.last.End() == e.Start {
		j.last.Size += e.Size
		return nil
	}
	err := j.flush()
	j.last = e
	return err
}

func (j *joined) flush() error {
	if j.last.Size == 0 {
		return nil
	}
	return j.f(j.last)
}

// usage is a bit for each unit of a disk: whether any of it is in an extent.
type usage struct {
	unit int64
	bits []uint64
}

const (
	usageUnit = 64 << 10
	maxUnits  = 1 << 25
)

func (v *view) used(ctx context.Context) (*usage, error) {
	u := &usage{unit: usageUnit}
	for v.src.Size()/u.unit >= maxUnits {
		u.unit *= 2
	}
	u.bits = make([]uint64, v.src.Size()/u.unit/64+1)
	err := v.src.Extents(ctx, func(e image.Extent) error {
		for i := e.Start / u.unit; i <= (e.End()-1)/u.unit; i++ {
			if i%64 == 0 && i+64 <= (e.End()-1)/u.unit {
				u.bits[i/64] = ^uint64(0)
				i += 63
				continue
			}
			u.bits[i/64] |= 1 << (i % 64)
		}
		return nil
	})
	return u, err
}

// next finds the first unit from i to end-1 that is used, or is not; end if there is none.
func (u *usage) next(i, end int64, used bool) int64 {
	for i < end {
		w := u.bits[i/64]
		if !used {
			w = ^w
		}
		if w >>= i % 64; w != 0 {
			return min(i+int64(bits.TrailingZeros64(w)), end)
		}
		i = (i/64 + 1) * 64
	}
	return end
}

// each calls f for the parts of a range that are used.
func (u *usage) each(ctx context.Context, start, size int64, f func(image.Extent) error) error {
	end := (start + size + u.unit - 1) / u.unit
	for i := start / u.unit; ; {
		first := u.next(i, end, true)
		if first == end {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		i = u.next(first, end, false)
		from, to := max(first*u.unit, start), min(i*u.unit, start+size)
		if err := f(image.Extent{Start: from, Size: to - from}); err != nil {
			return err
		}
	}
}

// any tells whether something is used at an offset from one of the places.
func (u *usage) any(places []int64, off, size int64) bool {
	for _, place := range places {
		first, end := (place+off)/u.unit, (place+off+size+u.unit-1)/u.unit
		if u.next(first, end, true) < end {
			return true
		}
	}
	return false
}
