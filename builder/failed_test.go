package builder

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/qemu"
)

func touch(t *testing.T, path string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(filepath.Base(path)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestAdopt makes the disks of failed guests those of kept VMs: on a base, on layers, and with several overlays of the build's own.
func TestAdopt(t *testing.T) {
	home := t.TempDir()
	b := &Builder{Home: home}
	work, folder := filepath.Join(home, "work", "build-1"), filepath.Join(home, "work", "build-1", "build")
	base := touch(t, filepath.Join(home, "bases", "x", "disk.raw"))
	one, two := touch(t, filepath.Join(home, "layers", "aa-1", "disk.qcow2")), touch(t, filepath.Join(home, "layers", "bb-2", "disk.qcow2"))
	qcow2 := func(path string) qemu.Image { return qemu.Image{Path: path, Format: "qcow2"} }
	raw := qemu.Image{Path: base, Format: "raw"}
	for _, c := range []struct {
		name    string
		own     int // overlays in the workspace
		backing []qemu.Image
		below   []string
		layers  []string
		fails   string
	}{
		{"on a base", 1, []qemu.Image{raw}, nil, nil, ""},
		{"on layers", 1, []qemu.Image{qcow2(two), qcow2(one), raw}, []string{two, one}, []string{"bb-2", "aa-1"}, ""},
		{"several of its own", 2, []qemu.Image{qcow2(one), raw}, []string{one}, []string{"aa-1"}, ""},
		{"on an odd format", 1, []qemu.Image{{Path: base, Format: "vmdk"}}, nil, nil, "vmdk"},
		{"on a raw disk in between", 1, []qemu.Image{raw, qcow2(one)}, nil, nil, "raw"},
		{"on a layer only", 0, []qemu.Image{raw}, nil, nil, "no disk of its own"},
		{"with its own below a layer", 1, []qemu.Image{qcow2(one), qcow2(filepath.Join(work, "low.qcow2")), raw}, nil, nil, "below a layer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			os.RemoveAll(work)
			if err := mkdir(folder); err != nil {
				t.Fatal(err)
			}
			chain := c.backing
			for i := range c.own {
				chain = append([]qemu.Image{qcow2(touch(t, filepath.Join(work, "overlay-"+string(rune('a'+i)))))}, chain...)
			}
			if c.own == 0 {
				chain = append([]qemu.Image{qcow2(two)}, chain...)
			}
			root := qemu.Disk{Path: chain[0].Path, Format: chain[0].Format, Backing: chain[1:]}
			var s savedVM
			err := s.adopt(folder, work, root)
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Errorf("adopt: %v", err)
				}
				return
			}
			if err != nil || s.BaseDisk != base || !slices.Equal(s.Below, c.below) || len(s.Disks) != c.own || !slices.Equal(s.layers(b.layersPath()), c.layers) {
				t.Fatalf("adopt = %+v, %v; layers %v", s, err, s.layers(b.layersPath()))
			}
			// The order of the chain is kept, and each disk is what it was.
			for i, image := range s.chain(folder) {
				data, err := os.ReadFile(image.Path)
				if err != nil || string(data) != filepath.Base(chain[i].Path) || image.Format != chain[i].Format {
					t.Errorf("image %d of the chain is %v: %s, %v", i, image, data, err)
				}
			}
		})
	}
}

// TestRebase wants disks that were moved to name each other where they are.
func TestRebase(t *testing.T) {
	tool := disk.Tools()[0]
	if _, err := tool.Find(); err != nil {
		t.Skip(err)
	}
	home := t.TempDir()
	folder, final := filepath.Join(home, "making"), filepath.Join(home, "vm-1")
	if err := mkdir(folder); err != nil {
		t.Fatal(err)
	}
	base := touch(t, filepath.Join(home, "base.raw"))
	s := savedVM{ID: "vm-1", Disks: []string{diskName(0), diskName(1), diskName(2)}, BaseDisk: base}
	below := disk.Image{Path: base, Format: disk.Raw}
	for _, name := range s.Disks {
		path := filepath.Join(folder, name)
		if err := disk.PrepareOverlay(t.Context(), path, below, 1<<20); err != nil {
			t.Fatal(err)
		}
		below = disk.Image{Path: filepath.Join(home, "nowhere", name), Format: disk.Qcow2}
	}
	if err := s.rebase(t.Context(), folder, final); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(folder, final); err != nil {
		t.Fatal(err)
	}
	// Somebody else follows the names from the top to the base.
	var out bytes.Buffer
	err := disk.Run(t.Context(), disk.Command{Tool: tool, Args: []string{"info", "--backing-chain", "--output=json", filepath.Join(final, diskName(2))}, Stdout: &out})
	var chain []struct{ Filename string }
	if err = errors.Join(err, json.Unmarshal(out.Bytes(), &chain)); err != nil {
		t.Fatal(err)
	}
	for i, image := range s.chain(final) {
		if i >= len(chain) || chain[i].Filename != image.Path {
			t.Errorf("image %d is %s, in the chain %+v", i, image.Path, chain)
		}
	}
}

func TestPinnedLayers(t *testing.T) {
	b := &Builder{Home: t.TempDir()}
	if pinned := b.PinnedLayers(); len(pinned) != 0 {
		t.Errorf("pinned in an empty home: %v", pinned)
	}
	for id, layers := range map[string]string{"vm-1": "aa-1\nbb-2\n", "vm-2": "bb-2\ncc-3\n"} {
		dir := saveFake(t, b, savedVM{ID: id, Disks: []string{"disk-0.qcow2"}})
		if err := os.WriteFile(filepath.Join(dir, savedLayers), []byte(layers), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := slices.Sorted(maps.Keys(b.PinnedLayers())); !slices.Equal(got, []string{"aa-1", "bb-2", "cc-3"}) {
		t.Errorf("pinned: %v", got)
	}
	if err := b.RemoveVM("vm-2"); err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(b.PinnedLayers())); !slices.Equal(got, []string{"aa-1", "bb-2"}) {
		t.Errorf("pinned after a removal: %v", got)
	}
}

// TestOwnFiles gives a machine that was resumed from a layer files of its own.
func TestOwnFiles(t *testing.T) {
	home := t.TempDir()
	layers := filepath.Join(home, "layers")
	seed, kernel := touch(t, filepath.Join(layers, "aa-1", "seed.iso")), touch(t, filepath.Join(layers, "aa-1", "guest-kernel"))
	initrd := touch(t, filepath.Join(home, "bases", "x", "initrd.img"))
	m := &machine{folder: filepath.Join(home, "vm"), direct: &directBoot{kernel: kernel, initrd: initrd}}
	m.config.Disks = []qemu.Disk{{Path: "root"}, seedAt(seed)}
	if err := mkdir(m.folder); err != nil {
		t.Fatal(err)
	}
	if err := m.ownFiles(layers); err != nil {
		t.Fatal(err)
	}
	if m.seedPath() != filepath.Join(m.folder, "seed.iso") || m.direct.kernel != filepath.Join(m.folder, "guest-kernel") || m.direct.initrd != initrd {
		t.Errorf("the machine has %s, %+v", m.seedPath(), m.direct)
	}
	for _, path := range []string{seed, kernel, m.seedPath(), m.direct.kernel} {
		if data, err := os.ReadFile(path); err != nil || string(data) != filepath.Base(path) {
			t.Errorf("%s: %q, %v", path, data, err)
		}
	}
}
