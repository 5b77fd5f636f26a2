package layer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
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
	before, err := allocated(s.dir)
	if err != nil {
		return Freed{}, err
	}
	if err := s.sweep(ctx); err != nil {
		return Freed{}, err
	}
	now := s.o.Now()
	p, err := s.plan(ctx)
	if err != nil {
		return Freed{}, err
	}
	defer p.close()
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
	after, _ := allocated(s.dir)
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

// makeRoom removes what it must for a layer of need bytes, or nothing if that is not enough.
func (s *Store) makeRoom(ctx context.Context, need int64) (price, error) {
	if err := s.sweep(ctx); err != nil {
		return price{}, err
	}
	p, err := s.plan(ctx)
	if err != nil {
		return price{}, err
	}
	defer p.close()
	left, err := s.o.Free(s.dir)
	if err != nil {
		return price{}, err
	}
	budget := s.budget(p.used)
	missing := func() int64 { return max(p.used-p.freed+need-budget, need+s.o.Reserve-left-p.freed) }
	if need <= budget {
		p.removeWhile(func(*node) bool { return missing() > 0 })
	}
	if lack := missing(); lack > 0 {
		return price{}, fmt.Errorf("%w: it needs about %d MiB; the budget is %d MiB, of which %d MiB are taken, and %d MiB are free on the disk",
			ErrNoRoom, need>>20, budget>>20, p.used>>20, left>>20)
	}
	room := price{used: p.used - p.freed + need, budget: min(budget, p.used+left-s.o.Reserve)}
	for _, n := range p.nodes {
		room.saves, room.bytes = room.saves+n.layer.Cost, room.bytes+n.disk+n.memory
	}
	_, err = p.execute()
	return room, err
}

// node is a layer as the pruner sees it.
type node struct {
	layer        *Layer
	used         time.Time
	children     int
	disk, memory int64 // bytes; disk is all but the memory
	pinned       bool
	busy         bool     // somebody has it
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
	used   int64   // bytes of the store
	freed  int64   // bytes that the plan would free
}

func (s *Store) plan(ctx context.Context) (*plan, error) {
	unlock, err := s.lock(ctx, unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	p := &plan{s: s, unlock: unlock, nodes: map[string]*node{}}
	all, err := s.load()
	if err == nil {
		p.used, err = allocated(s.dir)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	now, pinned := s.o.Now(), s.o.Pinned()
	for id, l := range all.layers {
		n := &node{layer: l, used: l.Used, children: len(all.children[id]), pinned: pinned[id]}
		if n.used.After(now) { // the clock has gone back
			n.used = now
		}
		whole, err := allocated(filepath.Join(s.dir, id))
		if err == nil && l.Memory != "" {
			n.memory, _ = allocated(filepath.Join(s.dir, id, l.Memory))
		}
		n.disk = whole - n.memory
		p.nodes[id] = n
		p.order = append(p.order, n)
	}
	slices.SortFunc(p.order, func(a, b *node) int {
		if c := a.used.Compare(b.used); c != 0 {
			return c
		}
		return oldestFirst(b.layer, a.layer) // the deepest first, so that a chain goes from its end
	})
	return p, nil
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
		n.locked, _ = tryFolder(filepath.Join(p.s.dir, n.layer.ID), unix.LOCK_EX)
		n.busy = n.locked == nil
	}
	return !n.busy
}

// execute removes what was planned: it gets out of the way by rename, the lock is given back, and then it is deleted.
func (p *plan) execute() (Freed, error) {
	var freed Freed
	var errs []error
	var gone []string
	for _, n := range p.order {
		dir := filepath.Join(p.s.dir, n.layer.ID)
		switch {
		case n.gone:
			hidden := p.s.goneName()
			if err := os.Rename(dir, hidden); err != nil {
				errs = append(errs, err)
				continue
			}
			gone = append(gone, hidden)
			freed.Layers++
		case n.noMemory:
			if err := os.Remove(filepath.Join(dir, n.layer.Memory)); err != nil {
				errs = append(errs, err)
				continue
			}
			freed.Memories++
		}
	}
	p.unlock()
	p.unlock = nil
	for _, dir := range gone {
		errs = append(errs, os.RemoveAll(dir))
	}
	p.close()
	freed.Bytes = p.freed
	return freed, errors.Join(errs...)
}

func (p *plan) close() {
	for _, n := range p.order {
		if n.locked != nil {
			n.locked.Close()
			n.locked = nil
		}
	}
	if p.unlock != nil {
		p.unlock()
		p.unlock = nil
	}
}

// sweep removes what nobody can use: drafts of killed processes, folders with damaged records or none, layers whose parents are gone. What
// somebody holds, or needs the disk of, stays until the next time.
func (s *Store) sweep(ctx context.Context) error {
	unlock, err := s.lock(ctx, unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer func() { unlock() }()
	all, err := s.load()
	if err != nil || len(all.junk) == 0 {
		return err
	}
	pinned := s.o.Pinned()
	var errs []error
	var gone []string
	for _, name := range all.junk {
		path := filepath.Join(s.dir, name)
		if pinned[name] {
			continue
		}
		locked, err := tryFolder(path, unix.LOCK_EX)
		if locked == nil || err != nil {
			continue
		}
		defer locked.Close()
		if layerID.MatchString(name) {
			hidden := s.goneName()
			if err := os.Rename(path, hidden); err != nil {
				errs = append(errs, err)
				continue
			}
			path = hidden
		}
		gone = append(gone, path)
	}
	unlock()
	unlock = func() {}
	for _, path := range gone {
		errs = append(errs, os.RemoveAll(path))
	}
	return errors.Join(errs...)
}

// goneName is a hidden name for a folder on its way out.
func (s *Store) goneName() string { return filepath.Join(s.dir, "."+randomID()+goneSuffix) }

// allocated is what a file or folder takes on the disk, in bytes. Files that go meanwhile count for nothing.
func allocated(path string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(path, func(at string, e fs.DirEntry, err error) error {
		if err == nil {
			var info fs.FileInfo
			if info, err = e.Info(); err == nil {
				if st, ok := info.Sys().(*syscall.Stat_t); ok {
					sum += st.Blocks * 512
				}
			}
		}
		if errors.Is(err, fs.ErrNotExist) && at != path {
			return nil
		}
		return err
	})
	return sum, err
}
