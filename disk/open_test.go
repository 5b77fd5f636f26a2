package disk

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/disk/image"
)

// readBack is the whole disk in an open image, by its extents: what is in none of them must read as zeros.
func readBack(t *testing.T, d *Disk) []byte {
	t.Helper()
	all, extents := make([]byte, d.Size()), make([]byte, d.Size())
	if n, err := d.ReadAt(all, 0); n != len(all) {
		t.Fatalf("read %d of %d bytes: %v", n, len(all), err)
	}
	err := d.Extents(t.Context(), func(e Extent) error {
		copy(extents[e.Start:e.End()], all[e.Start:e.End()])
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(all, extents) {
		t.Error("there is something outside of the extents")
	}
	return all
}

// TestOpen opens the same disk in every format, made by other people's programs.
func TestOpen(t *testing.T) {
	need(t, qemuImg)
	raw := sampleDisk(t, 20<<20)
	want, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	convert := func(name string, args ...string) string {
		path := filepath.Join(dir, name)
		output(t, qemuImg, append(append([]string{"convert", "-f", "raw"}, args...), raw, path)...)
		return path
	}
	qcow2 := convert("a.qcow2", "-O", "qcow2")
	pack := func(program string, args ...string) func() string {
		return func() string {
			path := qcow2 + "." + program
			in, err := os.Open(qcow2)
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			out, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			cmd := exec.Command(program, args...)
			cmd.Stdin, cmd.Stdout = in, out
			if err := cmd.Run(); err != nil {
				t.Skipf("skipped: %s: %v", program, err)
			}
			return path
		}
	}
	for _, test := range []struct {
		name, variant string
		within        Format
		make          func() string
	}{
		{"raw", "", "", func() string { return raw }},
		{"vmdk", "streamOptimized", "", func() string { return convert("b.vmdk", "-O", "vmdk", "-o", "subformat=streamOptimized") }},
		{"vmdk", "monolithicSparse", "", func() string { return convert("c.vmdk", "-O", "vmdk") }},
		{"vhd", "dynamic", "", func() string { return convert("d.vhd", "-O", "vpc", "-o", "force_size=on") }},
		{"vhd", "fixed", "", func() string { return convert("e.vhd", "-O", "vpc", "-o", "force_size=on,subformat=fixed") }},
		{"qcow2", "v3", "", func() string { return qcow2 }},
		{"qcow2", "v3", "", func() string { return convert("named.img", "-O", "qcow2", "-c") }},
		{"qcow2", "v3", Gzip, pack("gzip", "-c")},
		{"qcow2", "v3", Bzip2, pack("bzip2", "-c")},
		{"qcow2", "v3", XZ, pack("xz", "-c")},
		{"qcow2", "v3", Zstd, pack("zstd", "-c")},
	} {
		t.Run(test.name+test.variant+string(test.within), func(t *testing.T) {
			d, err := Open(t.Context(), test.make(), OpenOptions{TempDir: dir})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if string(d.Info.Format) != test.name || d.Info.Variant != test.variant || d.Info.VirtualSize != int64(len(want)) {
				t.Errorf("%+v", d.Info)
			}
			if test.within != "" && (len(d.Within) != 1 || d.Within[0] != test.within) {
				t.Errorf("within %v", d.Within)
			}
			if !bytes.Equal(readBack(t, d), want) {
				t.Error("it is another disk")
			}
		})
	}
	if left, _ := os.ReadDir(dir); len(left) > 12 {
		t.Errorf("left behind: %v", left)
	}
}

// TestOpenRefuses wants everything that is no image, or one that names other files, to be refused by one line.
func TestOpenRefuses(t *testing.T) {
	need(t, qemuImg)
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, data []byte) string {
		if err := os.WriteFile(path(name), data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path(name)
	}
	base := sampleDisk(t, 1<<20)
	output(t, qemuImg, "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, path("backed.qcow2"))
	output(t, qemuImg, "create", "-q", "-f", "qcow2", path("plain.qcow2"), "1M")
	plain, err := os.ReadFile(path("plain.qcow2"))
	if err != nil {
		t.Fatal(err)
	}
	plain = append(plain, make([]byte, 512-len(plain)%512)...)
	for _, test := range []struct {
		path    string
		options OpenOptions
		want    string
	}{
		{write("empty.raw", nil), OpenOptions{}, "empty"},
		{write("odd.raw", make([]byte, 1000)), OpenOptions{}, "512"},
		{write("garbage", bytes.Repeat([]byte("garbage "), 99)), OpenOptions{}, "512"},
		{dir, OpenOptions{}, "a folder"},
		{path("backed.qcow2"), OpenOptions{}, "backing file"},
		{write("renamed.raw", plain), OpenOptions{}, "the content is qcow2"},
		{write("half.qcow2", plain[:len(plain)/2]), OpenOptions{}, "beyond the end"},
		{path("plain.qcow2"), OpenOptions{Format: VMDK}, "declared as vmdk"},
		{path("plain.qcow2"), OpenOptions{Limits: Limits{VirtualSize: 4096}}, "the limit is"},
		{write("flat.vmdk", []byte("# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicFlat\"\nRW 8 FLAT \"/etc/passwd\" 0\n")), OpenOptions{}, "/etc/passwd"},
		{write("disk.vhdx", append([]byte("vhdxfile"), make([]byte, 4088)...)), OpenOptions{}, "cut off"},
		{write("disk.vdi", append(append(make([]byte, 0x40), "\x7f\x10\xda\xbe"...), make([]byte, 4028)...)), OpenOptions{}, "convert it first"},
		{write("x.zip", append([]byte("PK\x03\x04"), make([]byte, 4092)...)), OpenOptions{}, "decompress it first"},
	} {
		d, err := Open(t.Context(), test.path, test.options)
		var unsafe *UnsafeError
		var damaged *FormatError
		switch {
		case err == nil:
			d.Close()
			t.Errorf("%s is opened", filepath.Base(test.path))
		case !errors.As(err, &unsafe) && !errors.As(err, &damaged):
			t.Errorf("%s: %T %v", filepath.Base(test.path), err, err)
		case !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), filepath.Base(test.path)):
			t.Errorf("%s: %v, want %q", filepath.Base(test.path), err, test.want)
		}
	}
	// What the caller knows to be raw is raw, whatever it looks like.
	d, err := Open(t.Context(), path("renamed.raw"), OpenOptions{Format: Raw})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if d.Size() != int64(len(plain)) {
		t.Errorf("a disk of %d bytes", d.Size())
	}
	var _ image.Source = d
}
