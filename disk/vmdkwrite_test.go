package disk

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
	"testing"
	"time"
)

// sparseDisk writes a raw file with random data at random places, some of it written zeros.
func sparseDisk(t *testing.T, random *rand.Rand, size int64, pieces int) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "sparse.raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for i := range pieces {
		data := make([]byte, 1+random.IntN(200_000))
		if i%4 != 0 {
			for j := range data {
				data[j] = byte(random.Uint32N(1 << uint(1+i%8)))
			}
		}
		at := random.Int64N(size)
		if _, err := f.WriteAt(data[:min(int64(len(data)), size-at)], at); err != nil {
			t.Fatal(err)
		}
	}
	return f.Name()
}

// What we write as VMDK is read by qemu-img and by our own reader: sizes around those of grains, batches and grain tables, empty disks, disks
// with data everywhere.
func TestWriteVMDK(t *testing.T) {
	need(t, qemuImg)
	const table = vmdkPerTable * vmdkGrain
	random := rand.New(rand.NewPCG(1, 2))
	for i, size := range []int64{512, vmdkGrain - 512, vmdkGrain, vmdkGrain + 512, vmdkBatch*vmdkGrain + 512, table - 512, table, table + 512, 3*table + 5*vmdkGrain, 5 << 30} {
		for _, pieces := range []int{0, 1, 40} {
			t.Run(fmt.Sprint(size, pieces), func(t *testing.T) {
				raw := Image{Path: sparseDisk(t, random, size, pieces), Format: Raw}
				dst := Image{Path: filepath.Join(t.TempDir(), fmt.Sprintf("disk %d \"x\".vmdk", i)), Format: VMDK}
				if err := Convert(t.Context(), raw, dst, nil); err != nil {
					t.Fatal(err)
				}
				info, err := CheckSafe(dst.Path, VMDK, Limits{})
				if err != nil || info.VirtualSize != size || !info.Compressed {
					t.Errorf("%+v, %v", info, err)
				}
				if err := errors.Join(Check(t.Context(), dst), Compare(t.Context(), raw, dst)); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// The same disk under the same name is the same file.
func TestWriteVMDKReproducible(t *testing.T) {
	raw, size, err := openRegular(sparseDisk(t, rand.New(rand.NewPCG(3, 4)), 70<<20, 30))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	var a, b bytes.Buffer
	if err := errors.Join(writeVMDK(t.Context(), &a, raw, size, "x.vmdk", nil), writeVMDK(t.Context(), &b, raw, size, "x.vmdk", nil)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("two files of one disk differ")
	}
}

type failingWriter struct{ after int }

func (f *failingWriter) Write(p []byte) (int, error) {
	if f.after -= len(p); f.after < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

// A writer that fails and a context that ends leave nothing running.
func TestWriteVMDKStops(t *testing.T) {
	raw, size, err := openRegular(sparseDisk(t, rand.New(rand.NewPCG(5, 6)), 200<<20, 300))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	before := runtime.NumGoroutine()
	for _, after := range []int{0, 70_000, 5_000_000} {
		if err := writeVMDK(t.Context(), &failingWriter{after}, raw, size, "x.vmdk", nil); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("after %d bytes: %v", after, err)
		}
	}
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	var once bool
	err = writeVMDK(ctx, io.Discard, raw, size, "x.vmdk", func(float64) {
		if !once {
			once = true
			cancel(cause)
		}
	})
	if !errors.Is(err, cause) {
		t.Errorf("a context that ended: %v", err)
	}
	for start := time.Now(); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Since(start) > 5*time.Second {
			t.Fatalf("%d goroutines are left", runtime.NumGoroutine()-before)
		}
	}
}
