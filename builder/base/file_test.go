package base

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/disk/image"
)

// parentDisk makes a small disk with the parts of a Debian root that matter.
func parentDisk(t testing.TB, initramfsTools bool) string {
	t.Helper()
	for _, name := range []string{"mke2fs", "qemu-img"} {
		if _, err := (disk.Tool{Name: name, Package: name}).Find(); err != nil {
			t.Skipf("skipped: %v", err)
		}
	}
	tree := t.TempDir()
	files := map[string]string{
		"etc/os-release": "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian for tests\"\n", "etc/fstab": "",
		"boot/vmlinuz-6.1.0-9-amd64": "old kernel", "boot/initrd.img-6.1.0-9-amd64": "old initrd",
		"boot/vmlinuz-6.1.0-56-amd64": "kernel", "boot/initrd.img-6.1.0-56-amd64": "initrd",
		"boot/vmlinuz-6.2.0-amd64": "a kernel without initrd",
	}
	if initramfsTools {
		files["usr/share/initramfs-tools/init"] = ""
	}
	for name, text := range files {
		path := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	h := (&bootstrap{diskSize: 320 << 20, digestHex: "test"}).hybrid()
	path := filepath.Join(t.TempDir(), "parent.raw")
	if err := h.Partition(path); err != nil {
		t.Fatal(err)
	}
	if err := h.MakeRoot(t.Context(), path, tree); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFileParents(t *testing.T) {
	raw := disk.Image{Path: parentDisk(t, true), Format: disk.Raw}
	s := &Store{Dir: t.TempDir()}
	digests := map[string]bool{}
	for _, format := range []disk.Format{disk.Raw, disk.Qcow2, disk.VMDK, disk.VHD} {
		t.Run(string(format), func(t *testing.T) {
			img := raw
			if format != disk.Raw {
				img = disk.Image{Path: filepath.Join(t.TempDir(), "parent"+format.Extension()), Format: format}
				src, err := image.OpenFile(raw.Path)
				if err != nil {
					t.Fatal(err)
				}
				defer src.Close()
				if err := disk.Write(t.Context(), src, disk.WriteOptions{}, disk.Output{Path: img.Path, Format: format}); err != nil {
					t.Fatal(err)
				}
			}
			plan, err := s.Plan(t.Context(), Source{File: img.Path})
			if err != nil || plan.Cached {
				t.Fatalf("%+v, %v", plan, err)
			}
			b, err := s.Get(t.Context(), Source{File: img.Path}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := disk.Compare(t.Context(), raw, disk.Image{Path: b.Disk, Format: disk.Raw}); err != nil {
				t.Error(err)
			}
			kernel, _ := os.ReadFile(b.Kernel)
			initrd, _ := os.ReadFile(b.Initrd)
			if string(kernel) != "kernel" || string(initrd) != "initrd" {
				t.Errorf("kernel %q, initrd %q: not the newest with both", kernel, initrd)
			}
			if !strings.HasPrefix(b.Append, "root=UUID=") || b.OS.PrettyName != "Debian for tests" || b.Size != 320<<20 || b.Name != "parent"+format.Extension() {
				t.Errorf("%+v", b)
			}
			info, err := disk.Probe(b.Disk)
			if err != nil || info.Allocated > 64<<20 {
				t.Errorf("not sparse: %+v, %v", info, err)
			}
			if plan, err = s.Plan(t.Context(), Source{File: img.Path}); err != nil || !plan.Cached || plan.Digest != b.Digest {
				t.Errorf("%+v, %v", plan, err)
			}
			if digests[b.Digest] {
				t.Error("same digest as another format")
			}
			digests[b.Digest] = true
			entries, _ := os.ReadDir(filepath.Dir(b.Disk))
			if len(entries) != 4 {
				t.Errorf("left: %v", entries)
			}
		})
	}
}

func TestFileParentWithoutInitramfsTools(t *testing.T) {
	s := &Store{Dir: t.TempDir()}
	b, err := s.Get(t.Context(), Source{File: parentDisk(t, false), Name: "mine"}, nil)
	if err != nil || b.Kernel != "" || b.Initrd != "" || b.Append != "" || b.Name != "mine" || b.OS.ID != "debian" {
		t.Errorf("%+v, %v", b, err)
	}
}

func TestRefusedParents(t *testing.T) {
	s := &Store{Dir: t.TempDir()}
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	raw := parentDisk(t, true)
	overlay := filepath.Join(dir, "overlay.qcow2")
	if err := disk.CreateOverlay(t.Context(), overlay, disk.Image{Path: raw, Format: disk.Raw}, 0); err != nil {
		t.Fatal(err)
	}
	hidden, err := os.ReadFile(overlay)
	if err != nil {
		t.Fatal(err)
	}
	for want, src := range map[string]Source{
		"backing file":           {File: overlay},
		"the content is qcow2":   {File: write("hidden.raw", hidden)},
		"but the content is raw": {File: raw, Format: disk.Qcow2},
		"extent \"/etc/passwd\"": {File: write("flat.vmdk", []byte("# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicFlat\"\nRW 8 FLAT \"/etc/passwd\" 0\n"))},
		"no bootable disk":       {File: write("zeros.raw", make([]byte, 1<<20))},
		"expected 0000":          {File: raw, SHA256: strings.Repeat("0", 64)},
		"is a folder":            {File: dir, Format: disk.Raw},
	} {
		_, err := s.Get(t.Context(), src, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", src, err, want)
		}
	}
	// A disk that holds another image where a boot sector should be: as raw it must not get into the store under that name.
	nested := filepath.Join(dir, "nested.qcow2")
	inner := write("inner.bin", append(hidden, make([]byte, 512-len(hidden)%512)...))
	if err := disk.Convert(t.Context(), disk.Image{Path: inner, Format: disk.Raw}, disk.Image{Path: nested, Format: disk.Qcow2}, nil); err != nil {
		t.Fatal(err)
	}
	var unsafe *disk.UnsafeError
	if _, err := s.Get(t.Context(), Source{File: nested}, nil); !errors.As(err, &unsafe) || !strings.Contains(err.Error(), "signature of a qcow2") {
		t.Errorf("nested: %v", err)
	}
	if entries, _ := os.ReadDir(s.Dir); len(entries) != 0 {
		t.Errorf("left: %v", entries)
	}
}

func TestURLParent(t *testing.T) {
	data, err := os.ReadFile(parentDisk(t, true))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	digest := hex.EncodeToString(sum[:])
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	hits := 0
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits++
		switch r.URL.Path {
		case "/disk.raw":
			w.Write(data)
		case "/wrong.raw":
			w.Write(bytes.Repeat([]byte("x"), 4096))
		case "/endless.raw":
			w.(http.Flusher).Flush()
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		case "/short.raw":
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			w.Write(data[:4096])
		case "/hang.raw":
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		case "/leave.raw":
			http.Redirect(w, r, plain.URL+"/disk.raw", http.StatusFound)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	client := defaultClient()
	client.Transport = server.Client().Transport
	s := &Store{Dir: t.TempDir(), Client: client, DownloadLimit: 400 << 20}

	src := Source{URL: server.URL + "/disk.raw?signature=secret", SHA256: "sha256:" + strings.ToUpper(digest)}
	if plan, err := s.Plan(t.Context(), src); err != nil || plan.Cached || hits != 0 || strings.Contains(fmt.Sprint(plan), "secret") {
		t.Errorf("plan: %+v, %v, %d requests", plan, err, hits)
	}
	last := int64(0)
	b, err := s.Get(t.Context(), src, func(stage string, done, total int64) {
		if stage == "download" {
			last = done
		}
	})
	if err != nil || b.Name != "disk.raw" || b.Kernel == "" || last != int64(len(data)) {
		t.Fatalf("%+v, %v, %d bytes", b, err, last)
	}
	if got, _, err := disk.Digest(t.Context(), b.Disk); err != nil || got != digest {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := s.Get(t.Context(), src, nil); err != nil || hits != 1 {
		t.Errorf("cached: %v, %d requests", err, hits)
	}

	for _, test := range []struct{ path, want string }{
		{"/wrong.raw", "expected " + strings.Repeat("1", 64)}, {"/endless.raw", "limit"}, {"/short.raw", "unexpected EOF"},
		{"/none.raw", "404"}, {"/leave.raw", "not https"}, {"/hang.raw", "went home"},
	} {
		ctx, cancel := t.Context(), context.CancelFunc(func() {})
		if test.path == "/hang.raw" {
			ctx, cancel = context.WithTimeoutCause(ctx, 300*time.Millisecond, errors.New("user went home"))
		}
		_, err := s.Get(ctx, Source{URL: server.URL + test.path + "?signature=secret", SHA256: strings.Repeat("1", 64)}, nil)
		cancel()
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q", test.path, err, test.want)
		}
	}
	entries, _ := os.ReadDir(s.Dir)
	if len(entries) != 1 {
		t.Errorf("left: %v", entries)
	}
}
