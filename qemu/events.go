package qemu

import (
	"context"
	"sync"

	"github.com/digitalocean/go-qemu/qmp"
)

// Events returns a channel of all events from now on. Each call has a queue of its own, of unbounded length. The
// channel is closed when ctx ends, or when the connection has ended and the queue is empty. A receiver that stops
// receiving must end ctx, or its queue grows until the connection ends.
func (m *Monitor) Events(ctx context.Context) (<-chan qmp.Event, error) {
	q := &eventQueue{wake: make(chan struct{}, 1)}
	m.mu.Lock()
	if m.err != nil {
		defer m.mu.Unlock()
		return nil, m.err
	}
	m.queues[q] = struct{}{}
	m.mu.Unlock()
	out := make(chan qmp.Event)
	go func() {
		defer close(out)
		defer func() {
			m.mu.Lock()
			delete(m.queues, q)
			m.mu.Unlock()
		}()
		q.deliver(ctx, out)
	}()
	return out, nil
}

// eventQueue takes events without ever blocking and hands them on in order.
type eventQueue struct {
	wake chan struct{} // has room for one

	mu     sync.Mutex
	events []qmp.Event
	ended  bool
}

func (q *eventQueue) push(e qmp.Event) {
	q.mu.Lock()
	q.events = append(q.events, e)
	q.mu.Unlock()
	q.signal()
}

func (q *eventQueue) end() {
	q.mu.Lock()
	q.ended = true
	q.mu.Unlock()
	q.signal()
}

func (q *eventQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *eventQueue) deliver(ctx context.Context, out chan<- qmp.Event) {
	for {
		q.mu.Lock()
		batch, ended := q.events, q.ended
		q.events = nil
		q.mu.Unlock()
		for _, e := range batch {
			select {
			case out <- e:
			case <-ctx.Done():
				return
			}
		}
		if len(batch) > 0 {
			continue
		}
		if ended {
			return
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			return
		}
	}
}
