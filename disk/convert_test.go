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

// Every format there and back, compared by qemu-img and by bytes.
func TestConvertRoundTrip(t *testing.T) {
	need(t, qemuImg)
	raw := Image{Path: sampleDisk(t, 9<<20+512), Format: Raw}
	want, err := os.ReadFile(raw.Path)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		dst  Image
		vari string
	}{
		{Image{Path: "a.qcow2", Format: Qcow2}, "v3"},
		{Image{Path: "b, c.qcow2", Format: Qcow2, Compress: true}, "v3"},
		{Image{Path: "web:1.vmdk", Format: VMDK}, "streamOptimized"},
		{Image{Path: "d.vhd", Format: VHD}, "dynamic"},
		{Image{Path: "json:{}.raw", Format: Raw}, ""},
	} {
		t.Run(test.dst.Path, func(t *testing.T) {
			dir := t.TempDir()
			dst := test.dst
			dst.Path = filepath.Join(dir, dst.Path)
			if err := os.WriteFile(dst.Path, []byte("old"), 0o644); err != nil { // is replaced
				t.Fatal(err)
			}
			last := -1.0
			if err := Convert(t.Context(), raw, dst, func(f float64) { last = f }); err != nil {
				t.Fatal(err)
			}
			if last != 1 {
				t.Errorf("progress ended at %v", last)
			}
			info, err := CheckSafe(dst.Path, "", Limits{})
			if err != nil || info.Variant != test.vari {
				t.Errorf("%+v, %v", info, err)
			}
			if info.Allocated > 3<<20 {
				t.Errorf("takes up %d bytes: holes were filled", info.Allocated)
			}
			if err := Check(t.Context(), dst); err != nil {
				t.Error(err)
			}
			if err := Compare(t.Context(), raw, dst); err != nil {
				t.Error(err)
			}
			back := Image{Path: filepath.Join(dir, "back.raw"), Format: Raw}
			if err := Convert(t.Context(), dst, back, nil); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(back.Path)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("content changed (%d bytes, %v)", len(got), err)
			}
			if entries, _ := os.ReadDir(dir); len(entries) != 2 {
				t.Errorf("files left: %v", entries)
			}
		})
	}
}

// VMware's tools want the extent line to name the file itself.
func TestVMDKNamesItself(t *testing.T) {
	need(t, qemuImg)
	dst := Image{Path: filepath.Join(t.TempDir(), "web-1.0.0-1.vmdk"), Format: VMDK}
	if err := Convert(t.Context(), Image{Path: sampleDisk(t, 1<<20), Format: Raw}, dst, nil); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(dst.Path)
	if err != nil {
		t.Fatal(err)
	}
	text, _, _ := strings.Cut(string(data[512:]), "\x00")
	for _, want := range []string{`RW 2048 SPARSE "web-1.0.0-1.vmdk"`, `ddb.adapterType = "lsilogic"`, `createType="streamOptimized"`, `ddb.virtualHWVersion = "6"`} {
		if !strings.Contains(text, want) {
			t.Errorf("descriptor lacks %s:\n%s", want, text)
		}
	}
}

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
		"format":       {t.Context(), raw, Image{Path: filepath.Join(dir, "e"), Format: QED}, "QEMU does not read"},
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
	for _, f := range []Format{Raw, Qcow2, VMDK, VHD} {
		err := Convert(t.Context(), Image{Path: src, Format: Raw}, Image{Path: filepath.Join(dir, "x"), Format: f}, nil)
		var ns *NoSpaceError
		if !errors.As(err, &ns) || ns.Dir != dir || ns.Needed < 8<<20 {
			t.Errorf("%s: %v", f, err)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 0 {
			t.Errorf("%s: left %v", f, entries)
		}
	}
}
