package nbd

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/ingot-image/ingot/disk/image"
)

const (
	maxConnections = 8
	// maxInFlight is how many requests of a connection are worked on at once. Each takes chunkSize bytes of memory.
	maxInFlight = 8
	chunkSize   = 1 << 20
	// handshakeLimit is how long a client may take until it has chosen the export.
	handshakeLimit = time.Minute
)

// Serve shows a disk, read-only, under the empty export name to everybody who connects, at most eight at a time, until ctx ends. Then it closes the
// listener and all connections and returns nil: nobody uses src any more. Other errors are of the listener or of the source's extents, which
// are listed once before the first connection.
//
// A request may be 32 MiB long; a connection has up to eight MiB of memory, however long its requests are. Where src cannot be read, the
// client gets EIO with the reason.
func Serve(ctx context.Context, l net.Listener, src image.Source) error {
	defer l.Close()
	allocated, err := newAllocation(ctx, src)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("serve disk over NBD: %w", err)
	}
	s := &server{src: src, allocated: allocated, buffers: sync.Pool{New: func() any { return new([chunkSize]byte) }}}
	ctx, cancel := context.WithCancel(ctx)
	var clients sync.WaitGroup
	defer clients.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	free := make(chan struct{}, maxConnections)
	for {
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		c, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				c.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("serve disk over NBD: %w", err)
		}
		clients.Go(func() {
			defer func() { <-free }()
			defer context.AfterFunc(ctx, func() { c.Close() })()
			s.serve(c)
		})
	}
}

type server struct {
	src       image.Source
	allocated *allocation
	buffers   sync.Pool // of *[chunkSize]byte
}

// connection is one client.
type connection struct {
	*server
	conn       net.Conn
	in         *bufio.Reader
	noZeroes   bool
	structured bool // replies
	status     bool // base:allocation was chosen
	out        sync.Mutex
}

// serve talks to a client until it leaves or breaks the protocol.
func (s *server) serve(conn net.Conn) {
	defer conn.Close()
	c := &connection{server: s, conn: conn, in: bufio.NewReader(conn)}
	conn.SetDeadline(time.Now().Add(handshakeLimit))
	if ready, err := c.handshake(); err != nil || !ready {
		return
	}
	conn.SetDeadline(time.Time{})
	c.transmit()
}
