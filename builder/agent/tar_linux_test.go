package agent

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// unpacked lists an archive: names with types, and content or targets.
func unpacked(t *testing.T, data []byte) (lines []string) {
	t.Helper()
	r := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.TrimSpace(string(h.Typeflag)+" "+h.Name+" "+h.Linkname+string(content[:min(20, len(content))])))
	}
}

func TestTar(t *testing.T) {
	p, _ := serve(t, nil)
	c := connected(t, p)
	dir := t.TempDir()
	err := errors.Join(
		os.Mkdir(filepath.Join(dir, "d"), 0o755),
		os.WriteFile(filepath.Join(dir, "d", "a"), []byte("content"), 0o600),
		os.WriteFile(filepath.Join(dir, "large"), bytes.Repeat([]byte("x"), 3<<20), 0o600),
		os.Symlink("/etc/passwd", filepath.Join(dir, "link")),
		os.Symlink("d", filepath.Join(dir, "way")),
		os.WriteFile(filepath.Join(dir, "not\xffutf8"), nil, 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	tarOf := func(path string) ([]string, []Skipped, error) {
		var data bytes.Buffer
		var skipped []Skipped
		err := c.Tar(t.Context(), path, &data, func(s Skipped) { skipped = append(skipped, s) })
		if err != nil {
			return nil, nil, err
		}
		return unpacked(t, data.Bytes()), skipped, nil
	}
	want := []string{"5 .", "5 d", "0 d/a content", "0 large " + strings.Repeat("x", 20), "2 link /etc/passwd", "0 not\xffutf8", "2 way d"}
	got, skipped, err := tarOf(dir)
	if err != nil || !slices.Equal(got, want) || len(skipped) != 0 {
		t.Errorf("Tar of a folder = %q, %v, %v", got, skipped, err)
	}
	// One file, by a link to its folder; and one that the kernel makes up.
	if got, _, err := tarOf(filepath.Join(dir, "way", "a")); err != nil || !slices.Equal(got, []string{"0 . content"}) {
		t.Errorf("Tar of a file = %q, %v", got, err)
	}
	if got, _, err := tarOf("/proc/self/status"); err != nil || len(got) != 1 || !strings.HasPrefix(got[0], "0 . Name:") {
		t.Errorf("Tar of /proc/self/status = %q, %v", got, err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "d", "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, skipped, err := tarOf(filepath.Join(dir, "d")); err != nil || len(got) != 2 || len(skipped) != 1 || skipped[0].Path != "fifo" {
		t.Errorf("Tar with a FIFO = %q, %v, %v", got, skipped, err)
	}
	for _, path := range []string{"relative", filepath.Join(dir, "none"), filepath.Join(dir, "d", "fifo")} {
		if got, _, err := tarOf(path); err == nil {
			t.Errorf("Tar of %s = %q", path, got)
		}
	}
	// A host that has had enough does not end the session.
	if err := c.Tar(t.Context(), dir, refuser{}, nil); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Errorf("Tar to a writer that refuses: %v", err)
	}
	if _, err := c.Info(t.Context()); err != nil {
		t.Error(err)
	}
}

type refuser struct{}

func (refuser) Write([]byte) (int, error) { return 0, errors.New("enough") }

func TestMadeUp(t *testing.T) {
	if !madeUp("/proc/self") || madeUp(t.TempDir()) {
		t.Errorf("/proc is taken for made up: %v; a folder: %v", madeUp("/proc/self"), madeUp(t.TempDir()))
	}
}
