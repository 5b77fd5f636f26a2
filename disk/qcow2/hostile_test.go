package qcow2

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// seed gives one of the kept images.
func seed(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "fuzz", "FuzzReader", name))
	if err != nil {
		t.Fatal(err)
	}
	s, err := strconv.Unquote(strings.TrimSuffix(strings.TrimPrefix(string(text), "go test fuzz v1\n[]byte("), ")\n"))
	if err != nil {
		t.Fatal(err)
	}
	return []byte(s)
}

// TestFramesStayInTheirCluster reads clusters whose zstd frames hold more than a cluster, into the middle of what belongs to others.
func TestFramesStayInTheirCluster(t *testing.T) {
	const cluster, at = 1 << 10, 3 << 10
	e, err := zstd.NewWriter(nil, zstd.WithEncoderCRC(false))
	if err != nil {
		t.Fatal(err)
	}
	sized := e.EncodeAll(make([]byte, 4*cluster), nil)
	var b bytes.Buffer
	e.Reset(&b)
	e.Write(make([]byte, 2*cluster)) // its frame does not tell how much it holds
	e.Flush()
	e.Write(make([]byte, 2*cluster))
	e.Close()
	for name, frame := range map[string][]byte{"size told": sized, "size not told": b.Bytes()} {
		img := seed(t, "zstd")
		q, err := NewReader(bytes.NewReader(img), int64(len(img)))
		if err != nil {
			t.Fatal(err)
		}
		r, err := q.run(at, q.size)
		if err != nil || r.kind != compressed {
			t.Fatal(r, err)
		}
		img = append(img[:r.host:r.host], append(frame, make([]byte, cluster)...)...)
		q, err = NewReader(bytes.NewReader(img), int64(len(img)))
		if err != nil {
			t.Fatal(err)
		}
		buffer := bytes.Repeat([]byte{0xaa}, 8*cluster)
		if _, err := q.ReadAt(buffer[:cluster], at); err == nil {
			t.Errorf("%s: a frame of four clusters was read as one", name)
		}
		if !bytes.Equal(buffer[cluster:], bytes.Repeat([]byte{0xaa}, 7*cluster)) {
			t.Errorf("%s: it was expanded into the memory behind the cluster's", name)
		}
	}
}

// TestProbeReadsTablesOnce has images whose L2 tables lie in each other, or are used more than once.
func TestProbeReadsTablesOnce(t *testing.T) {
	const entries, l1, cluster = 1000, 2 << 20, 2 << 20
	be := binary.BigEndian
	for name, test := range map[string]struct {
		step int64
		want string
	}{"unaligned": {512, "unaligned"}, "twice": {0, "used twice"}} {
		img := make([]byte, 4*cluster)
		copy(img, "QFI\xfb\x00\x00\x00\x03")
		be.PutUint32(img[20:], 21)
		be.PutUint64(img[24:], entries<<39)
		be.PutUint32(img[36:], entries)
		be.PutUint64(img[40:], l1)
		be.PutUint32(img[96:], 4)
		be.PutUint32(img[100:], 104)
		for i := range int64(entries) {
			be.PutUint64(img[l1+8*i:], uint64(2*cluster+test.step*i))
		}
		c := &counting{ReaderAt: bytes.NewReader(img)}
		_, err := Probe(c, int64(len(img)))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
		if c.n > 1<<20 {
			t.Errorf("%s: %d bytes were read", name, c.n)
		}
	}
}
