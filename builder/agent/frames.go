package agent

import (
	"encoding/binary"
	"errors"
	"io"
)

// guestFrames passes on what a guest sends, frame by frame, and refuses what an agent never does: open streams, or ping.
// Each would make the host's end of yamux start work that the guest can multiply as it likes.
//
// A frame has a header of 12 bytes: version, type, flags (2), stream (4), length (4), big endian; the length counts bytes
// that follow only in frames of type data (the specification, spec.md of hashicorp/yamux).
type guestFrames struct {
	r    io.Reader
	head [frameHeader]byte
	have int    // bytes of head that are read
	sent int    // bytes of head that are passed on
	body uint32 // bytes of the frame that are still to come
}

const (
	frameHeader  = 12
	frameData    = 0
	framePing    = 2
	frameFlagSYN = 1
)

var errGuestFrame = errors.New("the guest sent what its agent never sends")

func (g *guestFrames) Read(p []byte) (int, error) {
	if g.have < frameHeader {
		n, err := io.ReadFull(g.r, g.head[g.have:])
		if g.have += n; err != nil {
			return 0, err
		}
		if g.head[1] == framePing || binary.BigEndian.Uint16(g.head[2:])&frameFlagSYN != 0 {
			return 0, errGuestFrame
		}
		if g.head[1] == frameData {
			g.body = binary.BigEndian.Uint32(g.head[8:])
		}
		g.sent = 0
	}
	if g.sent < frameHeader {
		n := copy(p, g.head[g.sent:])
		g.sent += n
		g.next()
		return n, nil
	}
	n, err := g.r.Read(p[:min(len(p), int(g.body))])
	g.body -= uint32(n)
	g.next()
	return n, err
}

// next gets ready for the next frame when this one is through.
func (g *guestFrames) next() {
	if g.sent == frameHeader && g.body == 0 {
		g.have = 0
	}
}
