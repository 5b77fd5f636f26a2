package layer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// Query asks for a layer to go on from.
type Query struct {
	Root Root
	// Steps are the digests of all steps of the build.
	Steps []string
	// MaxAge is how long ago the oldest steps may have run; 0 is no bound. A booted base without steps has no age. When the clock has gone
	// back, so that a layer is from the future, its age is unknown, which is too old for any bound.
	MaxAge time.Duration
	// Until is the number of steps that a layer may hold at most; -1 is no bound.
	Until int
	// Longest asks for the longest chain even if its guest would have to be booted, and going on from a shorter one's memory would be faster.
	Longest bool
	// Check tells whether reads would have the same answers today. It gets those of one layer at a time, without those that it has found to
	// be the same before in this Find. nil: only layers without reads are used.
	Check func(context.Context, []Read) (bool, error)
}

// clockStep is how far a layer may be from the future without its age being unknown: clocks are set a little all the time.
const clockStep = time.Minute

// Find gives the longest chain of layers that the build can go on from; of several that are as long the newest. It is nil if there is none.
//
// Of layers that end at the same step, which was run several times then, the newest counts, as long as its reads have the same answers today,
// and the others are passed over with all that stands on them. So what was run again on purpose is what later builds go on from, even if
// that run did not come as far as the one before.
//
// The chain's last layer has its memory, made by the same machine, or else the guest has to be booted from its disk: then BootFromDisk is
// set. A disk that goes further than any memory is preferred if its further steps took longer than the boot. A disk without any steps on
// it is of no use: the base is as good.
//
// Find reads the layers' records only, so call [Chain.Verify] before using files, and Close the chain at the end.
func (s *Store) Find(ctx context.Context, q Query) (*Chain, error) {
	chain, err := s.find(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("find a layer: %w", err)
	}
	return chain, nil
}

func (s *Store) find(ctx context.Context, q Query) (*Chain, error) {
	all, err := s.scan()
	if err != nil {
		return nil, err
	}
	f := &finding{s: s, q: q, all: all, unusable: map[string]bool{}, good: map[Read]bool{}}
	candidates := f.candidates()
	for {
		latest, err := f.latest(ctx, candidates)
		if err != nil {
			return nil, err
		}
		best, memory, err := f.choose(ctx, latest)
		if best == nil || err != nil {
			return nil, err
		}
		chain, err := f.take(ctx, best, memory)
		if chain != nil || err != nil {
			return chain, err
		}
	}
}

// finding is one Find under way.
type finding struct {
	s        *Store
	q        Query
	all      *forest
	unusable map[string]bool // IDs of layers that were found to be out of question, and so all that is built on them
	good     map[Read]bool   // reads that are the same today
	bad      [][]Read        // sets of reads that are not all the same today
}

// candidates are the layers whose steps and age are right, the best first.
func (f *finding) candidates() []*Layer {
	var found []*Layer
	var visit func(below *Layer)
	visit = func(below *Layer) {
		for _, l := range f.all.on(below) {
			if l.Root.Disk == f.q.Root.Disk && f.fits(l) {
				found = append(found, l)
				visit(l)
			}
		}
	}
	visit(nil)
	slices.SortFunc(found, func(a, b *Layer) int {
		return cmp.Or(cmp.Compare(b.Position, a.Position), b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID))
	})
	return found
}

// fits tells whether a layer's own steps are the next ones of the build, and not too old.
func (f *finding) fits(l *Layer) bool {
	from := l.Position - len(l.Steps)
	if l.Position > len(f.q.Steps) || f.q.Until >= 0 && l.Position > f.q.Until || !slices.Equal(l.Steps, f.q.Steps[from:l.Position]) {
		return false
	}
	if f.q.MaxAge <= 0 || l.Oldest.IsZero() {
		return true
	}
	age := f.s.o.Now().Sub(l.Oldest)
	return age <= f.q.MaxAge && age >= -clockStep
}

// latest leaves out the candidates that stand on what was run again since. It goes from the first step to the last, so that of builds that were
// under way at once one is left whole. A layer without steps of its own is no run of any.
func (f *finding) latest(ctx context.Context, candidates []*Layer) ([]*Layer, error) {
	passed := map[string]bool{} // IDs
	stands := func(l *Layer) bool {
		return slices.ContainsFunc(f.all.chain(l), func(below *Layer) bool { return passed[below.ID] })
	}
	for end := len(candidates); end > 0; {
		start := end - 1
		for start > 0 && candidates[start-1].Position == candidates[end-1].Position {
			start--
		}
		var runs []*Layer // of the same steps, the newest first
		for _, l := range candidates[start:end] {
			if len(l.Steps) > 0 && !stands(l) {
				runs = append(runs, l)
			}
		}
		for i := 0; i < len(runs) && len(runs) > 1; i++ {
			ok, err := f.usable(ctx, runs[i])
			if err != nil {
				return nil, err
			}
			if !ok {
				continue
			}
			for _, older := range runs[i+1:] {
				if older.Created.Before(runs[i].Created) { // nobody knows of two that were made at once
					passed[older.ID] = true
				}
			}
			break
		}
		end = start
	}
	return slices.DeleteFunc(slices.Clone(candidates), stands), nil
}

// choose gives the layer to go on from, and whether its memory is to be used.
func (f *finding) choose(ctx context.Context, candidates []*Layer) (best *Layer, memory bool, err error) {
	usable := func(fit func(*Layer) bool) (*Layer, error) {
		for _, l := range candidates {
			if !fit(l) {
				continue
			}
			if ok, err := f.usable(ctx, l); ok || err != nil {
				return l, err
			}
		}
		return nil, nil
	}
	furthest, err := usable(func(l *Layer) bool { return l.Position > 0 })
	if err != nil {
		return nil, false, err
	}
	// Other branches hold older runs of its steps; a booted base is as good as any other.
	var chain []*Layer
	if furthest != nil {
		chain = f.all.chain(furthest)
	}
	resumed, err := usable(func(l *Layer) bool {
		return (l.Position == 0 || furthest != nil && l.Position == furthest.Position || slices.Contains(chain, l)) && f.noMemory(l) == ""
	})
	if err != nil {
		return nil, false, err
	}
	if furthest != nil && (resumed == nil || furthest.Position > resumed.Position && (f.q.Longest || furthest.Total-resumed.Total > chain[0].Cost)) {
		return furthest, false, nil
	}
	return resumed, resumed != nil, nil
}

// usable tells whether all reads of the chain are the same today.
func (f *finding) usable(ctx context.Context, last *Layer) (bool, error) {
	chain := f.all.chain(last)
	for i, l := range chain {
		if f.unusable[l.ID] {
			return false, nil
		}
		key, diskKey := f.s.keys(l.Root, chain[1:i+1])
		ok := key == l.Key && diskKey == l.DiskKey
		if ok {
			var err error
			if ok, err = f.same(ctx, l.Reads); err != nil {
				return false, err
			}
		}
		if !ok {
			f.unusable[l.ID] = true
			return false, nil
		}
	}
	return true, nil
}

// same tells whether reads have the same answers today, asking only for those that are not known to.
func (f *finding) same(ctx context.Context, reads []Read) (bool, error) {
	var unknown []Read
	for _, r := range reads {
		if !f.good[r] {
			unknown = append(unknown, r)
		}
	}
	if len(unknown) == 0 {
		return true, nil
	}
	for _, set := range f.bad {
		if !slices.ContainsFunc(set, func(r Read) bool { return !slices.Contains(unknown, r) }) {
			return false, nil
		}
	}
	if f.q.Check == nil {
		return false, nil
	}
	ok, err := f.q.Check(ctx, unknown)
	if err != nil {
		return false, err
	}
	if !ok {
		f.bad = append(f.bad, unknown)
		return false, nil
	}
	for _, r := range unknown {
		f.good[r] = true
	}
	return true, nil
}

// noMemory tells why a guest cannot be resumed from a layer; empty: it can.
func (f *finding) noMemory(l *Layer) string {
	if l.Root.Machine != f.q.Root.Machine {
		return "its memory is of another machine (QEMU version, CPU model or devices)"
	}
	if l.Memory == "" {
		return "it was saved without its memory"
	}
	if _, err := os.Lstat(f.s.path(l, l.Memory)); err != nil {
		return "its memory was removed to save space"
	}
	return ""
}

// take holds the layers of a chain and looks whether they are all still there. If not the chain is nil, and the one to blame is unusable.
func (f *finding) take(ctx context.Context, last *Layer, memory bool) (_ *Chain, err error) {
	c := &Chain{store: f.s, Layers: f.all.chain(last)}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	for _, l := range c.Layers {
		held, err := f.s.hold(ctx, l)
		if err == nil {
			c.holds = append(c.holds, held)
			// Its record is removed first when it was found to be damaged.
			_, err = os.Lstat(f.s.path(l, recordName))
		}
		if errors.Is(err, errGone) || errors.Is(err, os.ErrNotExist) {
			f.unusable[l.ID] = true
			return nil, c.Close()
		}
		if err != nil {
			return nil, err
		}
	}
	why := f.noMemory(last)
	if memory && why != "" { // removed a moment ago
		return nil, c.Close()
	}
	c.BootFromDisk, c.Why = why != "", why
	if err := f.s.readState(last); err != nil {
		f.unusable[last.ID] = true
		return nil, c.Close()
	}
	last.Used = f.s.o.Now()
	os.Chtimes(f.s.path(last, recordName), time.Time{}, last.Used)
	return c, nil
}

// state is state.json: what only the last layer of a chain is asked for.
type state struct {
	State json.RawMessage `json:"state,omitempty"`
	Guest json.RawMessage `json:"guest,omitempty"`
}

func (s *Store) readState(l *Layer) error {
	var st state
	if _, err := s.readSealed(s.path(l), stateName, l.ID, &st, maxState); err != nil {
		return err
	}
	l.State, l.Guest = st.State, st.Guest
	return nil
}

// describe names a layer for messages.
func (l *Layer) describe() string {
	name := strings.TrimSuffix(l.Component+" › "+l.Step, " › ")
	if l.Component == "" {
		name = "booted " + cmp.Or(l.Base, "base")
	}
	return fmt.Sprintf("%s (%s)", l.ID, name)
}
