package builder

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ingot-image/ingot/builder/base"
	"github.com/ingot-image/ingot/builder/layer"
	"github.com/ingot-image/ingot/qemu"
)

// TestStackAfterSave wants all images below a guest's overlay to be where its disk says, when the overlay before has become a layer's: that is
// what the finished image is copied from.
func TestStackAfterSave(t *testing.T) {
	dir := t.TempDir()
	store, err := layer.Open(filepath.Join(dir, "layers"), layer.Options{Reserve: 1})
	if err != nil {
		t.Fatal(err)
	}
	parent := filepath.Join(dir, "disk.raw")
	s := &stack{
		machine: &machine{}, base: qemu.Image{Path: parent, Format: "raw"},
		folders: func(elem ...string) string { return filepath.Join(append([]string{dir}, elem...)...) },
	}
	touch := func(path string) {
		if err := os.WriteFile(path, []byte(path), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	touch(parent)
	s.newOverlay()
	touch(s.overlay())
	s.config.Disks = []qemu.Disk{s.rootDisk()}
	for range 3 { // layers are saved
		before := s.overlay()
		s.own = append(s.own, s.nextOverlay())
		touch(s.overlay())
		draft, err := store.Begin(t.Context(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range s.own[:len(s.own)-1] {
			if _, err := draft.AddDisk(path); err != nil {
				t.Fatal(err)
			}
		}
		chain, err := draft.Commit(t.Context(), layer.Layer{Root: layer.Root{Disk: "disk", Machine: "machine"}, Guest: []byte("{}")})
		if err != nil {
			t.Fatal(err)
		}
		defer chain.Close()
		s.stand(chain)
		root := s.rootDisk()
		if root.Path != s.overlay() || root.Path == before || len(root.Backing) != 2 || root.Backing[1] != s.base {
			t.Fatalf("the disk is %+v", root)
		}
		if data, err := os.ReadFile(root.Backing[0].Path); err != nil || string(data) != before {
			t.Errorf("below the overlay: %q, %v", data, err)
		}
		if got := s.config.Disks[0].Backing[0]; got != root.Backing[0] {
			t.Errorf("a guest that reboots is on %v", got)
		}
	}
}

// TestBootAfterLayer wants a base to be booted by its own kernel when a layer with another one could not be used.
func TestBootAfterLayer(t *testing.T) {
	s := &stack{machine: &machine{}, parent: &parentImage{Base: &base.Base{Kernel: "/base/vmlinuz", Initrd: "/base/initrd"}}}
	s.folders = func(elem ...string) string { return filepath.Join(t.TempDir(), "none", "overlay") }
	s.direct = &directBoot{kernel: "/layer/vmlinuz", initrd: "/layer/initrd"}
	if err := s.cold(t.Context()); err == nil {
		t.Fatal("there is nothing that could be booted")
	}
	if s.direct.kernel != "/base/vmlinuz" || s.direct.initrd != "/base/initrd" {
		t.Errorf("would be booted by %+v", s.direct)
	}
}
