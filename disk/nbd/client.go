package nbd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// Client is a connection to the disk of an NBD server. Its methods may be called by several goroutines at once.
type Client struct {
	conn  net.Conn
	in    *bufio.Reader
	ctx   context.Context // why it ended, if it did
	stop  func() bool
	size  int64
	flags uint16
	free  chan struct{} // requests that may still be sent

	sending sync.Mutex // requests go out in the order in which this is got
	mu      sync.Mutex
	cookie  uint64
	pending map[uint64]*call
	failed  error         // of a write, or of the connection
	ended   chan struct{} // when nothing more is received
}

// call is a request on its way.
type call struct {
	what   string
	off    int64
	data   []byte     // where the answer's data goes
	answer chan error // nil for writes: errors are kept for the next call
}

// ServerError is an error that the server answered with.
type ServerError struct {
	Op     string // "read", "write", "flush"
	Offset int64  // in bytes
	Code   uint32 // of section "Error values"; they are Linux's errno
}

func (e *ServerError) Error() string {
	reasons := map[uint32]string{errPerm: "operation not permitted", errIO: "input/output error", errInvalid: "invalid request", errNoSpace: "no space left on device",
		errOverflow: "request too long", errNotSup: "operation not supported", errShutdown: "server shuts down"}
	reason, known := reasons[e.Code]
	if !known {
		reason = fmt.Sprintf("error %d", e.Code)
	}
	return fmt.Sprintf("%s at %d: %s", e.Op, e.Offset, reason)
}

// Unwrap gives the error number, such as syscall.ENOSPC.
func (e *ServerError) Unwrap() error { return syscall.Errno(e.Code) }

// Connect does the handshake on a connection and chooses the export. depth is how many requests may be without an answer, at least 1. When ctx
// ends, so does the connection, and everything that waits for it gets ctx's cause. The connection is closed on an error, and by Close.
func Connect(ctx context.Context, conn net.Conn, export string, depth int) (*Client, error) {
	c := &Client{conn: conn, in: bufio.NewReader(conn), ctx: ctx, free: make(chan struct{}, max(depth, 1)), pending: map[uint64]*call{}, ended: make(chan struct{})}
	c.stop = context.AfterFunc(ctx, func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(handshakeLimit))
	if err := c.handshake(export); err != nil {
		c.stop()
		conn.Close()
		return nil, fmt.Errorf("connect to NBD server: %w", c.cause(err))
	}
	conn.SetDeadline(time.Time{})
	go c.receive()
	return c, nil
}

// cause prefers the reason for which the connection was ended to what that looked like.
func (c *Client) cause(err error) error {
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// handshake is the client's side of section "Fixed newstyle negotiation", with NBD_OPT_GO.
func (c *Client) handshake(export string) error {
	var b [20]byte
	if _, err := io.ReadFull(c.in, b[:18]); err != nil {
		return err
	}
	flags := be.Uint16(b[16:])
	if be.Uint64(b[:]) != magicServer || be.Uint64(b[8:]) != magicOption || flags&flagFixedNewstyle == 0 {
		return errors.New("this is no NBD server, or one of before 2011")
	}
	hello := be.AppendUint32(nil, uint32(flags)&(flagFixedNewstyle|flagNoZeroes))
	hello = be.AppendUint64(hello, magicOption)
	hello = be.AppendUint32(hello, optGo)
	hello = be.AppendUint32(hello, uint32(4+len(export)+2))
	hello = be.AppendUint32(hello, uint32(len(export)))
	hello = append(hello, export...)
	hello = be.AppendUint16(hello, 0)
	if _, err := c.conn.Write(hello); err != nil {
		return err
	}
	const maxReplies = 64
	for known := false; ; {
		for range maxReplies {
			if _, err := io.ReadFull(c.in, b[:]); err != nil {
				return err
			}
			kind, n := be.Uint32(b[12:]), be.Uint32(b[16:])
			if be.Uint64(b[:]) != magicOptReply || be.Uint32(b[8:]) != optGo || n > maxOption {
				return errors.New("the server's answer is malformed")
			}
			data := make([]byte, n)
			if _, err := io.ReadFull(c.in, data); err != nil {
				return err
			}
			switch {
			case kind&repError != 0:
				return fmt.Errorf("the server refuses export %q: reply %#x %.200q", export, kind, data)
			case kind == repAck && known:
				return nil
			case kind == repInfo && len(data) == 12 && be.Uint16(data) == infoExport:
				c.size, c.flags, known = int64(be.Uint64(data[2:])), be.Uint16(data[10:]), true
				if c.size < 0 {
					return errors.New("the server's disk is too large")
				}
			case kind != repInfo:
				return errors.New("the server does not tell the disk's size")
			}
		}
		return errors.New("the server's answer does not end")
	}
}

// Size of the disk in bytes.
func (c *Client) Size() int64 { return c.size }

// ReadOnly tells whether the server takes no writes.
func (c *Client) ReadOnly() bool { return c.flags&exportReadOnly != 0 }

// Write sends data, of at most 32 MiB, for the disk and returns when it is sent, in which case p may be changed again: earlier writes than the
// last depth of them are done. The error may be that of an earlier write; Flush returns the others. Writes of one goroutine
// reach the server in order.
func (c *Client) Write(p []byte, off int64) error {
	if err := c.check("write", len(p), off); err != nil {
		return err
	}
	return c.start(&call{what: "write", off: off}, cmdWrite, int64(len(p)), p)
}

// Flush waits until all writes are done and the server has what they wrote on stable storage. It returns the first error since Connect.
func (c *Client) Flush() error {
	c.sending.Lock()
	for range cap(c.free) { // all answers have come when nobody holds a place
		c.free <- struct{}{}
	}
	for range cap(c.free) {
		<-c.free
	}
	c.sending.Unlock()
	if c.flags&exportSendFlush == 0 {
		return c.failure()
	}
	return c.wait(&call{what: "flush", answer: make(chan error, 1)}, cmdFlush, 0)
}

// ReadAt reads the disk.
func (c *Client) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		at := off + int64(n)
		if at >= c.size {
			return n, io.EOF
		}
		part := p[n:min(int64(len(p)), int64(n)+maxRequest, int64(n)+c.size-at)]
		if err := c.check("read", len(part), at); err != nil {
			return n, err
		}
		if err := c.wait(&call{what: "read", off: at, data: part, answer: make(chan error, 1)}, cmdRead, int64(len(part))); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

func (c *Client) check(what string, n int, off int64) error {
	if n > maxRequest || off < 0 || off > c.size || int64(n) > c.size-off {
		return fmt.Errorf("%s of %d bytes at %d on a disk of %d over NBD", what, n, off, c.size)
	}
	return nil
}

// wait sends a request and waits for its answer.
func (c *Client) wait(call *call, kind uint16, length int64) error {
	if err := c.start(call, kind, length, nil); err != nil {
		return err
	}
	return <-call.answer
}

// start sends a request when there is a free place.
func (c *Client) start(call *call, kind uint16, length int64, payload []byte) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	c.free <- struct{}{}
	c.mu.Lock()
	if c.failed != nil {
		defer c.mu.Unlock()
		<-c.free
		return c.failed
	}
	c.cookie++
	cookie := c.cookie
	c.pending[cookie] = call
	c.mu.Unlock()
	b := requestHeader(kind, cookie, call.off, length)
	buffers := net.Buffers{b, payload}
	if _, err := buffers.WriteTo(c.conn); err != nil {
		c.conn.Close() // receive ends and answers all calls
		<-c.ended
		return c.failure()
	}
	return nil
}

func requestHeader(kind uint16, cookie uint64, off, length int64) []byte {
	b := be.AppendUint32(make([]byte, 0, 28), magicRequest)
	b = be.AppendUint16(b, 0)
	b = be.AppendUint16(b, kind)
	b = be.AppendUint64(b, cookie)
	b = be.AppendUint64(b, uint64(off))
	return be.AppendUint32(b, uint32(length))
}

// failure is the first error of a write or of the connection.
func (c *Client) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// receive takes answers until the connection ends.
func (c *Client) receive() {
	defer close(c.ended)
	var err error
	for err == nil {
		err = c.receiveOne()
	}
	c.conn.Close()
	err = fmt.Errorf("connection to NBD server: %w", c.cause(err))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		c.failed = err
	}
	for cookie, call := range c.pending {
		delete(c.pending, cookie)
		if call.answer != nil {
			call.answer <- err
		}
		<-c.free
	}
}

// receiveOne takes one simple reply. An error is of the connection.
func (c *Client) receiveOne() error {
	var b [16]byte
	if _, err := io.ReadFull(c.in, b[:]); err != nil {
		return err
	}
	cookie, code := be.Uint64(b[8:]), be.Uint32(b[4:])
	c.mu.Lock()
	call := c.pending[cookie]
	c.mu.Unlock()
	if be.Uint32(b[:]) != magicSimple || call == nil {
		return errors.New("the server's reply is malformed or to no request")
	}
	var err error
	if code != 0 {
		err = fmt.Errorf("NBD server: %w", &ServerError{call.what, call.off, code})
	} else if _, err := io.ReadFull(c.in, call.data); err != nil {
		return err // and the call, still pending, gets it
	}
	c.mu.Lock()
	delete(c.pending, cookie)
	if call.answer == nil && err != nil && c.failed == nil {
		c.failed = err
	}
	c.mu.Unlock()
	if call.answer != nil {
		call.answer <- err
	}
	<-c.free
	return nil
}

// Close takes leave of the server and closes the connection. It does not wait for writes: Flush does.
func (c *Client) Close() error {
	c.sending.Lock()
	_, err := c.conn.Write(requestHeader(cmdDisc, 0, 0, 0))
	c.sending.Unlock()
	c.stop()
	c.conn.Close() // which receive may have done, since the server hangs up
	<-c.ended
	return err
}
