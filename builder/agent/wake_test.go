package agent

import (
	"net"
	"strings"
	"testing"
	"time"
)

// fakeWaker is a system that can be saved.
type fakeWaker struct {
	fakeSystem
	synced chan bool
	woken  chan time.Time
}

func (f fakeWaker) Sync() { f.synced <- true }
func (f fakeWaker) Wake(now time.Time, entropy []byte) error {
	f.woken <- now
	return nil
}

func TestSaveAndWake(t *testing.T) {
	p := &port{make(chan net.Conn, 1)}
	system := fakeWaker{synced: make(chan bool, 1), woken: make(chan time.Time, 1)}
	go (&Server{Open: p.open, System: system}).Serve(t.Context())
	c := connected(t, p)
	if err := c.Sync(t.Context()); err != nil || len(system.synced) != 1 {
		t.Errorf("Sync gave %v", err)
	}
	if err := c.Wake(t.Context()); err != nil {
		t.Error(err)
	} else if now := <-system.woken; time.Since(now).Abs() > time.Minute {
		t.Errorf("the guest was told that it is %v", now)
	}

	p, _ = serve(t, nil)
	if err := connected(t, p).Sync(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot be saved") {
		t.Errorf("Sync of a system that cannot be saved gave %v", err)
	}
}
