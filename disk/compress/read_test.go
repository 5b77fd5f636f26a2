package compress

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ingot-image/ingot/disk/image"
)

func zstdOf(t testing.TB, disk *memory) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewZstdWriter(&b, disk.size, image.Fast)
	if err != nil {
		t.Fatal(err)
	}
	if err := image.Copy(context.Background(), disk, image.CopyOptions{}, w); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestOpenZstd reads at random what was written.
func TestOpenZstd(t *testing.T) {
	for name, disk := range disks() {
		t.Run(name, func(t *testing.T) {
			file := zstdOf(t, disk)
			z, err := OpenZstd(bytes.NewReader(file), int64(len(file)))
			if err != nil {
				t.Fatal(err)
			}
			if z.Size() != disk.size || sumOf(t, z) != sumOf(t, disk) {
				t.Fatalf("%d bytes of %d, or other ones", z.Size(), disk.size)
			}
			for off := int64(0); off < disk.size; off += disk.size/37 + 1 {
				got, want := make([]byte, 70001), make([]byte, 70001)
				n, err := z.ReadAt(got, off)
				m, wantErr := disk.ReadAt(want, off)
				if n != m || err != wantErr || !bytes.Equal(got[:n], want[:n]) {
					t.Fatalf("at %d: %d bytes, %v", off, n, err)
				}
			}
			if n, err := z.ReadAt(make([]byte, 1), disk.size); n != 0 || err != io.EOF {
				t.Errorf("behind the end: %d, %v", n, err)
			}
			// Copied again by many, which extents tell what of it there is, it is the same file.
			var again bytes.Buffer
			w, err := NewZstdWriter(&again, z.Size(), image.Fast)
			if err != nil {
				t.Fatal(err)
			}
			if err := image.Copy(t.Context(), z, image.CopyOptions{Workers: 16}, w); err != nil || !bytes.Equal(again.Bytes(), file) {
				t.Errorf("copied again it is another file: %v", err)
			}
			var held int64
			if err := z.Extents(t.Context(), func(e image.Extent) error { held += e.Size; return nil }); err != nil {
				t.Fatal(err)
			}
			most := map[string]int64{"islands": 5*frameSize + 6*mib, "hole of frames": 0, "hole, odd": 0, "one zero": 0, "last byte": mib + 1}
			if n, ok := most[name]; ok && held > n {
				t.Errorf("%d bytes are in extents, more than %d", held, n)
			}
		})
	}
}

// TestOpenZstdHuge has a disk of 2 TiB.
func TestOpenZstdHuge(t *testing.T) {
	disk := &memory{size: 2 << 40, holes: true}
	disk.add(1<<40, text(1, 100))
	file := zstdOf(t, disk)
	z, err := OpenZstd(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	var n counting
	write(t, z, func(w io.Writer, size int64) (image.Writer, error) { return NewZstdWriter(w, size, image.Fast) }, 2, &n)
	if int(n) != len(file) {
		t.Errorf("%d bytes instead of %d", n, len(file))
	}
}

// TestOpenZstdHostile changes tables and frames.
func TestOpenZstdHostile(t *testing.T) {
	file := zstdOf(t, disks()["islands"])
	entries := 9 // frames of 70 MiB
	table := len(file) - tableFooter - 8*entries
	put := func(at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint32(b[at:], v); return b }
	}
	for name, c := range map[string]struct {
		change func([]byte) []byte
		want   string
		seek   bool // ErrNotSeekable
	}{
		"cut off":            {func(b []byte) []byte { return b[:len(b)-1] }, "", true},
		"no table":           {func(b []byte) []byte { return b[:table-8] }, "", true},
		"tiny":               {func(b []byte) []byte { return b[:5] }, "", true},
		"many frames":        {put(len(file)-9, 0xffffffff), "a table of 4294967295 frames does not fit", false},
		"more frames":        {put(len(file)-9, uint32(entries+1)), "does not begin where", false},
		"fewer frames":       {put(len(file)-9, uint32(entries-1)), "does not begin where", false},
		"reserved flags":     {func(b []byte) []byte { b[len(b)-5] = 4; return b }, "reserved flags", false},
		"checksums":          {func(b []byte) []byte { b[len(b)-5] = 0x80; return b }, "does not begin where", false},
		"longer frame":       {put(table, 1<<20), "take", false},
		"bomb":               {put(table+4, 0xffffffff), "a frame has 4294967295 bytes", true},
		"cut off in front":   {func(b []byte) []byte { return b[100:] }, "those in the file", false},
		"other content size": {put(table+4, 5), "", false},
		"greater than frame": {put(table+4, frameSize+1), "", false},
		"frame damaged":      {func(b []byte) []byte { b[40000] ^= 1; return b }, "damaged zstd image: frame", false},
	} {
		t.Run(name, func(t *testing.T) {
			b := c.change(bytes.Clone(file))
			z, err := OpenZstd(bytes.NewReader(b), int64(len(b)))
			if err == nil {
				_, err = io.Copy(io.Discard, io.NewSectionReader(z, 0, z.Size()))
			}
			var damaged *image.FormatError
			if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, ErrNotSeekable) != c.seek || errors.As(err, &damaged) == c.seek {
				t.Errorf("%v", err)
			}
		})
	}
}

// packers make files of a disk with others' tools: arguments, standard input to standard output.
var packers = map[image.Format][][]string{
	image.Gzip:  {{"gzip", "-c"}, {"pigz", "-c"}},
	image.Zstd:  {{"zstd", "-qc"}, {"zstd", "-qc", "-19", "--long=27"}, {"zstd", "-qcT0", "--no-check"}},
	image.XZ:    {{"xz", "-c0"}, {"xz", "-c1T2", "--block-size=300000"}, {"xz", "-c0", "--check=sha256"}, {"xz", "-c0", "--check=crc32"}, {"xz", "-c0", "--check=none"}},
	image.Bzip2: {{"bzip2", "-c"}},
}

func pack(t testing.TB, tool []string, content []byte) []byte {
	t.Helper()
	c := exec.Command(tool[0], tool[1:]...)
	c.Stdin = bytes.NewReader(content)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if errors.Is(err, exec.ErrNotFound) {
		t.Skipf("%s is not installed", tool[0])
	}
	if err != nil {
		t.Fatal(tool, err)
	}
	return out
}

// expand has Expand make a file.
func expand(t testing.TB, ctx context.Context, file []byte, format image.Format, limit int64) ([]byte, error) {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	n, err := Expand(ctx, bytes.NewReader(file), format, out, limit, nil)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(out.Name())
	if err != nil || int64(len(b)) != n {
		t.Fatalf("%d bytes of %d: %v", len(b), n, err)
	}
	return b, nil
}

// TestExpand reads what others' tools wrote: whole, several after one another, cut off, damaged, and with something behind.
func TestExpand(t *testing.T) {
	content := append(text(9, mib/2+1000), make([]byte, 3*mib/2+5)...)
	content = append(content, noise(3, 5000)...)
	for format, list := range packers {
		for _, tool := range list {
			t.Run(strings.Join(tool, " "), func(t *testing.T) {
				file := pack(t, tool, content)
				check := func(what string, file, want []byte) {
					t.Helper()
					if got, err := expand(t, t.Context(), file, format, int64(len(want))); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%s: %d bytes, %v", what, len(got), err)
					}
				}
				damaged := func(what string, file []byte) {
					t.Helper()
					var e *image.FormatError
					if _, err := expand(t, t.Context(), file, format, 1<<30); !errors.As(err, &e) {
						t.Errorf("%s: %v", what, err)
					}
				}
				twice := append(bytes.Clone(file), file...)
				check("whole", file, content)
				check("twice", twice, append(bytes.Clone(content), content...))
				check("nothing", pack(t, tool, nil), nil)
				for _, n := range []int{0, 1, 3, 5, 11, 12, 17, 40, len(file) / 2, len(file) - 13, len(file) - 9, len(file) - 1, len(file) + 1, len(file) + 3, len(file) + 8, len(twice) - 1} {
					damaged(fmt.Sprintf("cut off at %d of %d", n, len(file)), twice[:n])
				}
				damaged("something behind", append(bytes.Clone(file), "something else"...))
				damaged("a byte behind", append(bytes.Clone(file), 'x'))
				padded := append(bytes.Clone(file), make([]byte, 512)...)
				switch format {
				case image.Gzip, image.XZ:
					check("padded", padded, content)
				default:
					damaged("padded", padded)
				}
				if format == image.XZ {
					damaged("padded by 3", append(bytes.Clone(file), 0, 0, 0))
					check("padded between", append(append(bytes.Clone(file), 0, 0, 0, 0), file...), append(bytes.Clone(content), content...))
				}
				if s := strings.Join(tool, " "); !strings.Contains(s, "no-check") && !strings.Contains(s, "none") {
					for _, at := range []int{20, len(file) / 3, len(file) / 2, len(file) - 3} {
						bad := bytes.Clone(file)
						bad[at] ^= 0x10
						if got, err := expand(t, t.Context(), bad, format, 1<<30); err == nil && !bytes.Equal(got, content) {
							t.Errorf("a changed byte at %d: other content without an error", at)
						}
					}
				}
			})
		}
	}
}

// TestExpandSparse looks for holes.
func TestExpandSparse(t *testing.T) {
	content := make([]byte, 40*mib+3)
	content[30*mib] = 1
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := Expand(t.Context(), bytes.NewReader(pack(t, []string{"gzip", "-c"}, content)), image.Gzip, out, 1<<30, nil); err != nil {
		t.Fatal(err)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(out.Name(), &st); err != nil || st.Blocks*512 > mib {
		t.Errorf("%d bytes are allocated, %v", st.Blocks*512, err)
	}
}

// TestExpandLimits has bombs, cancellation, and reading that fails.
func TestExpandLimits(t *testing.T) {
	content := make([]byte, 20*mib)
	for format, list := range packers {
		t.Run(string(format), func(t *testing.T) {
			file := pack(t, list[0], content)
			var tooMuch *LimitError
			if _, err := expand(t, t.Context(), file, format, int64(len(content))-1); !errors.As(err, &tooMuch) || tooMuch.Limit != int64(len(content))-1 {
				t.Errorf("a bomb: %v", err)
			}
			if _, err := expand(t, t.Context(), file, format, int64(len(content))); err != nil {
				t.Errorf("at the limit: %v", err)
			}
			why := errors.New("enough")
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(why)
			if _, err := expand(t, ctx, file, format, 1<<30); !errors.Is(err, why) {
				t.Errorf("cancelled: %v", err)
			}
			out, err := os.Create(filepath.Join(t.TempDir(), "out"))
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			r := io.MultiReader(bytes.NewReader(file[:len(file)/2]), broken{})
			if _, err := Expand(t.Context(), r, format, out, 1<<30, nil); !errors.Is(err, errFull) {
				t.Errorf("reading fails: %v", err)
			}
		})
	}
	var e *image.FormatError
	if _, err := expand(t, t.Context(), pack(t, []string{"zstd", "-qc", "--ultra", "-20", "--long=28", "--no-content-size"}, content), image.Zstd, 1<<30); !errors.As(err, &e) {
		t.Errorf("a window of 256 MiB: %v", err)
	}
	if _, err := expand(t, t.Context(), pack(t, []string{"xz", "-c", "--lzma2=preset=0,dict=256MiB"}, []byte("x")), image.XZ, 1<<30); !errors.As(err, &e) || !strings.Contains(err.Error(), "256 MiB of memory") {
		t.Errorf("a dictionary of 256 MiB: %v", err)
	}
	if _, err := expand(t, t.Context(), pack(t, []string{"xz", "-c", "--x86", "--lzma2"}, []byte("x")), image.XZ, 1<<30); !errors.As(err, &e) || !strings.Contains(err.Error(), "filter") {
		t.Errorf("another filter: %v", err)
	}
	if _, err := expand(t, t.Context(), nil, image.VMDK, 1<<30); err == nil {
		t.Error("a vmdk is expanded")
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errFull }
