package vmdk

import (
	"container/list"
	"sync"
)

// cache holds the values that were used last.
type cache[V any] struct {
	mu    sync.Mutex
	most  int
	order list.List // of *cached[V], the last used first
	items map[int64]*list.Element
}

type cached[V any] struct {
	key   int64
	value V
}

func newCache[V any](most int) *cache[V] {
	return &cache[V]{most: most, items: map[int64]*list.Element{}}
}

func (c *cache[V]) get(key int64) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.items[key]
	if e == nil {
		var none V
		return none, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*cached[V]).value, true
}

func (c *cache[V]) put(key int64, value V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.items[key]; e != nil { // two read it at once
		c.order.MoveToFront(e)
		return
	}
	c.items[key] = c.order.PushFront(&cached[V]{key, value})
	for len(c.items) > c.most {
		last := c.order.Back()
		delete(c.items, last.Value.(*cached[V]).key)
		c.order.Remove(last)
	}
}
