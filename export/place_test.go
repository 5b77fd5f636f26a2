package export

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ingot-image/ingot/export/distribution"
	"github.com/ingot-image/ingot/export/internal/s3sim"
	"github.com/ingot-image/ingot/export/record"
)

const manifestName = "web-1.0.3-2.json"

// image makes an image of a raw disk with a hole and a qcow2 file.
func image(t *testing.T) Delivery {
	t.Helper()
	dir := t.TempDir()
	d := Delivery{Name: "web", Version: "1.0.3/2", Manifest: []byte(`{"name": "web"}`), ManifestName: manifestName}
	for n, name := range []string{"web-1.0.3-2.raw", "web-1.0.3-2.qcow2"} {
		data := make([]byte, 3<<20+n)
		rand.NewChaCha8([32]byte{byte(n)}).Read(data[1<<20:])
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		digest := sha256.Sum256(data)
		d.Files = append(d.Files, File{Path: path, Name: name, SHA256: hex.EncodeToString(digest[:]), Size: int64(len(data))})
	}
	return d
}

func newPlace(t *testing.T, d distribution.Distribution) Place {
	t.Helper()
	book, err := record.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { book.Close() })
	place, err := NewPlace(t.Context(), d, PlaceOptions{Record: book})
	if err != nil {
		t.Fatal(err)
	}
	return place
}

// The checksum file is read by those who will use it.
func sha256sum(t *testing.T, folder string) {
	t.Helper()
	check := exec.Command("sha256sum", "--check", "--strict", "web-1.0.3-2.sha256")
	check.Dir = folder
	out, err := check.CombinedOutput()
	if err != nil || !strings.Contains(string(out), manifestName+": OK") {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}
}

// Every place gets all files, the manifest last, and nothing a second time.
func TestPlaces(t *testing.T) {
	for _, test := range []struct {
		name string
		// make gives a place and what copies its files into a folder.
		make func(t *testing.T) (Place, func(folder string))
	}{
		{"folder", func(t *testing.T) (Place, func(string)) {
			path := filepath.Join(t.TempDir(), "shelf", "images")
			return newPlace(t, distribution.Distribution{Folder: path}), func(to string) { copyFolder(t, os.DirFS(path), to) }
		}},
		{"bucket", func(t *testing.T) (Place, func(string)) {
			server := s3sim.Start(t)
			server.CreateBucket("images")
			server.Setenv(t)
			// The environment points to nobody: the configuration knows better.
			t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
			t.Setenv("AWS_REGION", "")
			t.Setenv("AWS_DEFAULT_REGION", "")
			place := newPlace(t, distribution.Distribution{S3: &distribution.S3{Bucket: "images", Prefix: "golden", Region: s3sim.Region, Endpoint: server.URL}})
			return place, func(to string) {
				for _, name := range []string{"web-1.0.3-2.raw", "web-1.0.3-2.qcow2", "web-1.0.3-2.sha256", manifestName} {
					data, err := io.ReadAll(server.Object("images", "golden/"+name))
					if err = errors.Join(err, os.WriteFile(filepath.Join(to, name), data, 0o600)); err != nil {
						t.Fatal(err)
					}
				}
			}
		}},
		{"web server", func(t *testing.T) (Place, func(string)) {
			server := startWeb(t)
			return newPlace(t, distribution.Distribution{HTTP: &distribution.HTTP{URL: server.URL + "/golden/"}}), func(to string) { server.write(t, to) }
		}},
		{"pool", func(t *testing.T) (Place, func(string)) {
			path := t.TempDir()
			return newPlace(t, distribution.Distribution{LibvirtPool: &distribution.LibvirtPool{Path: path}}), func(to string) { copyFolder(t, os.DirFS(path), to) }
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			place, fetch := test.make(t)
			d := image(t)
			var last, total int64
			got, err := place.Deliver(t.Context(), d, func(done, of int64) { last, total = done, of })
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, f := range got.Files {
				names = append(names, filepath.Base(f))
			}
			if want := []string{"web-1.0.3-2.raw", "web-1.0.3-2.qcow2", "web-1.0.3-2.sha256", manifestName}; !slices.Equal(names, want) || got.Skipped {
				t.Errorf("delivered %v (skipped: %v), want %v", got.Files, got.Skipped, want)
			}
			if last != total || total < 6<<20 {
				t.Errorf("progress ended at %d of %d", last, total)
			}
			folder := t.TempDir()
			fetch(folder)
			sha256sum(t, folder)
			if got, err = place.Deliver(t.Context(), d, nil); err != nil || !got.Skipped || len(got.Files) != 4 {
				t.Errorf("again: %+v, %v", got, err)
			}
		})
	}
}

func copyFolder(t *testing.T, from fs.FS, to string) {
	t.Helper()
	if err := os.CopyFS(to, from); err != nil {
		t.Fatal(err)
	}
}

func TestFolderIsSparse(t *testing.T) {
	path, d := t.TempDir(), image(t)
	got, err := Folder{Path: path}.Deliver(t.Context(), d, nil)
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(got.Files[0], &st); err != nil {
		t.Fatal(err)
	}
	if taken := st.Blocks * 512; taken >= d.Files[0].Size {
		t.Errorf("%d bytes are taken of %d, of which 1 MiB is zero", taken, d.Files[0].Size)
	}
}

func TestFolderReplacesNothing(t *testing.T) {
	path, d := t.TempDir(), image(t)
	taken := filepath.Join(path, d.Files[1].Name)
	if err := os.WriteFile(taken, make([]byte, d.Files[1].Size), 0o600); err != nil { // as long as the file
		t.Fatal(err)
	}
	if _, err := (Folder{Path: path}).Deliver(t.Context(), d, nil); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), taken) {
		t.Fatalf("Deliver = %v", err)
	}
	if data, err := os.ReadFile(taken); err != nil || !bytes.Equal(data, make([]byte, d.Files[1].Size)) {
		t.Errorf("the file that was there is another now (%v)", err)
	}
	if _, err := os.Stat(filepath.Join(path, manifestName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half an image has a manifest: %v", err)
	}
}

// A second delivery brings other formats; the checksum file then knows both.
func TestFolderTakesMoreFormats(t *testing.T) {
	path, d := t.TempDir(), image(t)
	for _, files := range [][]File{d.Files[:1], d.Files[1:], d.Files} {
		one := d
		one.Files = files
		if _, err := (Folder{Path: path}).Deliver(t.Context(), one, nil); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(filepath.Join(path, "web-1.0.3-2.sha256"))
	if err != nil || bytes.Count(data, []byte("\n")) != 3 {
		t.Errorf("the checksum file is %q (%v)", data, err)
	}
	sha256sum(t, path)
}

func TestFolderIsInterrupted(t *testing.T) {
	path, d := t.TempDir(), image(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Folder{Path: path}.Deliver(ctx, d, func(done, _ int64) {
		if done > 1<<20 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("Deliver = %v", err)
	}
	if left, _ := os.ReadDir(path); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
}

// A file that was changed after its digest was taken goes nowhere.
func TestChangedFile(t *testing.T) {
	d := image(t)
	f, err := os.OpenFile(d.Files[0].Path, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt([]byte("changed"), 0)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	path := t.TempDir()
	if _, err := (Folder{Path: path}).Deliver(t.Context(), d, nil); err == nil || !strings.Contains(err.Error(), "is not what it was") {
		t.Errorf("Deliver = %v", err)
	}
	if left, _ := os.ReadDir(path); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
	place := newPlace(t, distribution.Distribution{HTTP: &distribution.HTTP{URL: startWeb(t).URL}})
	if _, err := place.Deliver(t.Context(), d, nil); err == nil || !strings.Contains(err.Error(), "is not what it was") {
		t.Errorf("Deliver to a web server = %v", err)
	}
}

func TestHostileNames(t *testing.T) {
	for _, name := range []string{"../web.raw", "/etc/passwd", "", ".", "..", ".hidden", "a\nb", `a\b`, "web-1.0.3-2.sha256", manifestName} {
		d := image(t)
		d.Files[0].Name = name
		if _, err := (Folder{Path: t.TempDir()}).Deliver(t.Context(), d, nil); err == nil {
			t.Errorf("%q was delivered", name)
		}
	}
}

func TestPool(t *testing.T) {
	tools, path, d := t.TempDir(), t.TempDir(), image(t)
	d.Files = append(d.Files, File{Path: d.Files[0].Path, Name: "web-1.0.3-2.vmdk", SHA256: d.Files[0].SHA256, Size: d.Files[0].Size})
	virsh := func(script string) {
		if err := os.WriteFile(filepath.Join(tools, "virsh"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", tools+":"+os.Getenv("PATH"))
	virsh("echo error: no such pool >&2; exit 1\n")
	place := newPlace(t, distribution.Distribution{LibvirtPool: &distribution.LibvirtPool{Path: path, Name: "images"}})
	got, err := place.Deliver(t.Context(), d, nil)
	if err != nil || len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], "no such pool") {
		t.Errorf("Deliver with a libvirt that refuses = %+v, %v", got, err)
	}
	info, err := os.Stat(filepath.Join(path, d.Files[1].Name))
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("the volume: %v, %v", info, err)
	}
	if _, err := os.Stat(filepath.Join(path, "web-1.0.3-2.vmdk")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a VMDK in a pool: %v", err)
	}
	virsh("echo \"$@\" > " + filepath.Join(tools, "called") + "\n")
	os.Remove(filepath.Join(path, d.Files[1].Name))
	if got, err = place.Deliver(t.Context(), d, nil); err != nil || len(got.Warnings) != 0 {
		t.Errorf("Deliver = %+v, %v", got, err)
	}
	if called, err := os.ReadFile(filepath.Join(tools, "called")); err != nil || string(called) != "pool-refresh --pool images\n" {
		t.Errorf("virsh was called with %q (%v)", called, err)
	}
	d.Files = d.Files[2:]
	if _, err = place.Deliver(t.Context(), d, nil); err == nil || !strings.Contains(err.Error(), "qcow2") {
		t.Errorf("Deliver of a VMDK = %v", err)
	}
}
