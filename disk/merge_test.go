package disk

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// change writes, discards and writes zeros at random places of a qcow2 file.
func change(t *testing.T, random *rand.Rand, path string, size int64) {
	t.Helper()
	args := []string{"-d", "unmap", "-f", "qcow2"}
	for i := range 60 {
		length := 512 * (1 + random.Int64N(600))
		at := 512 * random.Int64N((size-length)/512)
		command := []string{fmt.Sprintf("write -P %d", random.IntN(256)), "write -P 0", "write -z", "write -z -u", "discard"}[random.IntN(5)]
		if i%2 == 0 {
			command = fmt.Sprintf("write -P %d", 1+random.IntN(255))
		}
		args = append(args, "-c", fmt.Sprintf("%s %d %d", command, at, length))
	}
	if out, err := exec.Command("qemu-io", append(args, path)...).CombinedOutput(); err != nil || strings.Contains(string(out), "failed") {
		t.Fatalf("qemu-io: %v\n%s", err, out)
	}
}

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

// A copy of any image of a chain, with the overlays above it merged in, is what qemu-img makes of the whole chain.
func TestMerge(t *testing.T) {
	need(t, qemuImg)
	need(t, Tool{Name: "qemu-io", Package: "qemu-utils"})
	for seed := range uint64(6) {
		random := rand.New(rand.NewPCG(seed, 7))
		dir := t.TempDir()
		size := int64(9<<20 + 512)
		chain := []Image{{Path: sparseDisk(t, random, size, 20), Format: Raw}} // lowest first
		for i := range 3 {
			over := Image{Path: filepath.Join(dir, fmt.Sprintf("over, %d.qcow2", i)), Format: Qcow2}
			size += 512 * random.Int64N(9000) * int64(seed%2)
			if err := CreateOverlay(t.Context(), over.Path, chain[i], size); err != nil {
				t.Fatal(err)
			}
			change(t, random, over.Path, size)
			chain = append(chain, over)
		}
		top := chain[len(chain)-1]
		want := Image{Path: filepath.Join(dir, "want.raw"), Format: Raw}
		if err := Convert(t.Context(), top, want, nil); err != nil {
			t.Fatal(err)
		}
		expected, err := Probe(want.Path)
		if err != nil {
			t.Fatal(err)
		}
		for below := range chain {
			got := Image{Path: filepath.Join(dir, "got.raw"), Format: Raw, Unsynced: true}
			if err := Convert(t.Context(), chain[below], got, nil); err != nil {
				t.Fatal(err)
			}
			var overlays []string
			for i := len(chain) - 1; i > below; i-- {
				overlays = append(overlays, chain[i].Path)
			}
			if err := Merge(t.Context(), got.Path, overlays...); err != nil {
				t.Fatal(err)
			}
			if err := Compare(t.Context(), got, want); err != nil {
				t.Errorf("seed %d, %d overlays: %v", seed, len(overlays), err)
			}
			// A cluster of an overlay that is partly zeros has no hole there, as the file of qemu-img has.
			if info, err := Probe(got.Path); err != nil || info.Allocated > expected.Allocated+3<<20 {
				t.Errorf("seed %d, %d overlays: takes up %d bytes, %d would do (%v)", seed, len(overlays), info.Allocated, expected.Allocated, err)
			}
		}
	}
}

func TestMergeFails(t *testing.T) {
	need(t, qemuImg)
	dir := t.TempDir()
	base := Image{Path: sampleDisk(t, 1<<20), Format: Raw}
	over := Image{Path: filepath.Join(dir, "over.qcow2"), Format: Qcow2}
	if err := CreateOverlay(t.Context(), over.Path, base, 0); err != nil {
		t.Fatal(err)
	}
	longer := filepath.Join(dir, "longer.raw")
	if err := errors.Join(os.WriteFile(longer, nil, 0o600), os.Truncate(longer, 2<<20)); err != nil {
		t.Fatal(err)
	}
	if err := Merge(t.Context(), longer, over.Path); err == nil || !strings.Contains(err.Error(), "fewer than") {
		t.Errorf("a file longer than the disk: %v", err)
	}
	if err := Merge(t.Context(), filepath.Join(dir, "absent.raw"), over.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := os.Remove(base.Path); err != nil {
		t.Fatal(err)
	}
	var tool *ToolError
	raw := writeFile(t, "copy.raw", make([]byte, 1<<20))
	if err := Merge(t.Context(), raw, over.Path); !errors.As(err, &tool) {
		t.Errorf("the base is gone: %v", err)
	}
	compressed := Image{Path: filepath.Join(dir, "compressed.qcow2"), Format: Qcow2}
	output(t, qemuImg, "convert", "-c", "-O", "qcow2", sampleDisk(t, 1<<20), compressed.Path)
	if err := Merge(t.Context(), raw, compressed.Path); err == nil || !strings.Contains(err.Error(), "compressed") {
		t.Errorf("compressed clusters: %v", err)
	}
}
