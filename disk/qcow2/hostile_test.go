package qcow2

import (
	"bytes"
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
