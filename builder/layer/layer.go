package layer

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// Root is what a tree of layers starts from, as digests of the caller's ([Store.Sum]).
type Root struct {
	// Disk covers all that decides what is on the disk of the booted base: the base's content, the volume's size, the agent; and what the
	// steps are promised of their machine: vCPUs and memory.
	Disk string `json:"disk"`
	// Machine covers what a resumed guest must find again besides: QEMU's version, CPU model, devices.
	Machine string `json:"machine"`
}

// Read is something that steps asked of the host, and what the answer was. Whether it is the same today is for the caller to tell
// ([Query].Check); Kind and Name are the caller's own.
type Read struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Digest string `json:"digest"`
}

// Segment is what happened in a guest between a layer and the one below.
type Segment struct {
	// Steps are the digests of the steps that were run, in their order.
	Steps []string `json:"steps"`
	// Reads are what they asked of the host. The store sorts them.
	Reads []Read `json:"reads,omitempty"`
	// Component and Step name what the segment ends with, for people; empty for a root.
	Component string `json:"component,omitempty"`
	Step      string `json:"step,omitempty"`
	// Components are the names of those that ended in the segment, in their order.
	Components []string `json:"components,omitempty"`
}

// File tells what a file of a layer must be.
type File struct {
	Size  int64  `json:"size"`  // bytes
	XXH64 string `json:"xxh64"` // 16 hexadecimal digits
}

// Layer is a saved state of a guest. A caller that commits one gives Root (of a root; else that of the layer below is the default), Base,
// the Segment, Cost, SaveCost, State, Guest and Disks; the store knows the rest.
type Layer struct {
	// ID is the layer's name: 12 hexadecimal digits, drawn at random.
	ID string `json:"id"`
	// Key is the MAC of all that decided the layer; DiskKey the same without Root.Machine.
	Key     string `json:"key"`
	DiskKey string `json:"diskKey"`
	// ParentID is the layer below; empty for a root.
	ParentID string `json:"parentId,omitempty"`
	Root     Root   `json:"root"`
	// Base names the base, for people. It passes from parent to child.
	Base string `json:"base,omitempty"`
	Segment
	// Depth is the number of layers below, Position the number of steps done in all.
	Depth    int `json:"depth"`
	Position int `json:"position"`
	// Created is when the layer was committed. Oldest is when the first steps in the chain began: Created less Cost of the first layer that
	// has any, zero before.
	Created time.Time `json:"created"`
	Oldest  time.Time `json:"oldest,omitzero"`
	// Used is when a build last went on from the layer.
	Used time.Time `json:"-"`
	// Cost is what the segment took when it ran, of a root the boot; Total the sum over the chain, which is what the layer saves.
	Cost  time.Duration `json:"costNs"`
	Total time.Duration `json:"totalNs"`
	// SaveCost is for how long the guest stood still to be saved.
	SaveCost time.Duration `json:"saveCostNs"`
	// Disks are the names of the disk's overlays, the lowest first.
	Disks []string `json:"disks"`
	// Memory is the name of the memory's file, empty if there is none. That it was removed since is told by [Info] and [Chain.BootFromDisk].
	Memory           string `json:"memory,omitempty"`
	MemoryCompressed bool   `json:"memoryCompressed,omitempty"` // by zstd
	// Others are the names of further files that the caller has put into the draft's folder: what else belongs to the guest's machine. Commit
	// finds them.
	Others []string `json:"others,omitempty"`
	// Files tells of each disk, the memory and the others.
	Files map[string]File `json:"files"`
	// SizeBytes is what the layer took on the disk when it was committed.
	SizeBytes int64 `json:"sizeBytes"`

	// State and Guest are the caller's own. Only the last layer of a chain has them.
	State json.RawMessage `json:"-"`
	Guest json.RawMessage `json:"-"`
}

// layerID is how a layer is called.
var layerID = regexp.MustCompile(`^[0-9a-f]{12}$`)

// fileName is how files of layers may be called: no way leads out of the folder.
var fileName = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,99}$`)

const (
	recordName   = "layer.json"
	stateName    = "state.json"
	verifiedName = "verified"
)

// check tells what is wrong with a record, whoever wrote it.
func (l *Layer) check(parentID, id string) error {
	switch {
	case l.ID != id || l.ParentID != parentID:
		return fmt.Errorf("is of the layer %.20q on %.20q", l.ID, l.ParentID)
	case (parentID == "") != (l.Depth == 0), l.Depth < 0:
		return fmt.Errorf("the depth %d does not go with the parent %.20q", l.Depth, l.ParentID)
	case l.Position < len(l.Steps), l.Depth == 0 && l.Position != len(l.Steps):
		return fmt.Errorf("the position %d does not go with %d steps", l.Position, len(l.Steps))
	case len(l.Disks) == 0:
		return fmt.Errorf("has no disk")
	case len(l.Files) != len(l.names()):
		return fmt.Errorf("tells of %d files", len(l.Files))
	case l.Cost < 0 || l.Total < l.Cost || l.SaveCost < 0:
		return fmt.Errorf("tells of negative times")
	}
	for _, name := range l.names() {
		f, known := l.Files[name]
		if !fileName.MatchString(name) || reserved(name) || !known || f.Size < 0 {
			return fmt.Errorf("%.100q is not the name of a file of a layer", name)
		}
	}
	return nil
}

func reserved(name string) bool {
	return name == recordName || name == stateName || name == verifiedName
}

// names are those of the layer's files, the memory last.
func (l *Layer) names() []string {
	names := l.lasting()
	if l.Memory != "" {
		names = append(names, l.Memory)
	}
	return names
}

// lasting are those that the layers above may need, too.
func (l *Layer) lasting() []string { return slices.Concat(l.Disks, l.Others) }

// keys gives the Key and DiskKey of the last one of a chain of layers, as they are for a root.
func (s *Store) keys(root Root, chain []*Layer) (key, diskKey string) {
	key, diskKey = s.Sum("layer", root.Disk, root.Machine), s.Sum("layer disk", root.Disk)
	for _, l := range chain {
		parts := append([]string{"layer segment", "", strconv.Itoa(len(l.Steps))}, l.Steps...)
		for _, r := range l.Reads {
			parts = append(parts, r.Kind, r.Name, r.Digest)
		}
		parts[1] = key
		key = s.Sum(parts...)
		parts[1] = diskKey
		diskKey = s.Sum(parts...)
	}
	return key, diskKey
}

// sortedReads brings reads into an order that does not depend on chance, each once.
func sortedReads(reads []Read) []Read {
	sorted := slices.Clone(reads)
	slices.SortFunc(sorted, func(a, b Read) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Digest, b.Digest))
	})
	return slices.Compact(sorted)
}
