package inspect

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ingot-image/ingot/disk/image"
)

// Bounds of one inspection. A system that people installed takes less than a hundredth.
const (
	maxTime = time.Minute // without the time that others need to mount file systems
	maxRead = 8 << 30     // bytes
	lookup  = 256         // bytes that looking up a name counts as, whoever has the file system
)

// meter bounds what reading a disk may take, wherever the reading is done: the disk and its files ask it first. nil allows everything.
type meter struct {
	mutex    sync.Mutex
	ctx      context.Context
	deadline time.Time
	left     int64 // bytes
	paused   bool
	err      error
}

func newMeter(ctx context.Context, most time.Duration, bytes int64) *meter {
	return &meter{ctx: ctx, deadline: time.Now().Add(most), left: bytes}
}

// take asks for some bytes. The error is ctx's cause, or which bound was met.
func (m *meter) take(n int) error {
	if m == nil {
		return nil
	}
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if m.paused || m.err != nil {
		return m.err
	}
	m.left -= int64(n)
	switch {
	case m.ctx.Err() != nil:
		m.err = context.Cause(m.ctx)
	case m.left < 0:
		m.err = fmt.Errorf("more is to be read than the %d GiB that are allowed for one disk", maxRead>>30)
	case time.Now().After(m.deadline):
		m.err = fmt.Errorf("reading takes longer than the %v that are allowed for one disk", maxTime)
	}
	return m.err
}

// exhausted is why nothing is read any more, nil if that is not so.
func (m *meter) exhausted() error {
	if m == nil {
		return nil
	}
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.err
}

// pause lets somebody else read, who has bounds of his own, until the function that it returns is called.
func (m *meter) pause() func() {
	if m == nil {
		return func() {}
	}
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.paused = true
	start := time.Now()
	return func() {
		m.mutex.Lock()
		defer m.mutex.Unlock()
		m.paused = false
		m.deadline = m.deadline.Add(time.Since(start))
	}
}

// metered is a disk that asks before it reads.
type metered struct {
	image.Source
	meter *meter
}

func (d metered) ReadAt(b []byte, off int64) (int, error) {
	if err := d.meter.take(len(b)); err != nil {
		return 0, err
	}
	return d.Source.ReadAt(b, off)
}
