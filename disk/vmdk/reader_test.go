package vmdk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ingot-image/ingot/disk/image"
)

// What qemu-img writes is read as the same disk, with the same sizes and in all variants that it has.
func TestReadQEMU(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	for _, options := range []string{"subformat=streamOptimized", "subformat=streamOptimized,compat6=on,adapter_type=lsilogic", "subformat=monolithicSparse", "subformat=monolithicSparse,zeroed_grain=on"} {
		for _, size := range []int64{512, grainSize - 512, tableSpan + 512, 3*tableSpan + 5*grainSize + 1024} {
			t.Run(fmt.Sprint(options, size), func(t *testing.T) {
				raw := sparseDisk(t, random, size, 30)
				path := filepath.Join(t.TempDir(), "disk.vmdk")
				qemuImg(t, "convert", "-f", "raw", "-O", "vmdk", "-o", options, rawPath(t, raw), path)
				if strings.Contains(options, "zeroed_grain") && size > tableSpan {
					if _, err := exec.LookPath("qemu-io"); err != nil {
						t.Skip("qemu-io is not installed (package qemu-utils)")
					}
					if out, err := exec.Command("qemu-io", "-f", "vmdk", "-c", "write -z 0 33423360", path).CombinedOutput(); err != nil {
						t.Fatalf("%v\n%s", err, out)
					}
					after := filepath.Join(t.TempDir(), "after.raw")
					qemuImg(t, "convert", "-f", "vmdk", "-O", "raw", path, after)
					var err error
					if raw, err = image.OpenFile(after); err != nil {
						t.Fatal(err)
					}
					defer raw.Close()
				}
				f, err := os.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				st, err := f.Stat()
				if err != nil {
					t.Fatal(err)
				}
				r, err := NewReader(f, st.Size())
				if err != nil {
					t.Fatal(err)
				}
				if err := same(raw, r); err != nil {
					t.Error(err)
				}
				if info, err := Probe(f, st.Size()); err != nil || info.VirtualSize != size {
					t.Errorf("%+v, %v", info, err)
				}
			})
		}
	}
}

// Files as VirtualBox and older Workstations write them: a capacity in whole grains, grain tables and grains of other sizes, the redundant
// directory alone, versions 1 and 2 of the header.
func TestReadVariants(t *testing.T) {
	raw := sparseDisk(t, rand.New(rand.NewPCG(9, 10)), tableSpan+3*grainSize+512, 50)
	stream := encode(t, raw, Options{}, image.CopyOptions{})
	for _, at := range []int{12, len(stream) - 2*sectorSize + 12} { // as VirtualBox
		sectors := binary.LittleEndian.Uint64(stream[at:])
		binary.LittleEndian.PutUint64(stream[at:], (sectors+127)/128*128)
	}
	if err := same(raw, reader(t, stream)); err != nil {
		t.Errorf("capacity in whole grains: %v", err)
	}
	for _, c := range []struct {
		version           uint32
		grain, perTable   int64
		first, redundancy bool
	}{{1, 128, 512, true, false}, {1, 128, 512, true, true}, {2, 128, 512, false, true}, {3, 8, 512, true, false}, {1, 1024, 64, true, false}, {1, 1, 512, true, false}} {
		if err := same(raw, reader(t, monolithic(t, raw, c.version, c.grain, c.perTable, c.first, c.redundancy))); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// monolithic is a monolithicSparse VMDK of a disk, with the first directory or the redundant one, or both; grain is in sectors.
func monolithic(t testing.TB, src image.Source, version uint32, grain, perTable int64, first, redundant bool) []byte {
	t.Helper()
	sectors := src.Size() / sectorSize
	h := header{version: version, flags: flagNewline, capacity: uint64(sectors), grain: uint64(grain), descriptor: 1, descriptorSize: 1, perTable: uint32(perTable), newlines: newlines}
	if version == 2 {
		h.flags |= 1 << 2
	}
	grains := (sectors + grain - 1) / grain
	tables := (grains + perTable - 1) / perTable
	up := func(n int64) int64 { return (n + sectorSize - 1) / sectorSize }
	place := uint64(2)
	if redundant {
		h.flags |= flagRedundant
		h.redundantDirectory = place
	}
	if first {
		h.directory = place
	}
	b := make([]byte, (2+up(tables*4)+tables*up(perTable*4))*sectorSize)
	copy(b, h.encode())
	copy(b[sectorSize:], fmt.Sprintf("# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicSparse\"\nRW %d SPARSE \"x.vmdk\"\n", sectors))
	le := binary.LittleEndian
	data := make([]byte, grain*sectorSize)
	for i := range tables {
		table := 2 + up(tables*4) + i*up(perTable*4)
		le.PutUint32(b[2*sectorSize+4*i:], uint32(table))
		for j := range min(perTable, grains-i*perTable) {
			clear(data)
			if _, err := src.ReadAt(data, (i*perTable+j)*grain*sectorSize); err != nil && err != io.EOF {
				t.Fatal(err)
			}
			entry := b[table*sectorSize+4*j:]
			switch {
			case !image.IsZero(data):
				le.PutUint32(entry, uint32(len(b)/sectorSize))
				b = append(b, data...)
			case version == 2:
				le.PutUint32(entry, zeroGrain)
			}
		}
	}
	return b
}

// Any number may read at any place, in any steps.
func TestReadConcurrently(t *testing.T) {
	raw := sparseDisk(t, rand.New(rand.NewPCG(11, 12)), 40<<20+512, 120)
	for name, b := range map[string][]byte{"stream": encode(t, raw, Options{}, image.CopyOptions{}), "sparse": monolithic(t, raw, 1, 128, 512, true, false)} {
		r := reader(t, b)
		var group sync.WaitGroup
		for g := range 8 {
			group.Go(func() {
				random := rand.New(rand.NewPCG(13, uint64(g)))
				for range 150 {
					off := random.Int64N(raw.Size())
					x, y := make([]byte, random.IntN(300_000)), make([]byte, 300_000)
					n, err := r.ReadAt(x, off)
					m, err2 := raw.ReadAt(y[:len(x)], off)
					if n != m || !errors.Is(err, err2) || !bytes.Equal(x[:n], y[:n]) {
						t.Errorf("%s: %d bytes at %d: %d, %v instead of %d, %v", name, len(x), off, n, err, m, err2)
						return
					}
				}
			})
		}
		group.Wait()
		if _, err := r.ReadAt(make([]byte, 1), -1); err == nil {
			t.Error("a read at -1")
		}
		if n, err := r.ReadAt(nil, 5); n != 0 || err != nil {
			t.Error("a read of nothing:", n, err)
		}
		if n, err := r.ReadAt(make([]byte, 1), raw.Size()); n != 0 || err != io.EOF {
			t.Error("a read behind the end:", n, err)
		}
	}
}

// counting counts the bytes that are read.
type counting struct {
	io.ReaderAt
	bytes atomic.Int64
}

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, off)
	c.bytes.Add(int64(n))
	return n, err
}

// Reading in order, in whatever steps, reads and expands each grain once.
func TestReadOnce(t *testing.T) {
	raw := sparseDisk(t, rand.New(rand.NewPCG(14, 15)), 70<<20, 400)
	b := encode(t, raw, Options{}, image.CopyOptions{})
	for _, step := range []int64{512, 4096, 100_000, 1 << 20, 5 << 20} {
		c := &counting{ReaderAt: bytes.NewReader(b)}
		r, err := NewReader(c, int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		p := make([]byte, step)
		for off := int64(0); off < r.Size(); off += step {
			if _, err := r.ReadAt(p, off); err != nil && err != io.EOF {
				t.Fatal(err)
			}
		}
		if n := c.bytes.Load(); n > int64(len(b))*11/10 {
			t.Errorf("steps of %d: %d bytes of a file of %d were read", step, n, len(b))
		}
	}
}

func TestExtentsStop(t *testing.T) {
	raw := sparseDisk(t, rand.New(rand.NewPCG(16, 17)), 200<<20, 100)
	r := reader(t, encode(t, raw, Options{}, image.CopyOptions{}))
	stop := errors.New("stop")
	calls := 0
	if err := r.Extents(t.Context(), func(image.Extent) error { calls++; return stop }); !errors.Is(err, stop) || calls != 1 {
		t.Errorf("%d calls, %v", calls, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	if err := r.Extents(ctx, func(image.Extent) error { return nil }); !errors.Is(err, stop) {
		t.Error(err)
	}
}
