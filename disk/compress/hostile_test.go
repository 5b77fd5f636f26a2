package compress

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/ingot-image/ingot/disk/image"
)

// TestExpandCancelled cancels the expansion of files that are read in one piece, and hold much.
func TestExpandCancelled(t *testing.T) {
	why := errors.New("enough")
	for format, list := range packers {
		t.Run(string(format), func(t *testing.T) {
			file := pack(t, list[0], make([]byte, 64*mib))
			out, err := os.Create(filepath.Join(t.TempDir(), "out"))
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			ctx, cancel := context.WithCancelCause(t.Context())
			_, err = Expand(ctx, bytes.NewReader(file), format, out, 1<<30, func(done int64) {
				if done > 4*mib {
					t.Fatalf("%d bytes were expanded", done)
				}
				cancel(why)
			})
			if !errors.Is(err, why) {
				t.Errorf("cancelled: %v", err)
			}
		})
	}
}

// TestXZDictionaries has files that name dictionaries of 64 MiB over and over, which take no more memory than one of them, and none when there is little to expand.
func TestXZDictionaries(t *testing.T) {
	xz := []string{"xz", "-c", "--lzma2=preset=0,dict=64MiB"}
	tests := []struct {
		name                 string
		content              []byte
		times                int
		allocated, heapGrows int64 // at most, in bytes
	}{
		{"small", []byte("small"), 300, 32 * mib, 32 * mib},
		{"compressible", make([]byte, 3*mib), 30, 30 * 8 * mib, 48 * mib},
		{"large", noise(4, 3*mib/2), 8, 8 * 80 * mib, 100 * mib},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			file := bytes.Repeat(pack(t, xz, test.content), test.times)
			out, err := os.Create(filepath.Join(t.TempDir(), "out"))
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			n, err := Expand(t.Context(), bytes.NewReader(file), image.XZ, out, 1<<30, nil)
			runtime.ReadMemStats(&after)
			if err != nil || n != int64(test.times*len(test.content)) {
				t.Fatal(n, err)
			}
			if got := int64(after.TotalAlloc - before.TotalAlloc); got > test.allocated {
				t.Errorf("%d MiB were allocated, %d MiB are allowed", got/mib, test.allocated/mib)
			}
			if got := int64(after.HeapSys) - int64(before.HeapSys); got > test.heapGrows {
				t.Errorf("the heap grew by %d MiB, %d MiB are allowed", got/mib, test.heapGrows/mib)
			}
		})
	}
}

// TestZstdMemory counts what the frames that are kept take, packed and expanded, where they do not compress and there are many processors.
func TestZstdMemory(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(8))
	disk := &memory{size: maxSlots * frameSize}
	disk.add(0, noise(7, maxSlots*frameSize))
	file := zstdOf(t, disk)
	z, err := OpenZstd(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	for at := int64(0); at < z.Size(); at += frameSize {
		if _, err := z.ReadAt(make([]byte, 1), at); err != nil {
			t.Fatal(err)
		}
	}
	kept := 0
	for _, s := range z.cache.slots {
		kept += cap(s.data) + cap(s.file)
	}
	if kept > cacheSize || kept < cacheSize/2 {
		t.Errorf("%d MiB are kept, %d MiB are allowed", kept/mib, cacheSize/mib)
	}
}
