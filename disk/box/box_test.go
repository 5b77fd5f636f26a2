package box

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/disk/image"
	"github.com/ingot-image/ingot/disk/ova"
)

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed", name)
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

const diskSize = 40<<20 + 512

// rawDisk is a disk with something at its beginning, in its middle and at its end.
func rawDisk(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 300_000)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.IntN(5))
	}
	for _, at := range []int64{0, 20<<20 + 5, diskSize - int64(len(b))} {
		if _, err := f.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// unpack unpacks a box by bsdtar, with the options that Vagrant gives it, and by tar, and gives its members by the standard library.
func unpack(t *testing.T, path string, want ...string) (dir string, members map[string][]byte) {
	t.Helper()
	dir = t.TempDir()
	tool(t, "tar", "-C", dir, "-xf", path)
	other := t.TempDir()
	tool(t, "bsdtar", "-v", "-x", "-m", "-C", other, "-f", path)
	if list := tool(t, "tar", "-tf", path); list != strings.Join(want, "\n")+"\n" {
		t.Errorf("tar lists\n%swant %q", list, want)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	members = map[string][]byte{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if members[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		for _, d := range []string{dir, other} {
			if b, err := os.ReadFile(filepath.Join(d, h.Name)); err != nil || !bytes.Equal(b, members[h.Name]) {
				t.Errorf("%s is not unpacked as it is: %v", h.Name, err)
			}
		}
	}
	if got := slices.Sorted(maps.Keys(members)); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		t.Errorf("members %q, want %q", got, want)
	}
	return dir, members
}

func checkMetadata(t *testing.T, b []byte, want map[string]any) {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil || !maps.Equal(got, want) {
		t.Errorf("metadata %s, %v; want %v", b, err, want)
	}
}

// checkVagrant lets Vagrant, where it is there, take a box into its collection.
func checkVagrant(t *testing.T, path, provider string) {
	t.Helper()
	if _, err := exec.LookPath("vagrant"); err != nil {
		t.Log("vagrant is not installed: it is not asked")
		return
	}
	cmd := exec.Command("vagrant", "box", "add", "--name", "test", path)
	cmd.Env = append(os.Environ(), "VAGRANT_HOME="+t.TempDir(), "VAGRANT_CHECKPOINT_DISABLE=1")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "Successfully added box 'test' (v0) for '"+provider+"'") {
		t.Errorf("vagrant: %v\n%s", err, out)
	}
}

// checkRuby lets Ruby, where it is there, say whether a Vagrantfile is a program.
func checkRuby(t *testing.T, path string) {
	t.Helper()
	if _, err := exec.LookPath("ruby"); err == nil {
		tool(t, "ruby", "-c", path)
	}
}

func TestPackLibvirt(t *testing.T) {
	raw := rawDisk(t)
	qcow := filepath.Join(t.TempDir(), "image.qcow2")
	tool(t, "qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, qcow)
	f, err := os.Open(qcow)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	last := int64(0)
	if err := PackLibvirt(t.Context(), &first, f, diskSize, func(done, total int64) {
		if done <= last || total != st.Size() {
			t.Errorf("progress %d of %d after %d", done, total, last)
		}
		last = done
	}); err != nil {
		t.Fatal(err)
	}
	if last != st.Size() {
		t.Errorf("progress ends at %d of %d", last, st.Size())
	}
	if err := PackLibvirt(t.Context(), &second, f, diskSize, nil); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Errorf("the second box differs: %v", err)
	}
	path := filepath.Join(t.TempDir(), "x.box")
	if err := os.WriteFile(path, first.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	dir, members := unpack(t, path, "metadata.json", "Vagrantfile", "box.img")
	checkMetadata(t, members["metadata.json"], map[string]any{"provider": "libvirt", "format": "qcow2", "virtual_size": 1.0})
	checkRuby(t, filepath.Join(dir, "Vagrantfile"))
	checkVagrant(t, path, "libvirt")
	tool(t, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, filepath.Join(dir, "box.img"))
}

type failing struct{ room int64 }

var errFull = errors.New("disk full")

func (f *failing) Write(p []byte) (int, error) {
	if f.room -= int64(len(p)); f.room < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func (f *failing) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

func TestPackLibvirtErrors(t *testing.T) {
	raw := rawDisk(t)
	dir := t.TempDir()
	qcow, overlay := filepath.Join(dir, "image.qcow2"), filepath.Join(dir, "overlay.qcow2")
	tool(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow)
	tool(t, "qemu-img", "create", "-f", "qcow2", "-b", qcow, "-F", "qcow2", overlay)
	open := func(path string) *os.File {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	if err := PackLibvirt(t.Context(), io.Discard, open(overlay), diskSize, nil); err == nil || !strings.Contains(err.Error(), "backing file") {
		t.Errorf("an overlay: %v", err)
	}
	if err := PackLibvirt(t.Context(), io.Discard, open(raw), diskSize, nil); err == nil {
		t.Error("a raw disk is taken for qcow2")
	}
	f := open(qcow)
	if err := PackLibvirt(t.Context(), io.Discard, f, diskSize+512, nil); err == nil || !strings.Contains(err.Error(), fmt.Sprint(diskSize)) {
		t.Errorf("another size: %v", err)
	}
	for _, room := range []int64{0, 600, 1600, 3000, 100_000} {
		if err := PackLibvirt(t.Context(), &failing{room}, f, diskSize, nil); !errors.Is(err, errFull) {
			t.Errorf("with room for %d bytes: %v", room, err)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	if err := PackLibvirt(ctx, io.Discard, f, diskSize, func(int64, int64) { cancel(why) }); !errors.Is(err, why) {
		t.Errorf("cancelled: %v", err)
	}
	if err := PackLibvirt(t.Context(), io.Discard, f, diskSize, func(done, _ int64) { f.Truncate(done) }); !errors.Is(err, errShorter) {
		t.Errorf("cut off meanwhile: %v", err)
	}
}

func TestVirtualBox(t *testing.T) {
	raw := rawDisk(t)
	src, err := image.OpenFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	for _, firmware := range []string{"bios", "efi"} {
		t.Run(firmware, func(t *testing.T) {
			o := ova.Options{Name: "web server", OSType: "debian12", Firmware: firmware}
			var boxes [][]byte
			path := filepath.Join(t.TempDir(), "x.box")
			for _, workers := range []int{1, 3} {
				f, err := os.Create(path)
				if err != nil {
					t.Fatal(err)
				}
				w, err := NewVirtualBoxWriter(f, diskSize, o)
				if err != nil {
					t.Fatal(err)
				}
				if err := image.Copy(t.Context(), src, image.CopyOptions{Workers: workers}, w); err != nil {
					t.Fatal(err)
				}
				f.Close()
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				boxes = append(boxes, b)
			}
			if !bytes.Equal(boxes[0], boxes[1]) {
				t.Error("the box depends on the number of workers")
			}
			dir, members := unpack(t, path, "metadata.json", "Vagrantfile", "box.ovf", "box-disk001.vmdk")
			checkMetadata(t, members["metadata.json"], map[string]any{"provider": "virtualbox"})
			checkRuby(t, filepath.Join(dir, "Vagrantfile"))
			if firmware == "efi" {
				checkVagrant(t, path, "virtualbox")
			}
			if got := strings.Contains(string(members["Vagrantfile"]), `"--firmware", "efi"`); got != (firmware == "efi") {
				t.Errorf("Vagrantfile of firmware %s:\n%s", firmware, members["Vagrantfile"])
			}
			if strings.Contains(string(members["Vagrantfile"]), "base_mac") {
				t.Error("all machines get one address")
			}
			// What VirtualBox's reader looks for: see NewVirtualBoxWriter.
			for _, want := range []string{`ovf:href="box-disk001.vmdk"`, `vmware.sata.ahci`, `<rasd:Connection>NAT</rasd:Connection>`, `<rasd:ResourceSubType>E1000</rasd:ResourceSubType>`, `ovf:id="96"`} {
				if !strings.Contains(string(members["box.ovf"]), want) {
					t.Errorf("no %s in\n%s", want, members["box.ovf"])
				}
			}
			tool(t, "xmllint", "--noout", "--nonet", "--schema", "../ova/testdata/schema/ovf.xsd", filepath.Join(dir, "box.ovf"))
			tool(t, "qemu-img", "compare", "-f", "raw", "-F", "vmdk", raw, filepath.Join(dir, "box-disk001.vmdk"))
		})
	}
	if w, err := NewVirtualBoxWriter(&failing{1 << 30}, diskSize, ova.Options{CPUs: -1}); err == nil || w != nil || !strings.HasPrefix(err.Error(), "write vagrant box: ") {
		t.Errorf("%v, %v", w, err)
	}
	for _, room := range []int64{0, 600, 2000, 70_000, 100_000} {
		w, err := NewVirtualBoxWriter(&failing{room}, diskSize, ova.Options{})
		if err == nil {
			err = image.Copy(t.Context(), src, image.CopyOptions{}, w)
		}
		if !errors.Is(err, errFull) {
			t.Errorf("with room for %d bytes: %v", room, err)
		}
	}
}
