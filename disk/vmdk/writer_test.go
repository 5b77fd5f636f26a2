package vmdk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/disk/image"
)

// What is written is read by qemu-img and by the reader: sizes around those of grains, pieces and grain tables, empty disks, disks with data
// everywhere, all levels.
func TestWriter(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for i, size := range []int64{512, grainSize - 512, grainSize, grainSize + 512, image.PieceSize - 512, image.PieceSize, image.PieceSize + 512,
		tableSpan - 512, tableSpan, tableSpan + 512, 3*tableSpan + 5*grainSize, 5 << 30} {
		for j, pieces := range []int{0, 1, 40} {
			t.Run(fmt.Sprint(size, pieces), func(t *testing.T) {
				raw := sparseDisk(t, random, size, pieces)
				name := fmt.Sprintf("disk %d \"x\".vmdk", i)
				b := encode(t, raw, Options{Name: name, Level: image.Level((i + j) % 3)}, image.CopyOptions{})
				if err := same(raw, reader(t, b)); err != nil {
					t.Error(err)
				}
				info, err := Probe(bytes.NewReader(b), int64(len(b)))
				if err != nil || info.VirtualSize != size || !info.Compressed || info.Variant != "streamOptimized" || len(info.References) > 0 {
					t.Errorf("%+v, %v", info, err)
				}
				checkQEMU(t, save(t, name, b), rawPath(t, raw))
			})
		}
	}
}

func rawPath(t *testing.T, raw *image.File) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "raw")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w, err := image.NewRawWriter(out, raw.Size())
	if err != nil {
		t.Fatal(err)
	}
	if err := image.Copy(t.Context(), raw, image.CopyOptions{}, w); err != nil {
		t.Fatal(err)
	}
	return path
}

// A large disk costs what its data cost.
func TestWriterSparse(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "large.raw"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(2 << 40); err != nil {
		t.Skipf("the file system has no files of 2 TiB: %v", err)
	}
	for i := range int64(20) {
		if _, err := f.WriteAt([]byte("some data"), i*100<<30+12345); err != nil {
			t.Fatal(err)
		}
	}
	raw := openRaw(t, f)
	start := time.Now()
	b := encode(t, raw, Options{}, image.CopyOptions{})
	r := reader(t, b)
	if err := same(raw, r); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	if len(b) > 500_000 { // 256 KiB of them are the directory
		t.Errorf("%d bytes", len(b))
	}
	qemuImg(t, "check", "-f", "vmdk", save(t, "large.vmdk", b))
}

// The largest disk that can be written can be read.
func TestWriterLargest(t *testing.T) {
	b := encode(t, holes(MaxSize), Options{}, image.CopyOptions{})
	if r := reader(t, b); r.Size() != MaxSize {
		t.Errorf("%d bytes", r.Size())
	}
}

// holes is a disk of zeros.
type holes int64

func (h holes) Size() int64                                                   { return int64(h) }
func (h holes) ReadAt(p []byte, off int64) (int, error)                       { clear(p); return len(p), nil }
func (h holes) Extents(ctx context.Context, f func(image.Extent) error) error { return nil }

// oneExtent says that the whole disk may hold something.
type oneExtent struct{ image.Source }

func (s oneExtent) Extents(_ context.Context, f func(image.Extent) error) error {
	return f(image.Extent{Size: s.Size()})
}

// The same disk under the same name is the same file, however it is stored and whatever the machine.
func TestWriterDeterministic(t *testing.T) {
	raw := sparseDisk(t, rand.New(rand.NewPCG(3, 4)), 70<<20+512, 60)
	want := encode(t, raw, Options{Name: "x.vmdk"}, image.CopyOptions{Workers: 1})
	for _, workers := range []int{1, 2, 7, 32} {
		for name, src := range map[string]image.Source{"holes": raw, "no holes": oneExtent{raw}, "vmdk": reader(t, want)} {
			if !bytes.Equal(encode(t, src, Options{Name: "x.vmdk"}, image.CopyOptions{Workers: workers}), want) {
				t.Errorf("%d workers, %s: another file", workers, name)
			}
		}
	}
	if bytes.Equal(encode(t, raw, Options{Name: "y.vmdk"}, image.CopyOptions{}), want) {
		t.Error("another name makes the same file")
	}
}

type failingWriter struct{ after int }

func (f *failingWriter) Write(p []byte) (int, error) {
	if f.after -= len(p); f.after < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

// A file that cannot be written and a context that ends stop the work and leave nothing running.
func TestWriterStops(t *testing.T) {
	raw := sparseDisk(t, rand.New(rand.NewPCG(5, 6)), 200<<20, 300)
	all := len(encode(t, raw, Options{}, image.CopyOptions{}))
	before := runtime.NumGoroutine()
	if _, err := NewWriter(&failingWriter{0}, raw.Size(), Options{}); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("no header: %v", err)
	}
	for _, after := range []int{70_000, 5_000_000, all - 1400, all - 1} {
		w, err := NewWriter(&failingWriter{after}, raw.Size(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := image.Copy(t.Context(), raw, image.CopyOptions{}, w); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("after %d of %d bytes: %v", after, all, err)
		}
	}
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	w, err := NewWriter(io.Discard, raw.Size(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := image.Copy(ctx, raw, image.CopyOptions{Progress: func(_, _ int64) { cancel(cause) }}, w); !errors.Is(err, cause) {
		t.Errorf("a context that ended: %v", err)
	}
	for start := time.Now(); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Since(start) > 5*time.Second {
			t.Fatalf("%d goroutines are left", runtime.NumGoroutine()-before)
		}
	}
}

// A file whose sectors no longer fit into 32 bits is an error.
func TestWriterTooLong(t *testing.T) {
	w, err := NewWriter(io.Discard, 3<<40, Options{})
	if err != nil {
		t.Fatal(err)
	}
	write, err := w.Encode(image.Piece{Data: bytes.Repeat([]byte("x"), image.PieceSize)})
	if err != nil {
		t.Fatal(err)
	}
	w.written = (1<<32 - 4) * sectorSize
	if err := write(); !errors.Is(err, errTooLong) {
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		size int64
		o    Options
		want string // error
	}{
		{size: 0, want: "a disk of 0 bytes"},
		{size: -512, want: "a disk of -512 bytes"},
		{size: 1000, want: "whole sectors"},
		{size: MaxSize + 512, want: "62 TiB"},
		{size: 512, o: Options{AdapterType: "virtio"}, want: "use one of lsilogic, buslogic, ide"},
		{size: 512, o: Options{HardwareVersion: 2}, want: "hardware version 2"},
		{size: 512, o: Options{HardwareVersion: -1}, want: "hardware version -1"},
		{size: 512, o: Options{ToolsVersion: -1}, want: "Tools version -1"},
		{size: 512, o: Options{Level: 9}, want: "level of compression 9"},
		{size: 512, o: Options{Name: strings.Repeat("x", 256)}, want: "256 bytes"},
		{size: 512, o: Options{Name: strings.Repeat("x", 255), AdapterType: "legacyESX", HardwareVersion: 21, ToolsVersion: 12352}},
	} {
		_, err := NewWriter(io.Discard, c.size, c.o)
		if c.want == "" && err != nil {
			t.Errorf("%+v: %v", c, err)
		}
		if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: error %v", c, err)
		}
	}
}

func TestPieces(t *testing.T) {
	w, err := NewWriter(io.Discard, image.PieceSize+512, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []image.Piece{{Start: 512, Data: make([]byte, 512)}, {Data: make([]byte, 512)}, {Start: 2 * image.PieceSize, Data: make([]byte, 512)},
		{Start: image.PieceSize, Data: make([]byte, 1024)}, {Start: -image.PieceSize, Data: make([]byte, image.PieceSize)}} {
		if _, err := w.Encode(p); err == nil {
			t.Errorf("a piece of %d bytes at %d is taken", len(p.Data), p.Start)
		}
	}
}

// The descriptor and the header have what others look for.
func TestDescriptor(t *testing.T) {
	b := encode(t, holes(8<<30), Options{Name: "a/b\"c\n.vmdk"}, image.CopyOptions{})
	text, _, _ := strings.Cut(string(b[512:]), "\x00")
	want := `# Disk DescriptorFile
version=1
encoding="UTF-8"
CID=5190121b
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RW 16777216 SPARSE "a_b_c_.vmdk"

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "6"
ddb.geometry.cylinders = "1044"
ddb.geometry.heads = "255"
ddb.geometry.sectors = "63"
ddb.adapterType = "lsilogic"
ddb.toolsInstallType = "4"
ddb.toolsVersion = "2147483647"
`
	if text != want {
		t.Errorf("descriptor:\n%s", text)
	}
	if got := decodeHeader(b); got != (header{version: 3, flags: 0x30001, capacity: 16777216, grain: 128, descriptor: 1, descriptorSize: 20,
		perTable: 512, directory: 1<<64 - 1, overhead: 128, newlines: "\n \r\n", algorithm: 1}) {
		t.Errorf("header: %+v", got)
	}
	o, err := Options{AdapterType: "ide", HardwareVersion: 13, ToolsVersion: 12352}.checked()
	if err != nil {
		t.Fatal(err)
	}
	text = o.descriptor(16777216)
	for _, want := range []string{`cylinders = "16383"`, `heads = "16"`, `adapterType = "ide"`, `HWVersion = "13"`, `toolsVersion = "12352"`, `SPARSE "disk.vmdk"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}
