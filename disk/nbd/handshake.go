package nbd

import (
	"encoding/binary"
	"errors"
	"io"
)

var be = binary.BigEndian

// handshake is the server's side of section "Fixed newstyle negotiation". It tells whether the client has gone over to transmission.
func (c *connection) handshake() (ready bool, err error) {
	hello := be.AppendUint64(nil, magicServer)
	hello = be.AppendUint64(hello, magicOption)
	hello = be.AppendUint16(hello, flagFixedNewstyle|flagNoZeroes)
	if _, err := c.conn.Write(hello); err != nil {
		return false, err
	}
	var b [16]byte
	if _, err := io.ReadFull(c.in, b[:4]); err != nil {
		return false, err
	}
	flags := be.Uint32(b[:4])
	if flags&^(flagFixedNewstyle|flagNoZeroes) != 0 {
		return false, errors.New("the client has unknown flags")
	}
	c.noZeroes = flags&flagNoZeroes != 0
	for {
		if _, err := io.ReadFull(c.in, b[:]); err != nil {
			return false, err
		}
		if be.Uint64(b[:]) != magicOption {
			return false, errors.New("the client sent no option")
		}
		option, n := be.Uint32(b[8:]), be.Uint32(b[12:])
		if n > maxOption {
			if n > maxRequest || option == optExportName {
				return false, errors.New("the client's option is too long")
			}
			if _, err := io.CopyN(io.Discard, c.in, int64(n)); err != nil {
				return false, err
			}
			if err := c.reply(option, repErrTooBig, nil); err != nil {
				return false, err
			}
			continue
		}
		data := make([]byte, n)
		if _, err := io.ReadFull(c.in, data); err != nil {
			return false, err
		}
		if ready, err := c.option(option, data); err != nil || ready {
			return ready, err
		}
	}
}

var errAborted = errors.New("the client has left")

func (c *connection) option(option uint32, data []byte) (ready bool, err error) {
	switch option {
	case optExportName: // the only one without a way to say no
		if len(data) != 0 {
			return false, errors.New("the client asked for an unknown export")
		}
		answer := be.AppendUint64(nil, uint64(c.src.Size()))
		answer = be.AppendUint16(answer, c.exportFlags())
		if !c.noZeroes {
			answer = append(answer, make([]byte, 124)...)
		}
		_, err := c.conn.Write(answer)
		return err == nil, err
	case optAbort:
		c.reply(option, repAck, nil)
		return false, errAborted
	case optList:
		if len(data) != 0 {
			return false, c.reply(option, repErrInvalid, nil)
		}
		if err := c.reply(option, repServer, []byte{0, 0, 0, 0}); err != nil { // an empty name
			return false, err
		}
		return false, c.reply(option, repAck, nil)
	case optInfo, optGo:
		return c.info(option, data)
	case optStructuredReply:
		if len(data) != 0 {
			return false, c.reply(option, repErrInvalid, nil)
		}
		c.structured = true
		return false, c.reply(option, repAck, nil)
	case optListMetaContext, optSetMetaContext:
		return false, c.metaContext(option, data)
	}
	return false, c.reply(option, repErrUnsup, nil)
}

func (c *connection) exportFlags() uint16 {
	return exportHasFlags | exportReadOnly | exportSendFlush | exportCanMultiConn
}

// info answers NBD_OPT_INFO and NBD_OPT_GO: the export's name and a list of what the client wants to know.
func (c *connection) info(option uint32, data []byte) (ready bool, err error) {
	p := parser{data}
	name := p.bytes(int64(p.uint32()))
	wanted := p.bytes(2 * int64(p.uint16()))
	if !p.end() {
		return false, c.reply(option, repErrInvalid, nil)
	}
	if len(name) != 0 {
		return false, c.reply(option, repErrUnknown, []byte("there is only the export with the empty name"))
	}
	export := be.AppendUint16(nil, infoExport)
	export = be.AppendUint64(export, uint64(c.src.Size()))
	export = be.AppendUint16(export, c.exportFlags())
	if err := c.reply(option, repInfo, export); err != nil {
		return false, err
	}
	for ; len(wanted) > 0; wanted = wanted[2:] {
		if be.Uint16(wanted) != infoBlockSize {
			continue
		}
		sizes := be.AppendUint16(nil, infoBlockSize)
		for _, n := range []uint32{1, 64 << 10, maxRequest} {
			sizes = be.AppendUint32(sizes, n)
		}
		if err := c.reply(option, repInfo, sizes); err != nil {
			return false, err
		}
		break
	}
	if err := c.reply(option, repAck, nil); err != nil {
		return false, err
	}
	return option == optGo, nil
}

// metaContext answers NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT: the export's name and queries. The only context is base:allocation.
func (c *connection) metaContext(option uint32, data []byte) error {
	p := parser{data}
	name := p.bytes(int64(p.uint32()))
	queries, found := p.uint32(), false
	if queries == 0 && option == optListMetaContext {
		found = true // everything
	}
	for ; queries > 0 && !p.bad(); queries-- {
		query := string(p.bytes(int64(p.uint32())))
		found = found || query == allocationContext || query == "base:" && option == optListMetaContext
	}
	if option == optSetMetaContext {
		c.status = false
	}
	if !p.end() || option == optSetMetaContext && !c.structured {
		return c.reply(option, repErrInvalid, nil)
	}
	if len(name) != 0 {
		return c.reply(option, repErrUnknown, nil)
	}
	if found {
		id := uint32(0)
		if option == optSetMetaContext {
			id, c.status = allocationID, true
		}
		if err := c.reply(option, repMetaContext, append(be.AppendUint32(nil, id), allocationContext...)); err != nil {
			return err
		}
	}
	return c.reply(option, repAck, nil)
}

func (c *connection) reply(option, kind uint32, data []byte) error {
	b := be.AppendUint64(make([]byte, 0, 20+len(data)), magicOptReply)
	b = be.AppendUint32(b, option)
	b = be.AppendUint32(b, kind)
	b = be.AppendUint32(b, uint32(len(data)))
	_, err := c.conn.Write(append(b, data...))
	return err
}

// parser takes fields off the front of data. When something is missing it is bad and gives zeros.
type parser struct{ rest []byte }

func (p *parser) bad() bool { return p.rest == nil }

// end tells whether everything was there and nothing is left.
func (p *parser) end() bool { return p.rest != nil && len(p.rest) == 0 }

func (p *parser) bytes(n int64) []byte {
	if n > int64(len(p.rest)) {
		p.rest = nil
		return nil
	}
	b := p.rest[:n]
	if p.rest != nil {
		p.rest = p.rest[n:]
	}
	return b
}

func (p *parser) uint16() uint16 {
	if b := p.bytes(2); len(b) == 2 {
		return be.Uint16(b)
	}
	return 0
}

func (p *parser) uint32() uint32 {
	if b := p.bytes(4); len(b) == 4 {
		return be.Uint32(b)
	}
	return 0
}
