package qcow2

import (
	"container/list"
	"sync"
)

// cache keeps the values used last, by their place in the file. Who asks for one that somebody else is loading waits for that.
type cache struct {
	max     int
	mu      sync.Mutex
	entries map[int64]*list.Element
	order   list.List // of *cached, the one used last in front
}

type cached struct {
	key   int64
	load  sync.Once
	value []byte
	err   error
}

func newCache(max int) *cache { return &cache{max: max, entries: map[int64]*list.Element{}} }

func (c *cache) get(key int64, load func() ([]byte, error)) ([]byte, error) {
	c.mu.Lock()
	e := c.entries[key]
	if e != nil {
		c.order.MoveToFront(e)
	} else {
		e = c.order.PushFront(&cached{key: key})
		c.entries[key] = e
		if c.order.Len() > c.max {
			last := c.order.Back()
			c.order.Remove(last)
			delete(c.entries, last.Value.(*cached).key)
		}
	}
	c.mu.Unlock()
	v := e.Value.(*cached)
	v.load.Do(func() { v.value, v.err = load() })
	if v.err != nil { // which need not be so the next time
		c.mu.Lock()
		if c.entries[key] == e {
			c.order.Remove(e)
			delete(c.entries, key)
		}
		c.mu.Unlock()
	}
	return v.value, v.err
}
