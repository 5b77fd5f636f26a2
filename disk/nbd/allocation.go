package nbd

import (
	"context"
	"sort"

	"github.com/ingot-image/ingot/disk/image"
)

// maxExtents bounds the list of what is allocated. A source in more pieces than that is described in coarser units, with the smaller holes in
// what counts as data.
const maxExtents = 1 << 16

// minGrain is the finest unit in which holes are told, in bytes.
const minGrain = 4096

// allocation knows where a source has data.
type allocation struct {
	size  int64
	grain int64
	data  []image.Extent // in order, not touching
}

func newAllocation(ctx context.Context, src image.Source) (*allocation, error) {
	a := &allocation{size: src.Size(), grain: minGrain}
	err := src.Extents(ctx, func(e image.Extent) error {
		a.data = a.add(a.data, e)
		for len(a.data) > maxExtents {
			a.grain *= 2
			coarse := a.data[:0]
			for _, e := range a.data {
				coarse = a.add(coarse, e)
			}
			a.data = coarse
		}
		return nil
	})
	return a, err
}

// add appends an extent, widened to whole grains, to a list.
func (a *allocation) add(list []image.Extent, e image.Extent) []image.Extent {
	start := e.Start / a.grain * a.grain
	end := min((e.End()+a.grain-1)/a.grain*a.grain, a.size)
	if n := len(list); n > 0 && start <= list[n-1].End() {
		list[n-1].Size = max(end, list[n-1].End()) - list[n-1].Start
		return list
	}
	return append(list, image.Extent{Start: start, Size: end - start})
}

// at tells whether there is data at an offset on the disk, and how far that goes.
func (a *allocation) at(off int64) (end int64, data bool) {
	i := sort.Search(len(a.data), func(i int) bool { return a.data[i].End() > off })
	switch {
	case i == len(a.data):
		return a.size, false
	case a.data[i].Start > off:
		return a.data[i].Start, false
	}
	return a.data[i].End(), true
}
