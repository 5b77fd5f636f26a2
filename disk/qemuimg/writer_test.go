package qemuimg

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/disk/image"
	"github.com/ingot-image/ingot/disk/tool"
)

func need(t testing.TB) {
	t.Helper()
	for _, tool := range Tools() {
		if _, err := tool.Find(); err != nil {
			t.Skipf("skipped: %v", err)
		}
	}
}

// sample makes a raw disk with data that compresses, data that does not, and holes.
func sample(t testing.TB, size int64) (string, *image.File) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, uint64(size)))
	for range 40 {
		b := make([]byte, 512*(1+r.IntN(600)))
		for i := range b {
			if b[i] = byte(r.Uint32()); r.IntN(3) > 0 {
				b[i] &= 7
			}
		}
		off := r.Int64N(max(size-int64(len(b)), 1)) / 512 * 512
		f.WriteAt(b[:min(int64(len(b)), size-off)], off)
	}
	f.WriteAt([]byte("the end"), max(size-512, 0))
	raw, err := image.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	return path, raw
}

func write(t testing.TB, src image.Source, format image.Format, workers int) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "image, with a comma"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := NewWriter(t.Context(), f, format, src.Size(), image.Default)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := image.Copy(t.Context(), src, image.CopyOptions{Workers: workers}, w); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func qemuImgRun(t testing.TB, args ...string) {
	t.Helper()
	out, err := exec.Command("qemu-img", args...).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("size mismatch")) {
		t.Fatalf("qemu-img %q: %v\n%s", args, err, out)
	}
}

func TestWrittenImagesHoldTheDiskAndAreTheSameEveryTime(t *testing.T) {
	need(t)
	for _, format := range []image.Format{image.Qcow2, image.Qcow2Zstd, image.VHDX} {
		for _, size := range []int64{80 << 20, 7<<20 + 512*3, 512} {
			t.Run(fmt.Sprintf("%s/%d", format, size), func(t *testing.T) {
				path, src := sample(t, size)
				k, err := kindOf(format)
				if err != nil {
					t.Fatal(err)
				}
				var first [32]byte
				for i, workers := range []int{1, 2, 8} {
					img := write(t, src, format, workers)
					link := filepath.Join(t.TempDir(), "i") // qemu-img's arguments do not like commas
					if err := os.Symlink(img, link); err != nil {
						t.Fatal(err)
					}
					b, err := os.ReadFile(img)
					if err != nil {
						t.Fatal(err)
					}
					if sum := sha256.Sum256(b); i == 0 {
						first = sum
						qemuImgRun(t, "check", "-f", k.driver, link)
						qemuImgRun(t, "compare", "-f", "raw", "-F", k.driver, path, link)
					} else if sum != first {
						t.Fatalf("run %d gave other bytes", i)
					}
				}
			})
		}
	}
}

func TestHolesOfTheSourceMakeNoDifference(t *testing.T) {
	need(t)
	path, src := sample(t, 20<<20)
	full := filepath.Join(t.TempDir(), "full.raw")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(full, b, 0o600); err != nil {
		t.Fatal(err)
	}
	other, err := image.OpenFile(full)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for _, format := range []image.Format{image.Qcow2, image.Qcow2Zstd, image.VHDX} {
		x, _ := os.ReadFile(write(t, src, format, 2))
		y, _ := os.ReadFile(write(t, other, format, 2))
		if len(x) == 0 || !bytes.Equal(x, y) {
			t.Errorf("%s: the holes of the source show", format)
		}
	}
}

// leftovers are sockets' folders and QEMU's processes that work on a file.
func leftovers(t testing.TB, tmp string, f *os.File) string {
	t.Helper()
	entries, err := os.ReadDir(tmp)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	self := fmt.Sprintf("/proc/%d/", os.Getpid())
	for _, fd := range fds {
		if other, err := os.Stat(fd); err == nil && os.SameFile(st, other) && !strings.HasPrefix(fd, self) && !strings.HasPrefix(fd, "/proc/self/") {
			left = append(left, fd)
		}
	}
	return strings.Join(left, " ")
}

func TestNothingIsLeft(t *testing.T) {
	need(t)
	start := func(ctx context.Context) (*os.File, string, *Writer) {
		f, err := os.Create(filepath.Join(t.TempDir(), "f"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		tmp := t.TempDir()
		t.Setenv("TMPDIR", tmp)
		w, err := NewWriter(ctx, f, image.Qcow2, 8<<20, image.Default)
		if err != nil {
			t.Fatal(err)
		}
		return f, tmp, w
	}
	t.Run("closed without an end", func(t *testing.T) {
		f, tmp, w := start(t.Context())
		w.Close()
		w.Close()
		if left := leftovers(t, tmp, f); left != "" {
			t.Fatal(left)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		f, tmp, w := start(ctx)
		cancel(why)
		<-w.process.Done()
		if err := w.Finish(); !errors.Is(err, why) {
			t.Fatalf("got %v", err)
		}
		if left := leftovers(t, tmp, f); left != "" {
			t.Fatal(left)
		}
	})
	t.Run("QEMU is killed", func(t *testing.T) {
		f, tmp, w := start(t.Context())
		w.process.Signal(os.Kill)
		<-w.process.Done()
		write, err := w.Encode(image.Piece{Data: bytes.Repeat([]byte{1}, 1<<20)})
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			err = write()
		}
		var te *tool.Error
		if !errors.As(err, &te) {
			t.Fatalf("got %v", err)
		}
		w.Close()
		if left := leftovers(t, tmp, f); left != "" {
			t.Fatal(left)
		}
	})
}

// TestKilledWriterLeavesNoQEMU kills a process that writes; the test's own binary plays it.
func TestKilledWriterLeavesNoQEMU(t *testing.T) {
	need(t)
	if path := os.Getenv("QEMUIMG_WRITE_AND_WAIT"); path != "" {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := NewWriter(t.Context(), f, image.Qcow2, 8<<20, image.Default); err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("ready\n")
		time.Sleep(time.Minute)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tmp := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestKilledWriterLeavesNoQEMU$")
	cmd.Env = append(os.Environ(), "QEMUIMG_WRITE_AND_WAIT="+f.Name(), "TMPDIR="+tmp)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	if leftovers(t, tmp, f) == "" {
		t.Fatal("no QEMU works on the file: the test sees nothing")
	}
	cmd.Process.Kill()
	cmd.Wait()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		left := leftovers(t, tmp, f)
		if left == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatal(left)
		}
	}
}

func TestMistakesAreErrors(t *testing.T) {
	need(t)
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, test := range []struct {
		format image.Format
		size   int64
		want   string
	}{
		{image.VMDK, 512, "not used to write vmdk"},
		{image.Qcow2, 513, "not a multiple of 512"},
		{image.VHDX, 65 << 40, "qemu-img: "},
	} {
		_, err := NewWriter(t.Context(), f, test.format, test.size, image.Default)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s of %d bytes: %v", test.format, test.size, err)
		}
	}
}

// BenchmarkWrite writes the disk in INGOT_BENCH_DISK.
func BenchmarkWrite(b *testing.B) {
	need(b)
	path := os.Getenv("INGOT_BENCH_DISK")
	if path == "" {
		b.Skip("skipped: INGOT_BENCH_DISK names no raw disk")
	}
	src, err := image.OpenFile(path)
	if err != nil {
		b.Fatal(err)
	}
	defer src.Close()
	for _, format := range []image.Format{image.Qcow2, image.Qcow2Zstd, image.VHDX} {
		b.Run(string(format), func(b *testing.B) {
			for b.Loop() {
				write(b, src, format, 0)
			}
		})
	}
}
