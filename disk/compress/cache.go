package compress

import (
	"runtime"
	"sync"
)

// cache keeps the frames that were read last. Who reads one while another expands it waits for that.
type cache struct {
	mu    sync.Mutex
	freed sync.Cond
	slots []*slot
	clock int64
}

type slot struct {
	frame int // -1: none
	users int
	used  int64 // clock when it was
	ready chan struct{}
	data  []byte // of the disk
	file  []byte // what it was expanded from
	err   error
}

const (
	maxSlots  = 6
	cacheSize = 64 << 20 // bytes that all slots take at most
)

// newCache keeps frames that take so many bytes at most, packed and expanded together.
func newCache(longest int64) *cache {
	c := &cache{}
	c.freed.L = &c.mu
	for range min(maxSlots, int64(runtime.GOMAXPROCS(0))+2, cacheSize/max(longest, 1)) {
		c.slots = append(c.slots, &slot{frame: -1})
	}
	return c
}

// get finds a frame, or has it read into the slot that was used longest ago. Give it back by put.
func (c *cache) get(frame int, read func(*slot) error) *slot {
	c.mu.Lock()
	for {
		var oldest *slot
		for _, s := range c.slots {
			if s.frame == frame {
				s.users++
				c.mu.Unlock()
				<-s.ready
				return s
			}
			if s.users == 0 && (oldest == nil || s.used < oldest.used) {
				oldest = s
			}
		}
		if oldest != nil {
			s := oldest
			s.frame, s.users, s.ready, s.err = frame, 1, make(chan struct{}), nil
			c.mu.Unlock()
			s.err = read(s)
			close(s.ready)
			return s
		}
		c.freed.Wait()
	}
}

func (c *cache) put(s *slot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.users--; s.users > 0 {
		return
	}
	c.clock++
	s.used = c.clock
	if s.err != nil {
		s.frame = -1 // read it again
	}
	c.freed.Broadcast()
}
