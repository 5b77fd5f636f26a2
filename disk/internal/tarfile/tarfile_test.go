package tarfile

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// hollow is a file that takes large writes for zeros and makes a hole of them.
type hollow struct{ *os.File }

func (h hollow) Write(p []byte) (int, error) {
	if len(p) < 1<<20 {
		return h.File.Write(p)
	}
	_, err := h.Seek(int64(len(p)), io.SeekCurrent)
	return len(p), err
}

// Members are found again by the standard library and by tar, below 8 GiB and from there on, where ustar ends.
func TestWriter(t *testing.T) {
	for _, c := range []struct {
		name  string
		size  int64
		magic string
	}{{"small", 1000, "ustar\x0000"}, {"below", 8<<30 - 1, "ustar\x0000"}, {"above", 8 << 30, "ustar  \x00"}} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tar")
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			w := New(hollow{f})
			at, err := w.Add("first", []byte("12345"))
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Begin("large"); err != nil {
				t.Fatal(err)
			}
			zeros := make([]byte, 64<<20)
			for left := c.size; left > 0; {
				n, err := w.Write(zeros[:min(left, int64(len(zeros)))])
				if err != nil {
					t.Fatal(err)
				}
				left -= int64(n)
			}
			if size, err := w.End(); err != nil || size != c.size {
				t.Fatal(size, err)
			}
			if _, err := w.Add("last", []byte("the end")); err != nil {
				t.Fatal(err)
			}
			if err := w.Replace(at, []byte("54321")); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			head := make([]byte, 8)
			if _, err := f.ReadAt(head, 1024+257); err != nil || string(head) != c.magic {
				t.Errorf("magic %q, %v; want %q", head, err, c.magic)
			}
			if st, err := f.Stat(); err != nil || st.Size()%record != 0 {
				t.Errorf("the archive is no whole records: %v", err)
			}
			r := tar.NewReader(io.NewSectionReader(f, 0, 1<<40))
			for _, want := range []struct {
				name, text string
				size       int64
			}{{"first", "54321", 5}, {"large", "", c.size}, {"last", "the end", 7}} {
				h, err := r.Next()
				if err != nil {
					t.Fatal(err)
				}
				if h.Name != want.name || h.Size != want.size || h.Mode != 0o644 || h.Uid != 0 || h.Uname != "" || !h.ModTime.Equal(modTime) {
					t.Errorf("%+v, want %s of %d bytes", h, want.name, want.size)
				}
				if want.text != "" {
					if b, err := io.ReadAll(r); err != nil || string(b) != want.text {
						t.Errorf("%s holds %q, %v", want.name, b, err)
					}
				}
			}
			if _, err := r.Next(); err != io.EOF {
				t.Errorf("behind the last member: %v", err)
			}
			for _, tool := range []string{"tar", "bsdtar"} { // GNU's, and Vagrant's
				if _, err := exec.LookPath(tool); err != nil {
					t.Skipf("%s is not installed", tool)
				}
				if out, err := exec.Command(tool, "-tf", path).CombinedOutput(); err != nil || string(out) != "first\nlarge\nlast\n" {
					t.Errorf("%s: %v\n%s", tool, err, out)
				}
			}
		})
	}
}

func TestErrors(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "tar"))
	if err != nil {
		t.Fatal(err)
	}
	w := New(f)
	if _, err := w.Write([]byte("x")); !errors.Is(err, errOrder) {
		t.Errorf("write without a member: %v", err)
	}
	if _, err := w.Add(strings.Repeat("x", 300), nil); err == nil {
		t.Error("a long name is taken")
	}
	if err := w.Begin("a"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Add("b", nil); !errors.Is(err, errOrder) {
		t.Errorf("a member in a member: %v", err)
	}
	if err := w.Close(); !errors.Is(err, errOrder) {
		t.Errorf("close in a member: %v", err)
	}
	f.Close()
	if _, err := w.Write([]byte("x")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("write to a closed file: %v", err)
	}
	if _, err := w.End(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("end on a closed file: %v", err)
	}
	if err := w.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("close on a closed file: %v", err)
	}
}
