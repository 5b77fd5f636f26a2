package nbd

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/ingot-image/ingot/disk/image"
)

// tape is a connection on which everything that comes is there already.
type tape struct {
	*bytes.Reader
	sent int64
}

func (t *tape) Write(p []byte) (int, error)      { t.sent += int64(len(p)); return len(p), nil }
func (t *tape) Close() error                     { return nil }
func (t *tape) LocalAddr() net.Addr              { return nil }
func (t *tape) RemoteAddr() net.Addr             { return nil }
func (t *tape) SetDeadline(time.Time) error      { return nil }
func (t *tape) SetReadDeadline(time.Time) error  { return nil }
func (t *tape) SetWriteDeadline(time.Time) error { return nil }

// option is what a client sends for an option.
func option(kind uint32, data []byte) []byte {
	b := be.AppendUint64(nil, magicOption)
	b = be.AppendUint32(b, kind)
	return append(be.AppendUint32(b, uint32(len(data))), data...)
}

func flags(n uint32) []byte { return be.AppendUint32(nil, n) }

// seeds are what well-behaved clients send, and some not so well-behaved.
func seeds() [][]byte {
	query := append(be.AppendUint32([]byte{0, 0, 0, 0, 0, 0, 0, 1}, uint32(len(allocationContext))), allocationContext...)
	goOption := option(optGo, []byte{0, 0, 0, 0, 0, 1, 0, infoBlockSize})
	read := requestHeader(cmdRead, 1, 100, 300<<10)
	structured := bytes.Join([][]byte{flags(3), option(optStructuredReply, nil), option(optListMetaContext, query), option(optSetMetaContext, query), goOption,
		read, requestHeader(cmdBlockStatus, 2, 0, 1<<20), requestHeader(cmdFlush, 3, 0, 0), requestHeader(cmdDisc, 4, 0, 0)}, nil)
	simple := bytes.Join([][]byte{flags(1), option(optList, nil), option(optInfo, []byte{0, 0, 0, 0, 0, 0}), option(optExportName, nil), read,
		requestHeader(cmdWrite, 2, 0, 4), []byte("data"), requestHeader(cmdRead, 3, 1<<62, 1)}, nil)
	return [][]byte{structured, simple, option(optAbort, nil), bytes.Join([][]byte{flags(3), goOption, requestHeader(cmdRead, 1, -1, 1<<32-1)}, nil)}
}

// FuzzServer gives bytes of a client to the server. It must end, and send no more than it was asked for.
func FuzzServer(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	src := newMemory(1<<20, image.Extent{Start: 5000, Size: 100}, image.Extent{Start: 500 << 10, Size: 80 << 10})
	allocated, err := newAllocation(f.Context(), src)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		s := &server{src: src, allocated: allocated}
		s.buffers.New = func() any { return new([chunkSize]byte) }
		conn := &tape{Reader: bytes.NewReader(stream)}
		s.serve(conn)
		if most := int64(len(stream))/28*(1<<20+4096) + 4096; conn.sent > most {
			t.Fatalf("%d bytes sent for %d", conn.sent, len(stream))
		}
	})
}

// FuzzClient gives bytes of a server to the client.
func FuzzClient(f *testing.F) {
	hello := append(be.AppendUint64(be.AppendUint64(nil, magicServer), magicOption), 0, 3)
	reply := func(kind uint32, data []byte) []byte {
		b := be.AppendUint32(be.AppendUint32(be.AppendUint64(nil, magicOptReply), optGo), kind)
		return append(be.AppendUint32(b, uint32(len(data))), data...)
	}
	export := append(be.AppendUint64([]byte{0, 0}, 1<<20), 0, exportHasFlags|exportSendFlush)
	ready := bytes.Join([][]byte{hello, reply(repInfo, export), reply(repAck, nil)}, nil)
	f.Add(ready)
	f.Add(bytes.Join([][]byte{ready, simpleReply(request{cookie: 1}, 0), simpleReply(request{cookie: 2}, 0), []byte("0123456789"), simpleReply(request{cookie: 3}, 0)}, nil))
	f.Add(bytes.Join([][]byte{ready, simpleReply(request{cookie: 1}, errNoSpace)}, nil))
	f.Add(bytes.Join([][]byte{hello, reply(repErrUnknown, []byte("no"))}, nil))
	f.Fuzz(func(t *testing.T, stream []byte) {
		c, err := Connect(t.Context(), &tape{Reader: bytes.NewReader(stream)}, "", 2)
		if err != nil {
			return
		}
		c.Write(make([]byte, 10), 5)
		if n, err := c.ReadAt(make([]byte, 10), 0); err == nil && n != 10 {
			t.Fatalf("read %d bytes without an error", n)
		}
		c.Flush()
		c.Close()
	})
}

// TestSeeds keeps the seeds as files, so that they are fuzzed from elsewhere too: INGOT_WRITE_SEEDS=1 writes them.
func TestSeeds(t *testing.T) {
	dir := filepath.Join("testdata", "fuzz", "FuzzServer")
	for i, s := range seeds() {
		path, text := filepath.Join(dir, "seed"+strconv.Itoa(i)), "go test fuzz v1\n[]byte("+strconv.Quote(string(s))+")\n"
		if os.Getenv("INGOT_WRITE_SEEDS") != "" {
			os.MkdirAll(dir, 0o755)
			os.WriteFile(path, []byte(text), 0o644)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != text {
			t.Errorf("%s is not the seed (%v)", path, err)
		}
	}
}
