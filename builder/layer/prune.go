package layer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ingot-image/ingot/disk"
)

// PruneOptions tell what is to be removed. Without any, what is beyond the budget.
type PruneOptions struct {
	// All removes every layer that nobody uses, and what is remembered of finished images.
	All bool
	// OlderThan removes what no build has gone on from for so long; 0 none.
	OlderThan time.Duration
	// ToSize is how many bytes the store may take; 0 is the budget, -1 no bound.
	ToSize int64
}

// Freed is what was removed.
type Freed struct {
	Bytes    int64 `json:"bytes"`
	Layers   int   `json:"layers"`
	Memories int   `json:"memories"` // of layers that stay
}

// Prune removes layers, those that were used least recently first, and what killed processes have left. A layer that others are built on loses
// its memory only, until they are gone. What a build uses now stays, and so do disks that are pinned.
func (s *Store) Prune(ctx context.Context, o PruneOptions) (Freed, error) {
	freed, err := s.prune(ctx, o)
	if err != nil {
		return freed, fmt.Errorf("prune layers: %w", err)
	}
	return freed, nil
}

func (s *Store) prune(ctx context.Context, o PruneOptions) (Freed, error) {
	before, err := disk.Allocated(s.dir)
	if err != nil {
		return Freed{}, err
	}
	p, err := s.plan(ctx)
	if err != nil {
		return Freed{}, err
	}
	defer p.close()
	now := s.o.Now()
	if o.All {
		p.removeWhile(func(*node) bool { return true })
		if err := os.RemoveAll(filepath.Join(s.dir, finishedName)); err != nil {
			return Freed{}, err
		}
	}
	if o.OlderThan > 0 {
		p.removeWhile(func(n *node) bool { return now.Sub(n.used) > o.OlderThan })
		s.forgetFinished(o.OlderThan)
	}
	if size := o.ToSize; size >= 0 {
		if size == 0 {
			size = s.budget(p.used)
		}
		p.removeWhile(func(*node) bool { return p.used-p.freed > size })
	}
	freed, err := p.execute()
	after, _ := disk.Allocated(s.dir)
	freed.Bytes = max(before-after, 0)
	return freed, err
}

// budget is the bytes that the store may take, when it takes used of them.
func (s *Store) budget(used int64) int64 {
	if s.o.MaxSize > 0 {
		return s.o.MaxSize
	}
	left, err := s.o.Free(s.dir)
	if err != nil {
		return defaultMinimum
	}
	return max((left+used)/10, defaultMinimum)
}

// node is a layer as the pruner sees it.
type node struct {
	layer        *Layer
	used         time.Time
	children     int   // that stay
	disk, memory int64 // bytes; disk is all but the memory
	pinned       bool
	busy         bool     // somebody has it
	shared       bool     // the caller has it, and somebody else, too
	locked       *os.File // the exclusive lock, of those that are to be removed or robbed of their memory
	noMemory     bool     // its memory is to be removed
	gone         bool     // the whole is to be removed
}

// plan is what is about to be removed. The store is locked from its making until close, and the locks of what is in it are held.
type plan struct {
	s      *Store
	unlock func()
	nodes  map[string]*node
	order  []*node // used least recently first
	junk   []junk
	used   int64 // bytes of the store
	freed  int64 // bytes that the plan would free
	// claimed are the caller's own locks that are exclusive for now.
	claimed []*os.File
}

// junk is a folder that nobody can use and nobody has: a draft of a killed process, a layer with a damaged record or none, one whose
// parent is gone.
type junk struct {
	path   string
	locked *os.File
}

// plan begins a plan, with nothing in it but junk. What somebody holds, or needs the disk of, is left for the next time.
func (s *Store) plan(ctx context.Context) (*plan, error) {
	unlock, err := s.lock(ctx, unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	p := &plan{s: s, unlock: unlock, nodes: map[string]*node{}}
	all, err := s.load()
	if err != nil {
		p.close()
		return nil, err
	}
	now, pinned := s.o.Now(), s.o.Pinned()
	for id, l := range all.layers {
		n := &node{layer: l, used: l.Used, pinned: pinned[id] || pinned[filepath.Base(s.path(l))]}
		if n.used.After(now) { // the clock has gone back
			n.used = now
		}
		n.memory, n.disk = s.sizes(l)
		p.used += n.memory + n.disk
		p.nodes[id] = n
		p.order = append(p.order, n)
	}
	for id, n := range p.nodes {
		for _, child := range all.ids(id) { // those whose records cannot be read at the moment, too
			if !slices.Contains(all.junk, folder(id, child)) {
				n.children++
			}
		}
	}
	for _, name := range all.junk {
		path := filepath.Join(s.dir, name)
		size, _ := disk.Allocated(path)
		p.used += size
		_, id, _ := parseFolder(name)
		if pinned[id] || pinned[name] {
			continue
		}
		if locked, err := tryFolder(path, unix.LOCK_EX); err == nil && locked != nil {
			p.junk = append(p.junk, junk{path, locked})
			p.freed += size
		}
	}
	finished, _ := disk.Allocated(filepath.Join(s.dir, finishedName))
	p.used += finished
	slices.SortFunc(p.order, func(a, b *node) int {
		if c := a.used.Compare(b.used); c != 0 {
			return c
		}
		return oldestFirst(b.layer, a.layer) // the deepest first, so that a chain goes from its end
	})
	return p, nil
}

// sizes are the bytes that a layer's memory and all else of it take now. The disk does not change any more; the memory may be gone.
func (s *Store) sizes(l *Layer) (memory, disk int64) {
	disk = l.SizeBytes
	if l.Memory == "" {
		return 0, disk
	}
	var st unix.Stat_t
	if err := unix.Lstat(s.path(l, l.Memory), &st); err == nil {
		memory = st.Blocks * 512
		return memory, max(disk-memory, 0)
	}
	return 0, max(disk-l.Files[l.Memory].Size, 0)
}

func oldestFirst(a, b *Layer) int {
	if a.Depth != b.Depth {
		return a.Depth - b.Depth
	}
	if c := a.Created.Compare(b.Created); c != 0 {
		return c
	}
	return strings.Compare(a.ID, b.ID)
}

// removeWhile plans to remove what was used least recently, as long as wanted says so of the next one.
func (p *plan) removeWhile(wanted func(*node) bool) {
	for again := true; again; {
		again = false
		for _, n := range p.order {
			if !n.removable() || !wanted(n) || !p.take(n) {
				continue
			}
			if n.children > 0 || n.pinned {
				n.noMemory = true
				p.freed += n.memory
				continue
			}
			n.gone = true
			p.freed += n.disk
			if !n.noMemory {
				p.freed += n.memory
			}
			if parent := p.nodes[n.layer.ParentID]; parent != nil {
				parent.children--
				// It may come before this one.
				again = true
				break
			}
		}
	}
}

// removable tells whether there is something to remove of a layer.
func (n *node) removable() bool {
	if n.busy || n.gone {
		return false
	}
	return n.children == 0 && !n.pinned || n.memory > 0 && !n.noMemory
}

// take locks a layer, unless somebody uses it.
func (p *plan) take(n *node) bool {
	if n.locked == nil {
		n.locked, _ = tryFolder(p.s.path(n.layer), unix.LOCK_EX)
		n.busy = n.locked == nil
	}
	return !n.busy
}

// clear takes all layers out of the plan.
func (p *plan) clear() {
	for _, n := range p.nodes {
		n.gone, n.noMemory = false, false
	}
}

// execute removes what was planned, and closes the plan. Folders get out of the way by rename; they are deleted when the store's lock is given
// back, so that nobody waits for that.
func (p *plan) execute() (Freed, error) {
	defer p.close()
	var freed Freed
	var errs []error
	var hidden []string
	hide := func(path string) bool {
		to := p.s.goneName()
		if err := os.Rename(path, to); err != nil {
			errs = append(errs, err)
			return false
		}
		hidden = append(hidden, to)
		return true
	}
	for _, j := range p.junk {
		hide(j.path)
	}
	for _, n := range p.order {
		switch {
		case n.gone:
			if hide(p.s.path(n.layer)) {
				freed.Layers++
			}
		case n.noMemory:
			if err := os.Remove(p.s.path(n.layer, n.layer.Memory)); err != nil {
				errs = append(errs, err)
			} else {
				freed.Memories++
			}
		}
	}
	errs = append(errs, p.release())
	p.unlock()
	p.unlock = nil
	for _, path := range hidden {
		errs = append(errs, os.RemoveAll(path))
	}
	freed.Bytes = p.freed
	return freed, errors.Join(errs...)
}

// close gives all locks back.
func (p *plan) close() {
	for _, n := range p.order {
		if n.locked != nil {
			n.locked.Close()
			n.locked = nil
		}
	}
	for _, j := range p.junk {
		j.locked.Close()
	}
	p.release()
	if p.unlock != nil {
		p.unlock()
		p.unlock = nil
	}
}

// goneName is a hidden name for a folder on its way out.
func (s *Store) goneName() string { return filepath.Join(s.dir, "."+randomID()+goneSuffix) }
