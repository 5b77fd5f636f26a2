package layer

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ingot-image/ingot/disk"
)

// Info is a layer as it is listed.
type Info struct {
	ID         string    `json:"id"`
	ParentID   string    `json:"parentId,omitempty"`
	Base       string    `json:"base,omitempty"`
	Component  string    `json:"component,omitempty"` // what it ends with; empty: the booted base
	Step       string    `json:"step,omitempty"`
	Depth      int       `json:"depth"`
	Position   int       `json:"position"` // steps done in all
	Created    time.Time `json:"created"`
	LastUsed   time.Time `json:"lastUsed"`
	CostMS     int64     `json:"costMs"`  // what its own steps took, or the boot
	SavesMS    int64     `json:"savesMs"` // what a build that goes on from it is spared: the boot and all steps
	SaveCostMS int64     `json:"saveCostMs"`
	// SizeBytes is what it takes on the disk, of which MemoryBytes are its memory; without one the guest boots from the layer's disk.
	SizeBytes        int64 `json:"sizeBytes"`
	MemoryBytes      int64 `json:"memoryBytes"`
	MemoryCompressed bool  `json:"memoryCompressed"`
	InUse            bool  `json:"inUse"`
	Pinned           bool  `json:"pinned"` // a kept VM needs its disk
}

// List tells of all layers: parents before their children, of siblings the oldest first. Children follow their parent at once.
func (s *Store) List() ([]Info, error) {
	all, err := s.load()
	if err != nil {
		return nil, fmt.Errorf("list layers: %w", err)
	}
	pinned := s.o.Pinned()
	list := []Info{}
	var visit func(parentID string)
	visit = func(parentID string) {
		var layers []*Layer
		for _, id := range all.ids(parentID) {
			if l := all.layers[id]; l != nil {
				layers = append(layers, l)
			}
		}
		slices.SortFunc(layers, func(a, b *Layer) int { return cmp.Or(cmp.Compare(a.Base, b.Base), oldestFirst(a, b)) })
		for _, l := range layers {
			list = append(list, s.info(l, pinned[l.ID] || pinned[filepath.Base(s.path(l))]))
			visit(l.ID)
		}
	}
	visit("")
	return list, nil
}

func (s *Store) info(l *Layer, pinned bool) Info {
	dir := s.path(l)
	i := Info{
		ID: l.ID, ParentID: l.ParentID, Base: l.Base, Component: l.Component, Step: l.Step, Depth: l.Depth, Position: l.Position,
		Created: l.Created, LastUsed: l.Used, CostMS: l.Cost.Milliseconds(), SavesMS: l.Total.Milliseconds(), SaveCostMS: l.SaveCost.Milliseconds(),
		Pinned: pinned,
	}
	memory, disk := s.sizes(l)
	i.SizeBytes, i.MemoryBytes, i.MemoryCompressed = memory+disk, memory, l.MemoryCompressed && memory > 0
	f, err := tryFolder(dir, unix.LOCK_EX)
	i.InUse = f == nil && err == nil
	if f != nil {
		f.Close()
	}
	return i
}

// Usage is what the store takes, and what it may.
type Usage struct {
	SizeBytes int64 `json:"sizeBytes"`
	MaxBytes  int64 `json:"maxBytes"`
}

// Usage tells how much of its budget the store takes, drafts included.
func (s *Store) Usage() (Usage, error) {
	used, err := disk.Allocated(s.dir)
	if err != nil && !os.IsNotExist(err) {
		return Usage{}, fmt.Errorf("measure the store of layers: %w", err)
	}
	return Usage{SizeBytes: used, MaxBytes: s.budget(used)}, nil
}
