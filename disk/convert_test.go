package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ingot-image/ingot/disk/tool"
)

func TestCompareFindsDifference(t *testing.T) {
	need(t, qemuImg)
	a, b := Image{Path: sampleDisk(t, 1<<20), Format: Raw}, Image{Path: sampleDisk(t, 1<<20), Format: Raw}
	if err := Compare(t.Context(), a, b); err != nil {
		t.Fatal(err)
	}
	var differ *DifferError
	if err := os.Truncate(b.Path, 2<<20); err != nil {
		t.Fatal(err)
	}
	if err := Compare(t.Context(), a, b); !errors.As(err, &differ) {
		t.Errorf("sizes differ: %v", err)
	}
	if err := os.Truncate(b.Path, 1<<20); err != nil {
		t.Fatal(err)
	}
	f, _ := os.OpenFile(b.Path, os.O_RDWR, 0)
	f.WriteAt([]byte("x"), 300000)
	f.Close()
	if err := Compare(t.Context(), a, b); !errors.As(err, &differ) {
		t.Errorf("content differs: %v", err)
	}
}

func TestCheckFindsDamage(t *testing.T) {
	need(t, qemuImg)
	img := Image{Path: filepath.Join(t.TempDir(), "a.qcow2"), Format: Qcow2}
	if err := Convert(t.Context(), Image{Path: sampleDisk(t, 1<<20), Format: Raw}, img, nil); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(img.Path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 64), 2<<16); err != nil { // refcount block
		t.Fatal(err)
	}
	var ce *CheckError
	if err := Check(t.Context(), img); !errors.As(err, &ce) || ce.Corruptions == 0 {
		t.Errorf("got %v", err)
	}
}

func TestOverlay(t *testing.T) {
	need(t, qemuImg)
	base := Image{Path: sampleDisk(t, 1<<20), Format: Raw}
	over := Image{Path: filepath.Join(t.TempDir(), "o.qcow2"), Format: Qcow2}
	if err := CreateOverlay(t.Context(), over.Path, base, 2<<20); err != nil {
		t.Fatal(err)
	}
	info, err := Probe(over.Path)
	if err != nil || info.VirtualSize != 2<<20 {
		t.Errorf("%+v, %v", info, err)
	}
	flat := Image{Path: filepath.Join(t.TempDir(), "f.raw"), Format: Raw}
	if err := Convert(t.Context(), over, flat, nil); err != nil {
		t.Fatal(err)
	}
	a, _ := os.ReadFile(base.Path)
	b, _ := os.ReadFile(flat.Path)
	if len(b) != 2<<20 || !bytes.Equal(a, b[:1<<20]) {
		t.Error("overlay does not show its backing file")
	}
}

func TestConvertFailures(t *testing.T) {
	need(t, qemuImg)
	raw := Image{Path: sampleDisk(t, 1<<20), Format: Raw}
	dir := t.TempDir()
	cancelled, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("stopped by the test"))
	for name, test := range map[string]struct {
		ctx      context.Context
		src, dst Image
		want     string
	}{
		"cancelled":    {cancelled, raw, Image{Path: filepath.Join(dir, "a"), Format: Qcow2}, "stopped by the test"},
		"wrong format": {t.Context(), Image{Path: raw.Path, Format: Qcow2}, Image{Path: filepath.Join(dir, "b"), Format: Raw}, "Image is not in qcow2 format"},
		"no folder":    {t.Context(), raw, Image{Path: filepath.Join(dir, "no", "c"), Format: Raw}, "no such file"},
		"no source":    {t.Context(), Image{Path: filepath.Join(dir, "none"), Format: Raw}, Image{Path: filepath.Join(dir, "d"), Format: Raw}, "no such file"},
		"format":       {t.Context(), raw, Image{Path: filepath.Join(dir, "e"), Format: QED}, "only raw and qcow2"},
	} {
		err := Convert(test.ctx, test.src, test.dst, nil)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("files left: %v", entries)
	}
}

func TestNoSpace(t *testing.T) {
	te := &ToolError{Tool: "qemu-img", Stderr: "qemu-img: error while writing: No space left on device", Err: errors.New("exit status 1")}
	err := ExplainSpace(te, t.TempDir(), 3<<30)
	var ns *NoSpaceError
	if !errors.As(err, &ns) || !errors.Is(err, syscall.ENOSPC) || ns.Free == 0 {
		t.Fatalf("got %v", err)
	}
	if !strings.Contains(err.Error(), "needs about 3072 MiB") {
		t.Error(err)
	}
	if other := errors.New("x"); ExplainSpace(other, "/", 0) != other || ExplainSpace(nil, "/", 0) != nil {
		t.Error("changes other errors")
	}
}

func TestDigest(t *testing.T) {
	path := sampleDisk(t, 40<<20)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	got, size, err := Digest(t.Context(), path)
	if err != nil || got != hex.EncodeToString(sum[:]) || size != 40<<20 {
		t.Errorf("%s, %d, %v", got, size, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := Digest(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestPendingFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, text := range []string{"one", "two"} { // the second replaces the first
		f, err := Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(path); text == "one" && got != nil {
			t.Error("visible before Commit")
		}
		if err := f.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(path); string(got) != text {
			t.Errorf("got %q", got)
		}
	}
	f, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("three")
	f.Close()
	if got, _ := os.ReadFile(path); string(got) != "two" {
		t.Errorf("discarded file shows: %q", got)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("files left: %v", entries)
	}
}

func TestRun(t *testing.T) {
	sh := Tool{Name: "sh", Package: "dash"}
	err := Run(t.Context(), Command{Tool: sh, Args: []string{"-c", "for i in $(seq 3000); do echo line $i >&2; done; exit 3"}})
	var te *ToolError
	if !errors.As(err, &te) || te.ExitCode != 3 || !strings.HasSuffix(te.Stderr, "line 3000") || len(te.Stderr) > tool.TailLimit || !strings.HasPrefix(te.Stderr, "line ") {
		t.Errorf("got %v", err)
	}
	var missing *MissingToolError
	err = Run(t.Context(), Command{Tool: Tool{Name: "no-such-tool-here", Package: "some-package"}})
	if !errors.As(err, &missing) || !strings.Contains(err.Error(), "install the package some-package") {
		t.Errorf("got %v", err)
	}
	// The whole group dies with the context, also children that ignore signals, and nobody waits for a pipe they hold.
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	err = Run(ctx, Command{Tool: sh, Args: []string{"-c", "trap '' TERM INT HUP; sleep 77 & sleep 77"}, Stdout: &bytes.Buffer{}})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 5*time.Second {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
}

// On a full file system every format must say so. The test mounts a small tmpfs of its own, for which it needs root.
func TestConvertToFullDisk(t *testing.T) {
	need(t, qemuImg)
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("skipped: cannot mount a small tmpfs: %v", err)
	}
	defer syscall.Unmount(dir, 0)
	src := filepath.Join(t.TempDir(), "random.raw")
	random := make([]byte, 8<<20)
	rand.NewChaCha8([32]byte{1}).Read(random)
	if err := os.WriteFile(src, random, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, f := range append(Formats(), "qemu-img") {
		var err error
		if f == "qemu-img" {
			err = Convert(t.Context(), Image{Path: src, Format: Raw}, Image{Path: filepath.Join(dir, "x"), Format: Qcow2}, nil)
		} else {
			err = Write(t.Context(), openRaw(t, src), WriteOptions{}, Output{Path: filepath.Join(dir, "x"), Format: f})
		}
		var ns *NoSpaceError
		if !errors.As(err, &ns) || ns.Dir != dir {
			t.Errorf("%s: %v", f, err)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 0 {
			t.Errorf("%s: left %v", f, entries)
		}
	}
}
