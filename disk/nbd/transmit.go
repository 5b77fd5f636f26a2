package nbd

import (
	"errors"
	"io"
	"net"
	"sync"
)

// request is what a client asks for: section "Request message".
type request struct {
	flags, kind uint16
	cookie      uint64
	off         int64
	length      int64
}

func (r request) end() int64 { return r.off + r.length }

// transmit answers requests, several at once and in any order, until the client leaves.
func (c *connection) transmit() {
	var work sync.WaitGroup
	defer work.Wait()
	free := make(chan struct{}, maxInFlight)
	for {
		var b [28]byte
		if _, err := io.ReadFull(c.in, b[:]); err != nil || be.Uint32(b[:]) != magicRequest {
			return
		}
		r := request{be.Uint16(b[4:]), be.Uint16(b[6:]), be.Uint64(b[8:]), int64(be.Uint64(b[16:])), int64(be.Uint32(b[24:]))}
		switch r.kind {
		case cmdDisc:
			return
		case cmdWrite: // its data is to be taken off the line
			if r.length > maxRequest {
				return
			}
			if _, err := io.CopyN(io.Discard, c.in, r.length); err != nil {
				return
			}
		}
		free <- struct{}{}
		work.Go(func() {
			defer func() { <-free }()
			if c.answer(r) != nil {
				c.conn.Close() // which ends the loop
			}
		})
	}
}

func (c *connection) answer(r request) error {
	inside := r.off >= 0 && r.off <= c.src.Size() && r.length <= c.src.Size()-r.off
	switch r.kind {
	case cmdRead:
		switch {
		case r.flags != 0 || !inside:
			return c.refuse(r, errInvalid, "the range is not on the disk, or a flag is unknown")
		case r.length > maxRequest:
			return c.refuse(r, errOverflow, "at most 32 MiB are read at once")
		case c.structured:
			return c.readStructured(r)
		}
		return c.readSimple(r)
	case cmdBlockStatus:
		if !c.status || r.flags&^cmdFlagReqOne != 0 || !inside || r.length == 0 {
			return c.refuse(r, errInvalid, "no base:allocation was negotiated, or the range is not on the disk")
		}
		return c.blockStatus(r)
	case cmdFlush:
		if r.flags != 0 || r.off != 0 || r.length != 0 {
			return c.refuse(r, errInvalid, "a flush has no range")
		}
		return c.acknowledge(r)
	case cmdWrite, cmdTrim, cmdWriteZeroes:
		return c.refuse(r, errPerm, "the disk is read-only")
	}
	return c.refuse(r, errInvalid, "unknown command")
}

// minHole is the smallest hole that a read answers without data, in bytes.
const minHole = 64 << 10

// readStructured answers in chunks of at most chunkSize bytes of data, and of holes of any length.
func (c *connection) readStructured(r request) error {
	if r.length == 0 {
		return c.chunk(r, chunkDone, chunkNone, nil)
	}
	buffer := c.buffers.Get().(*[chunkSize]byte)
	defer c.buffers.Put(buffer)
	for off := r.off; off < r.end(); {
		end, data := c.run(off, r.end())
		flags := uint16(0)
		if end == r.end() {
			flags = chunkDone
		}
		head := be.AppendUint64(nil, uint64(off))
		if !data {
			if err := c.chunk(r, flags, chunkHole, be.AppendUint32(head, uint32(end-off))); err != nil {
				return err
			}
			off = end
			continue
		}
		p := buffer[:end-off]
		if err := c.read(p, off); err != nil {
			return c.chunk(r, chunkDone, chunkErrorOffset, be.AppendUint64(errorChunk(errIO, err.Error()), uint64(off)))
		}
		if err := c.chunk(r, flags, chunkData, head, p); err != nil {
			return err
		}
		off = end
	}
	return nil
}

// run is how far a chunk of a reply goes that starts at off: all data or all hole.
func (c *connection) run(off, limit int64) (end int64, data bool) {
	for end = off; end < limit && end-off < chunkSize; {
		next, isData := c.allocated.at(end)
		next = min(next, limit)
		if !isData && next-end >= minHole {
			if end == off {
				return next, false
			}
			return end, true
		}
		end = next
	}
	return min(end, off+chunkSize), true
}

func (c *connection) read(p []byte, off int64) error {
	n, err := c.src.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// readSimple is the same for clients that know no structured replies. An error can only be told before the first byte.
func (c *connection) readSimple(r request) error {
	buffer := c.buffers.Get().(*[chunkSize]byte)
	defer c.buffers.Put(buffer)
	p := buffer[:min(r.length, chunkSize)]
	if err := c.read(p, r.off); err != nil {
		return c.refuse(r, errIO, err.Error())
	}
	c.out.Lock()
	defer c.out.Unlock()
	if err := c.send(simpleReply(r, 0), p); err != nil {
		return err
	}
	for off := r.off + int64(len(p)); off < r.end(); off += int64(len(p)) {
		p = buffer[:min(r.end()-off, chunkSize)]
		if err := c.read(p, off); err != nil {
			return err
		}
		if err := c.send(p); err != nil {
			return err
		}
	}
	return nil
}

// maxDescriptors is how many ranges one reply describes. The client asks again for the rest.
const maxDescriptors = 4096

func (c *connection) blockStatus(r request) error {
	b := be.AppendUint32(nil, allocationID)
	for off, n := r.off, 0; off < r.end() && n < maxDescriptors; n++ {
		end, data := c.allocated.at(off)
		end = min(end, r.end())
		state := uint32(0)
		if !data {
			state = stateHole | stateZero
		}
		b = be.AppendUint32(b, uint32(end-off))
		b = be.AppendUint32(b, state)
		if off = end; r.flags&cmdFlagReqOne != 0 {
			break
		}
	}
	return c.chunk(r, chunkDone, chunkBlockStatus, b)
}

// acknowledge answers a request that returns no data.
func (c *connection) acknowledge(r request) error {
	if c.structured {
		return c.chunk(r, chunkDone, chunkNone, nil)
	}
	c.out.Lock()
	defer c.out.Unlock()
	return c.send(simpleReply(r, 0))
}

// refuse answers a request with an error.
func (c *connection) refuse(r request, code uint32, why string) error {
	if c.structured {
		return c.chunk(r, chunkDone, chunkError, errorChunk(code, why))
	}
	c.out.Lock()
	defer c.out.Unlock()
	return c.send(simpleReply(r, code))
}

func simpleReply(r request, code uint32) []byte {
	b := be.AppendUint32(make([]byte, 0, 16), magicSimple)
	b = be.AppendUint32(b, code)
	return be.AppendUint64(b, r.cookie)
}

func errorChunk(code uint32, why string) []byte {
	why = why[:min(len(why), 1000)]
	b := be.AppendUint32(nil, code)
	b = be.AppendUint16(b, uint16(len(why)))
	return append(b, why...)
}

// chunk sends a part of a structured reply: section "Structured reply chunk message".
func (c *connection) chunk(r request, flags, kind uint16, payload ...[]byte) error {
	n := 0
	for _, p := range payload {
		n += len(p)
	}
	b := be.AppendUint32(make([]byte, 0, 20), magicStructured)
	b = be.AppendUint16(b, flags)
	b = be.AppendUint16(b, kind)
	b = be.AppendUint64(b, r.cookie)
	b = be.AppendUint32(b, uint32(n))
	c.out.Lock()
	defer c.out.Unlock()
	return c.send(append([][]byte{b}, payload...)...)
}

// send writes parts with one system call.
func (c *connection) send(parts ...[]byte) error {
	buffers := net.Buffers(parts)
	_, err := buffers.WriteTo(c.conn)
	return err
}
