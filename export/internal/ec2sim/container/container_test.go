package container

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/disk/image"
)

// newDisk makes a raw disk with some data and holes.
func newDisk(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	random := rand.NewChaCha8([32]byte{1})
	for _, at := range []int64{0, 3 << 20, 40<<20 + 4096, 50<<20 - 512} {
		piece := make([]byte, 512+at%70000/512*512)
		random.Read(piece)
		if _, err := f.WriteAt(piece[:min(int64(len(piece)), 50<<20-at)], at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(50 << 20); err != nil {
		t.Fatal(err)
	}
	return path
}

// write makes a file of a format with package disk.
func write(t *testing.T, raw, name string) string {
	t.Helper()
	src, err := image.OpenFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	path := filepath.Join(t.TempDir(), name)
	format, ok := disk.FormatToWrite(path)
	if !ok {
		t.Fatalf("no format for %s", name)
	}
	if err := disk.Write(t.Context(), src, disk.WriteOptions{}, disk.Output{Path: path, Format: format}); err != nil {
		t.Fatal(err)
	}
	return path
}

func qemuImg(t *testing.T, a ...string) {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("qemu-img is not installed")
	}
	if out, err := exec.Command("qemu-img", a...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img %v: %v %s", a, err, out)
	}
}

func expand(t *testing.T, format, path string) ([]Disk, error) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	disks, err := Expand(t.Context(), format, f, st.Size(), t.TempDir())
	for _, d := range disks {
		t.Cleanup(func() { d.File.Close() })
	}
	return disks, err
}

func TestExpandGivesTheDiskThatWasWritten(t *testing.T) {
	raw := newDisk(t)
	want, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	converted := func(options ...string) string {
		path := filepath.Join(t.TempDir(), "disk")
		qemuImg(t, append(append([]string{"convert", "-f", "raw"}, options...), raw, path)...)
		return path
	}
	for name, c := range map[string]struct{ format, path string }{
		"raw":            {RAW, raw},
		"vmdk":           {VMDK, write(t, raw, "disk.vmdk")},
		"vhd":            {VHD, write(t, raw, "disk.vhd")},
		"ova":            {OVA, write(t, raw, "disk.ova")},
		"qemu's vmdk":    {VMDK, converted("-O", "vmdk", "-o", "subformat=streamOptimized")},
		"qemu's vhd":     {VHD, converted("-O", "vpc", "-o", "force_size=on")},
		"qemu's fixed":   {VHD, converted("-O", "vpc", "-o", "force_size=on,subformat=fixed")},
		"qemu's vhdx":    {VHDX, converted("-O", "vhdx")},
		"any lower case": {strings.ToLower(VMDK), write(t, raw, "disk.vmdk")},
	} {
		t.Run(name, func(t *testing.T) {
			disks, err := expand(t, c.format, c.path)
			if err != nil || len(disks) != 1 {
				t.Fatalf("%v, %v", disks, err)
			}
			got, err := io.ReadAll(io.NewSectionReader(disks[0].File, 0, disks[0].Size))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes of %d, or others; %v", len(got), len(want), err)
			}
		})
	}
}

func TestDamagedFilesAreRefusedInAWSsWords(t *testing.T) {
	raw := newDisk(t)
	vmdk, vhd, ova := write(t, raw, "disk.vmdk"), write(t, raw, "disk.vhd"), write(t, raw, "disk.ova")
	sparse := filepath.Join(t.TempDir(), "sparse.vmdk")
	qemuImg(t, "convert", "-O", "vmdk", raw, sparse)
	changed := func(path string, change func([]byte) []byte) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), filepath.Base(path))
		if err := os.WriteFile(out, change(b), 0o600); err != nil {
			t.Fatal(err)
		}
		return out
	}
	at := func(offset int, value ...byte) func([]byte) []byte {
		return func(b []byte) []byte {
			if offset < 0 {
				offset += len(b)
			}
			copy(b[offset:], value)
			return b
		}
	}
	replace := func(old, new string) func([]byte) []byte {
		return func(b []byte) []byte { return bytes.Replace(b, []byte(old), []byte(new), 1) }
	}
	for name, c := range map[string]struct{ format, path, want string }{
		"monolithicSparse":          {VMDK, sparse, "ClientError: Disk validation failed [Unsupported VMDK File Format]"},
		"other createType":          {VMDK, changed(vmdk, replace("streamOptimized", "streamSubOptim.")), "Unsupported VMDK File Format"},
		"no compression":            {VMDK, changed(vmdk, at(77, 0, 0)), "File uses unsupported compression algorithm 0"},
		"damaged grain":             {VMDK, changed(vmdk, at(128*512+40, 1, 2, 3, 4, 5, 6)), "Uncompressed data has an invalid length"},
		"cut VMDK":                  {VMDK, changed(vmdk, func(b []byte) []byte { return b[:len(b)-512] }), "Unsupported VMDK File Format"},
		"something after a VMDK":    {VMDK, changed(vmdk, func(b []byte) []byte { return append(b, make([]byte, 512)...) }), "Unsupported VMDK File Format"},
		"a VHD as VMDK":             {VMDK, vhd, "Unsupported VMDK File Format"},
		"other footers":             {VHD, changed(vhd, at(28, 'x')), "ClientError: Footers not identical"},
		"wrong checksum":            {VHD, changed(vhd, at(-512+28, 'x')), "checksum"},
		"a VMDK as VHD":             {VHD, vmdk, "Unsupported VHD File Format"},
		"raw as VHDX":               {VHDX, raw, "Unsupported VHDX File Format"},
		"a VMDK as OVA":             {OVA, vmdk, "ClientError: Disk validation failed [Unsupported OVA format]"},
		"chunks":                    {OVA, retar(t, ova, replace(`ovf:href=`, `ovf:chunkSize="7" ovf:href=`)), "ClientError: Disk validation failed [OVF file parsing error: OVA with chunked disk files is not supported]"},
		"other than its manifest":   {OVA, retar(t, ova, replace("#streamOptimized", "#sparse.........")), "manifest"},
		"OVF not first":             {OVA, retar(t, ova, nil), "Unsupported OVA format"},
		"not a multiple of sectors": {RAW, changed(raw, func(b []byte) []byte { return b[:len(b)-1] }), "multiple"},
		"unknown format":            {"QCOW2", raw, "Unsupported file format QCOW2"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := expand(t, c.format, c.path)
			var refused *Refusal
			if !errors.As(err, &refused) || !strings.Contains(refused.Message, c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

// retar changes an OVA's description; without a change it puts it last.
func retar(t *testing.T, path string, change func([]byte) []byte) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	type entry struct {
		header *tar.Header
		data   []byte
	}
	var entries []entry
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, entry{h, data})
	}
	if change == nil {
		entries = append(entries[1:], entries[0])
	} else {
		entries[0].data = change(entries[0].data)
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		e.header.Size = int64(len(e.data))
		if err := w.WriteHeader(e.header); err != nil {
			t.Fatal(err)
		}
		w.Write(e.data)
	}
	w.Close()
	name := filepath.Join(t.TempDir(), "changed.ova")
	if err := os.WriteFile(name, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
