package nbd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ingot-image/ingot/disk/image"
)

// memory is a disk in memory with chosen extents.
type memory struct {
	data    []byte
	size    int64 // where it is not the data's
	extents []image.Extent
	fail    func(off int64) error
}

func (m *memory) Size() int64 { return max(m.size, int64(len(m.data))) }

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	if m.fail != nil {
		if err := m.fail(off); err != nil {
			return 0, err
		}
	}
	return bytes.NewReader(m.data).ReadAt(p, off)
}

func (m *memory) Extents(ctx context.Context, f func(image.Extent) error) error {
	for _, e := range m.extents {
		if err := f(e); err != nil {
			return err
		}
	}
	return nil
}

func newMemory(size int64, extents ...image.Extent) *memory {
	m := &memory{data: make([]byte, size), extents: extents}
	r := rand.New(rand.NewPCG(1, 2))
	for _, e := range extents {
		for i := e.Start; i < e.End(); i++ {
			m.data[i] = byte(r.Uint32()) | 1
		}
	}
	return m
}

// serve gives the socket's path of a server that ends with the test.
func serve(t testing.TB, src image.Source) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "nbd")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, src) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		os.RemoveAll(dir)
	})
	return path
}

func dial(t testing.TB, path string, depth int) *Client {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Connect(t.Context(), conn, "", depth)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func qemu(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("skipped: %v (install the package qemu-utils)", err)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %q: %v\n%s%s", name, args, err, &stdout, &stderr)
	}
	return stdout.Bytes()
}

func TestQEMUReadsTheDiskAndItsHoles(t *testing.T) {
	for _, size := range []int64{48 << 20, 40<<20 + 512, 3<<20 + 300} {
		src := newMemory(size, image.Extent{Start: 0, Size: 512}, image.Extent{Start: 1<<20 - 5, Size: 70000}, image.Extent{Start: size - 1000, Size: 1000})
		if size > 32<<20 {
			src = newMemory(size, image.Extent{Start: 4096, Size: 4096}, image.Extent{Start: 2 << 20, Size: 9 << 20}, image.Extent{Start: 20<<20 + 7, Size: 1}, image.Extent{Start: size - 1000, Size: 1000})
		}
		path := serve(t, src)
		want := filepath.Join(t.TempDir(), "want.raw")
		if err := os.WriteFile(want, src.data, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, url := range []string{"nbd+unix:///?socket=" + path, fmt.Sprintf(`json:{"driver":"raw","file":{"driver":"nbd","server":{"type":"unix","path":%q}}}`, path)} {
			got := filepath.Join(t.TempDir(), "got.raw")
			qemu(t, "qemu-img", "convert", "-O", "raw", url, got)
			b, err := os.ReadFile(got)
			if err != nil {
				t.Fatal(err)
			}
			if len(b) < len(src.data) || !bytes.Equal(b[:len(src.data)], src.data) || !image.IsZero(b[len(src.data):]) {
				t.Fatalf("size %d: what qemu-img read differs", size)
			}
			var ranges []struct {
				Start, Length int64
				Zero, Data    bool
			}
			if err := json.Unmarshal(qemu(t, "qemu-img", "map", "--output=json", url), &ranges); err != nil {
				t.Fatal(err)
			}
			at := int64(0)
			for _, r := range ranges {
				if r.Start != at || r.Zero == r.Data {
					t.Fatalf("size %d: qemu-img map says %+v", size, ranges)
				}
				at += r.Length
				if r.Zero && !image.IsZero(src.data[r.Start:min(at, size)]) {
					t.Fatalf("size %d: %+v is shown as a hole", size, r)
				}
			}
			if len(ranges) < 4 || at < size {
				t.Fatalf("size %d: qemu-img map sees no holes: %+v", size, ranges)
			}
		}
	}
}

func TestBrokenSourceGivesAnErrorNotData(t *testing.T) {
	src := newMemory(8<<20, image.Extent{Start: 0, Size: 8 << 20})
	src.fail = func(off int64) error {
		if off >= 5<<20 {
			return errors.New("cluster is damaged")
		}
		return nil
	}
	path := serve(t, src)
	c := dial(t, path, 4)
	defer c.Close()
	var se *ServerError
	if _, err := c.ReadAt(make([]byte, 512), 6<<20); !errors.As(err, &se) || se.Code != errIO {
		t.Fatalf("got %v", err)
	}
	if _, err := c.ReadAt(make([]byte, 512), 1<<20); err != nil {
		t.Fatalf("the connection did not survive an error: %v", err)
	}
	if _, err := c.ReadAt(make([]byte, 3<<20), 3<<20); err == nil { // fails after the first MiB is sent
		t.Fatal("a read that failed half-way succeeded")
	}
	qemuIO, err := exec.LookPath("qemu-io")
	if err != nil {
		t.Skipf("skipped: %v (install the package qemu-utils)", err)
	}
	out, _ := exec.Command(qemuIO, "-r", "-f", "raw", "-c", "read 3M 3M", "nbd+unix:///?socket="+path).CombinedOutput()
	if !strings.Contains(string(out), "read failed: Input/output error") {
		t.Fatalf("qemu-io says %s", out)
	}
}

func TestClientReadsWhatTheServerHas(t *testing.T) {
	src := newMemory(40<<20+77, image.Extent{Start: 5, Size: 3 << 20}, image.Extent{Start: 33 << 20, Size: 1 << 20})
	c := dial(t, serve(t, src), 8)
	defer c.Close()
	if c.Size() != src.Size() || !c.ReadOnly() {
		t.Fatalf("size %d, read-only %v", c.Size(), c.ReadOnly())
	}
	got := make([]byte, src.Size())
	if n, err := c.ReadAt(got, 0); err != nil || n != len(got) || !bytes.Equal(got, src.data) {
		t.Fatalf("read %d: %v", n, err)
	}
	if n, err := c.ReadAt(got[:100], src.Size()-50); n != 50 || err != io.EOF {
		t.Fatalf("read at the end: %d, %v", n, err)
	}
	var all sync.WaitGroup
	for g := range 20 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 0))
			for range 30 {
				off := r.Int64N(src.Size() - 1<<20)
				p := make([]byte, 1+r.IntN(1<<20))
				if _, err := c.ReadAt(p, off); err != nil || !bytes.Equal(p, src.data[off:off+int64(len(p))]) {
					t.Errorf("read at %d: %v", off, err)
				}
			}
		})
	}
	all.Wait()
	if err := c.Write(make([]byte, 512), 0); err != nil {
		t.Fatal(err) // it is only sent
	}
	var se *ServerError
	if err := c.Flush(); !errors.As(err, &se) || se.Code != errPerm {
		t.Fatalf("write on a read-only disk: %v", err)
	}
}

func TestClientFillsADiskOfQEMU(t *testing.T) {
	dir := t.TempDir()
	path, sock := filepath.Join(dir, "d.raw"), filepath.Join(dir, "s")
	want := newMemory(20<<20, image.Extent{Start: 0, Size: 20 << 20})
	if err := os.WriteFile(path, make([]byte, len(want.data)), 0o600); err != nil {
		t.Fatal(err)
	}
	nbd, err := exec.LookPath("qemu-nbd")
	if err != nil {
		t.Skipf("skipped: %v (install the package qemu-utils)", err)
	}
	cmd := exec.Command(nbd, "-f", "raw", "-k", sock, path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	for range 500 {
		if _, err := os.Stat(sock); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	c := dial(t, sock, 8)
	for off := 0; off < len(want.data); off += 1 << 20 {
		p := bytes.Clone(want.data[off : off+1<<20])
		if err := c.Write(p, int64(off)); err != nil {
			t.Fatal(err)
		}
		clear(p) // it is the caller's again
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want.data) {
		t.Fatalf("the disk differs (%v)", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("qemu-nbd: %v", err)
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, newMemory(1<<20)) }()
	c := dial(t, l.Addr().String(), 1)
	silent, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Serve did not end")
	}
	if _, err := c.ReadAt(make([]byte, 1), 0); err == nil {
		t.Fatal("read from an ended server")
	}
	c.Close()
}

func TestCancelledClientSaysWhy(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	why := errors.New("the user has had enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(why) })
	if _, err := Connect(ctx, here, "", 1); !errors.Is(err, why) {
		t.Fatalf("got %v", err)
	}
}

func TestAllocationStaysSmall(t *testing.T) {
	var extents []image.Extent
	for i := range int64(5 * maxExtents) {
		extents = append(extents, image.Extent{Start: i * 16384, Size: 512})
	}
	a, err := newAllocation(t.Context(), &memory{size: 5 * maxExtents * 16384, extents: extents})
	if err != nil || len(a.data) > maxExtents {
		t.Fatalf("%d extents, %v", len(a.data), err)
	}
	for _, e := range extents {
		if end, data := a.at(e.Start); !data || end < e.End() {
			t.Fatalf("%+v is a hole", e)
		}
	}
}
