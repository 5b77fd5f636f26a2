package inspect

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/ingot-image/ingot/disk/lvm"
)

// physicalVolume is one that LVM2 made (../lvm/testdata/README), with another content in its volume vg0/root.
func physicalVolume(t *testing.T, root []byte) memory {
	t.Helper()
	f, err := os.Open("../lvm/testdata/pv.img.zst")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	pv, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	volumes, err := lvm.Volumes(t.Context(), memory(pv))
	if err != nil || volumes[0].Name != "root" || volumes[0].Size != int64(len(root)) {
		t.Fatalf("%+v, %v", volumes, err)
	}
	out := bytes.Clone(pv)
	const extent = 64 << 10
	for at := 0; at < len(root); at += extent { // its old content tells where each extent is
		old := make([]byte, extent)
		if err := readAt(volumes[0].Source, old, int64(at)); err != nil {
			t.Fatal(err)
		}
		copy(out[bytes.Index(pv, old):], root[at:at+extent])
	}
	return out
}

func TestLogicalVolumes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root")
	output(t, "mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-N", "64", "-d",
		tree(t, map[string]string{"etc/os-release": "ID=x\n", "data/": "", "etc/fstab": "/dev/mapper/vg0-root / ext4 defaults\n/dev/vg0/my-data /data ext4 defaults\n"}), path, "3m")
	root, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Inspect(t.Context(), physicalVolume(t, root), Options{})
	if err != nil || r.System == nil {
		t.Fatalf("%+v, %v", r, err)
	}
	var got []string
	for _, f := range r.FileSystems {
		got = append(got, strings.TrimSpace(f.Device+" "+f.Type+" "+f.MountPoint))
	}
	equal(t, "file systems", got, []string{"disk LVM2_member", "vg0/root ext4 /", "vg0/pad", "vg0/striped", "vg0/my-data ext4 /data"})
	equal(t, "root", r.System.Root, "vg0/root")
	for _, m := range r.System.Fstab {
		if m.Device == "" || m.ByName {
			t.Errorf("%+v", m)
		}
	}
	found := false
	for _, p := range r.Problems {
		found = found || p.Where == "vg0/thin1"
	}
	if !found {
		t.Errorf("%+v", r.Problems)
	}
	tree, err := OpenRoot(t.Context(), physicalVolume(t, root), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := tree.ReadFile("etc/os-release"); err != nil || string(b) != "ID=x\n" {
		t.Errorf("%q, %v", b, err)
	}
	equal(t, "mounts", tree.Mounted, []Mounted{{Target: "/", Device: "vg0/root"}, {Target: "/data", Device: "vg0/my-data"}})
}
