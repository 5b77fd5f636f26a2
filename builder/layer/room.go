package layer

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// recordsSize is about what the records of a layer take on the disk beside its state, in bytes.
const recordsSize = 16 << 10

// makeRoom removes what it must for a layer of need bytes on top of a chain, or nothing if that is not enough. Memories of the chain's own
// layers come last. So many bytes of the layer are there already: the file system has had room for them, and it is too late to ask for more of it.
func (s *Store) makeRoom(ctx context.Context, parent *Chain, need, there int64) (price, error) {
	p, err := s.plan(ctx)
	if err != nil {
		return price{}, err
	}
	defer p.close()
	left, err := s.o.Free(s.dir)
	if err != nil {
		return price{}, err
	}
	budget, used := s.budget(p.used), p.used-there
	missing := func() int64 {
		over := used - p.freed + need - budget
		if there > 0 {
			return over
		}
		return max(over, need+s.o.Reserve-left-p.freed)
	}
	if need <= budget {
		p.removeWhile(func(*node) bool { return missing() > 0 })
		if err := p.thin(parent, func() bool { return missing() > 0 }); err != nil {
			return price{}, err
		}
	}
	if missing() > 0 {
		p.clear()
		_, err := p.execute()
		err = errors.Join(err, fmt.Errorf("%w: it needs about %d MiB; the budget is %d MiB, of which %d MiB are taken, and %d MiB are free on the disk",
			ErrNoRoom, need>>20, budget>>20, used>>20, left>>20))
		return price{}, err
	}
	room := price{used: used - p.freed + need, budget: min(budget, used+left-s.o.Reserve)}
	for _, n := range p.nodes {
		room.saves, room.bytes = room.saves+n.layer.Cost, room.bytes+n.disk+n.memory
	}
	_, err = p.execute()
	return room, err
}

// thin plans to remove memories of a chain that the caller holds, below its last layer, as long as more is wanted: those first without which
// least is lost. Nobody but the caller may have the layer, since others may be about to resume from it.
func (p *plan) thin(c *Chain, wanted func() bool) error {
	if c == nil {
		return nil
	}
	for wanted() {
		at := p.least(c)
		if at < 0 {
			return nil
		}
		n := p.nodes[c.Layers[at].ID]
		ok, err := claim(c.holds[at])
		if err != nil {
			return fmt.Errorf("the layer %s: %w", n.layer.describe(), err)
		}
		if !ok {
			n.shared = true
			continue
		}
		p.claimed = append(p.claimed, c.holds[at])
		n.noMemory = true
		p.freed += n.memory
	}
	return nil
}

// least is the index of that layer of a chain whose memory is worth least, -1 if there is none. A build that would have gone on from it resumes from
// the next one below that has its memory, and runs what lies between again, or boots, whatever is faster.
func (p *plan) least(c *Chain) int {
	at, least := -1, time.Duration(0)
	below := time.Duration(0)
	boot := c.Layers[0].Cost
	for i, l := range c.Layers[:min(len(c.Layers)-1, len(c.holds))] {
		n := p.nodes[l.ID]
		if n == nil || n.memory == 0 || n.noMemory {
			continue
		}
		lost := min(l.Total-below, boot)
		below = l.Total
		if !n.shared && (at < 0 || lost < least) {
			at, least = i, lost
		}
	}
	return at
}

// release gives back what thin has claimed. The caller holds it as before.
func (p *plan) release() error {
	var errs []error
	for _, held := range p.claimed {
		errs = append(errs, release(held))
	}
	p.claimed = nil
	return errors.Join(errs...)
}
