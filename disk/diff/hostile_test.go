package diff

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/disk/image"
	"github.com/ingot-image/ingot/disk/inspect"
)

// tool runs a tool of somebody else, or skips the test where it is absent.
func tool(t testing.TB, stdin, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path = "/sbin/" + name
		if _, err := os.Stat(path); err != nil {
			t.Skipf("skipped: %s is not installed", name)
		}
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// extDisk is a disk with an ext4 file system that debugfs(8) has put more into.
func extDisk(t testing.TB, script string) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.MkdirAll(filepath.Join(folder, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "etc/os-release"), []byte("ID=x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(t.TempDir(), "disk")
	tool(t, "", "mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-O", "^has_journal", "-d", folder, disk, "8m")
	if script != "" {
		tool(t, script, "debugfs", "-w", "-f", "/dev/stdin", disk)
	}
	return disk
}

func openSystem(t testing.TB, disk string) *inspect.Root {
	t.Helper()
	src, err := image.OpenFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	r, err := inspect.OpenRoot(t.Context(), src, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// A folder that has two names in its parent, nested: there are 2^12 paths of 3 KiB in it, and 2^200 were it not for their length.
func TestHardLinkedFolders(t *testing.T) {
	long, other := strings.Repeat("a", 255), strings.Repeat("b", 255)
	var script strings.Builder
	for range 40 {
		fmt.Fprintf(&script, "mkdir %s\nln %s %s\ncd %s\n", long, long, other, long)
	}
	a, b := openSystem(t, extDisk(t, "")), openSystem(t, extDisk(t, script.String()))
	began := time.Now()
	for _, pair := range [][2]*inspect.Root{{a, b}, {b, b}} {
		r := run(t, pair[0], pair[1], Options{})
		twice, tooLong := 0, 0
		for _, p := range r.Problems {
			switch {
			case strings.Contains(p.What, "by another name"):
				twice++
			case strings.Contains(p.What, "longer than 4096"):
				tooLong++
			}
		}
		if twice == 0 || tooLong == 0 || len(r.Files.Added) > 40 {
			t.Errorf("%d folders, %d are known by another name, %d are too long: %.2000v", len(r.Files.Added), twice, tooLong, r.Problems)
		}
	}
	if d := time.Since(began); d > 20*time.Second {
		t.Errorf("took %v", d)
	}
}

// Units that are all names of one large file would be read for ever.
func TestManyLargeUnits(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, "etc/systemd/system")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	first := filepath.Join(folder, "u.service")
	if err := os.WriteFile(first, []byte(strings.Repeat("[Unit]                                             \n", 1<<16)), 0o644); err != nil {
		t.Fatal(err)
	}
	for i := range 2000 {
		if err := os.Link(first, filepath.Join(folder, fmt.Sprintf("u%d.service", i))); err != nil {
			t.Fatal(err)
		}
	}
	s := &side{name: "a", tree: os.DirFS(dir).(Tree)}
	if err := s.readUnits(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.texts > maxTexts+maxText+4096 || len(s.problems) != 1 || !strings.Contains(s.problems[0].What, "more than 512 MiB") {
		t.Errorf("read %d bytes, %v", s.texts, s.problems)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.readUnits(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
