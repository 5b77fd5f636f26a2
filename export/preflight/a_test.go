package preflight

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/disk"
)

// renamed copies a file to another name.
func renamed(t testing.TB, file, name string) string {
	t.Helper()
	path := change(t, file, func(*os.File, int64) {})
	to := filepath.Join(filepath.Dir(path), name)
	if err := os.Rename(path, to); err != nil {
		t.Fatal(err)
	}
	return to
}

// write makes a file of some bytes.
func write(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// qemuImg runs qemu-img in a folder of its own and gives the path of a file there.
func qemuImg(t testing.TB, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("skipped: qemu-img is not installed")
	}
	path := filepath.Join(t.TempDir(), name)
	if out, err := exec.Command("qemu-img", append(args, path)...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img %q: %v\n%s", args, err, out)
	}
	return path
}

func TestA01Format(t *testing.T) {
	raw := good().raw(t)
	streamed, fixed := convert(t, raw, disk.VMDK), convert(t, raw, disk.VHDFixed)
	qcow2 := qemuImg(t, "disk.qcow2", "convert", "-O", "qcow2", raw)
	passes(t, "A01", raw, Request{Path: EBSDirect})
	passes(t, "A01", raw, Request{Path: ImportSnapshot})
	passes(t, "A01", streamed, Request{Path: ImportSnapshot})
	passes(t, "A01", renamed(t, streamed, "disk.img"), Request{Path: ImportImage})
	passes(t, "A01", qcow2, Request{Path: EBSDirect, Converted: true})
	asRaw := renamed(t, fixed, "disk.raw")
	fails(t, "A01", asRaw, Request{Path: ImportSnapshot}, Fatal, "first bytes", "vhd, but it is declared as raw")
	fails(t, "A01", streamed, Request{Path: ImportSnapshot, Format: disk.VHD}, Fatal, "first bytes", "vmdk, but it is declared as vhd")
	fails(t, "A01", streamed, Request{Path: EBSDirect}, Fatal, "first bytes", "vmdk: EBS direct")
	for _, path := range []Path{ImportImage, ImportSnapshot} {
		if f := fails(t, "A01", qcow2, Request{Path: path}, Fatal, "first bytes", "qcow2, and "+string(path)+" takes"); !f.Fixable || !strings.Contains(f.Prevents, "invalid format") {
			t.Errorf("%+v", f)
		}
	}
	fails(t, "A01", convert(t, raw, disk.OVA), Request{Path: ImportSnapshot}, Fatal, "first bytes", "ova")
	// What is looked for beyond the name is looked for all the same.
	passes(t, "B02", asRaw, Request{Path: ImportSnapshot})
}

func TestA02StreamOptimized(t *testing.T) {
	raw := good().raw(t)
	streamed := convert(t, raw, disk.VMDK)
	r := Request{Path: ImportSnapshot}
	passes(t, "A02", streamed, r)
	passes(t, "A02", streamed, Request{Path: ImportImage})
	ends(t, "A02", raw, r, Skipped, "no VMDK")
	ends(t, "A02", streamed, Request{Path: EBSDirect}, Skipped, "ebs-direct")
	for _, kind := range []string{"monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"} {
		file := qemuImg(t, "disk.vmdk", "convert", "-O", "vmdk", "-o", "subformat="+kind, raw)
		for _, path := range []Path{ImportImage, ImportSnapshot} {
			f := fails(t, "A02", file, Request{Path: path}, Fatal, "header", kind)
			if f.Prevents != "ClientError: Disk validation failed [Unsupported VMDK File Format]" || f.Fixable != (kind == "monolithicSparse") {
				t.Errorf("%s: %+v", kind, f)
			}
		}
	}
	fails(t, "A02", qemuImg(t, "disk.vmdk", "convert", "-O", "vmdk", "-o", "subformat=streamOptimized", raw), r, Warning, "end", "no footer")
	cut := change(t, streamed, func(f *os.File, size int64) {
		if err := f.Truncate(size - 1024); err != nil {
			t.Fatal(err)
		}
	})
	fails(t, "A02", cut, r, Fatal, "end", "no footer")
	algorithm := change(t, streamed, func(f *os.File, size int64) { poke(t, f, 77, 0, 0) })
	if f := fails(t, "A02", algorithm, r, Fatal, "offset 77", "algorithm 0"); f.Prevents != "ClientError: File uses unsupported compression algorithm 0" {
		t.Errorf("%+v", f)
	}
	short := write(t, "disk.vmdk", []byte("KDMV"))
	fails(t, "A02", short, r, Fatal, "header", "")
}

func TestA03VHD(t *testing.T) {
	raw := good().raw(t)
	dynamic, fixed := convert(t, raw, disk.VHD), convert(t, raw, disk.VHDFixed)
	r := Request{Path: ImportImage}
	passes(t, "A03", dynamic, r)
	passes(t, "A03", fixed, r)
	ends(t, "A03", raw, r, Skipped, "no VHD")
	fails(t, "A03", change(t, dynamic, func(f *os.File, size int64) { poke(t, f, 30, 'x') }), r, Fatal, "offset 30 and offset", "copies differ")
	fails(t, "A03", change(t, fixed, func(f *os.File, size int64) { poke(t, f, size-512+64, 1, 2, 3, 4) }), r, Fatal, "offset ", "checksum is 0x01020304")
	fails(t, "A03", change(t, dynamic, func(f *os.File, size int64) { f.Truncate(size - 512) }), r, Fatal, "offset ", "no footer")
	kind := change(t, dynamic, func(f *os.File, size int64) {
		foot := make([]byte, 512)
		if _, err := f.ReadAt(foot, size-512); err != nil {
			t.Fatal(err)
		}
		foot[63] = 4
		binary.BigEndian.PutUint32(foot[64:], vhdChecksum(foot))
		poke(t, f, 0, foot...)
		poke(t, f, size-512, foot...)
	})
	fails(t, "A03", kind, r, Fatal, "offset ", "disk type 4")
	fails(t, "A06", kind, r, Fatal, "header", "parent")
}

// repack changes the members of an OVA.
func repack(t testing.TB, file string, edit func(name string, data []byte) []byte, order func(names []string) []string) string {
	t.Helper()
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	members, names := map[string][]byte{}, []string{}
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		members[h.Name] = edit(h.Name, data)
		names = append(names, h.Name)
	}
	if order != nil {
		names = order(names)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(members[name])), Format: tar.FormatUSTAR}); err != nil {
			t.Fatal(err)
		}
		w.Write(members[name])
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return write(t, "disk.ova", b.Bytes())
}

// reviseOVF changes the descriptor, and the manifest with it.
func reviseOVF(t testing.TB, file, old, with string) string {
	t.Helper()
	var digest string
	return repack(t, file, func(name string, data []byte) []byte {
		switch filepath.Ext(name) {
		case ".ovf":
			if !bytes.Contains(data, []byte(old)) {
				t.Fatalf("%q is not in the descriptor:\n%s", old, data)
			}
			data = bytes.ReplaceAll(data, []byte(old), []byte(with))
			digest = fmt.Sprintf("%x", sha256.Sum256(data))
		case ".mf":
			lines := strings.Split(string(data), "\n")
			for i, l := range lines {
				if head, _, ok := strings.Cut(l, "= "); ok && strings.Contains(head, ".ovf") {
					lines[i] = head + "= " + digest
				}
			}
			data = []byte(strings.Join(lines, "\n"))
		}
		return data
	}, func(names []string) []string { return names })
}

func TestA04OVA(t *testing.T) {
	raw := good().raw(t)
	file := convert(t, raw, disk.OVA)
	r := Request{Path: ImportImage}
	same := func(_ string, data []byte) []byte { return data }
	passes(t, "A04", file, r)
	passes(t, "A04", repack(t, file, same, nil), r)
	ends(t, "A04", raw, r, Skipped, "no OVA")
	ends(t, "A04", file, Request{Path: ImportSnapshot}, Skipped, "import-snapshot")
	last := repack(t, file, same, func(names []string) []string { return append(names[1:], names[0]) })
	fails(t, "A04", last, r, Fatal, "member 1", "comes first")
	wrong := repack(t, file, func(name string, data []byte) []byte {
		if filepath.Ext(name) == ".vmdk" {
			data = bytes.Clone(data)
			data[len(data)/2] ^= 1
		}
		return data
	}, nil)
	fails(t, "A04", wrong, r, Fatal, "manifest", "digest")
	chunked := reviseOVF(t, file, "ovf:href=", `ovf:chunkSize="1048576" ovf:href=`)
	if f := fails(t, "A04", chunked, r, Fatal, "References", "in chunks"); !strings.Contains(f.Prevents, "chunked disk files is not supported") {
		t.Errorf("%+v", f)
	}
	fails(t, "A04", reviseOVF(t, file, "#streamOptimized", "#sparse"), r, Fatal, "disk", "#sparse")
	sparse := qemuImg(t, "disk.vmdk", "convert", "-O", "vmdk", raw)
	content, err := os.ReadFile(sparse)
	if err != nil {
		t.Fatal(err)
	}
	inside := repack(t, file, func(name string, data []byte) []byte {
		if filepath.Ext(name) == ".vmdk" {
			return content
		}
		return data
	}, nil)
	if f := fails(t, "A04", inside, r, Fatal, "member", "monolithicSparse"); f.Prevents != unsupportedVMDK {
		t.Errorf("%+v", f)
	}
	fails(t, "A04", repack(t, file, same, func(names []string) []string { return names[2:] }), r, Fatal, "archive", "no .ovf")
}

func TestA05Size(t *testing.T) {
	raw := good().raw(t)
	passes(t, "A05", raw, Request{Path: EBSDirect})
	odd := change(t, raw, func(f *os.File, size int64) { f.Truncate(size + 100) })
	if f := fails(t, "A05", odd, Request{Path: EBSDirect}, Fatal, "length", "no multiple of 512"); !f.Fixable {
		t.Errorf("%+v", f)
	}
	for _, c := range []struct {
		path  Path
		size  int64
		fails bool
	}{{ImportImage, 8*tib - 512, false}, {ImportImage, 8 * tib, true}, {ImportSnapshot, 8 * tib, false}, {ImportSnapshot, 16 * tib, true}, {EBSDirect, 16 * tib, false}, {EBSDirect, 16*tib + 512, true}} {
		file := write(t, "disk.vhd", dynamicVHD(c.size))
		if c.fails {
			fails(t, "A05", file, Request{Path: c.path}, Fatal, "disk's size", "takes less than")
		} else {
			passes(t, "A05", file, Request{Path: c.path})
		}
	}
	table := make([]byte, 512)
	copy(table[446:], "\x80\x00\x02\x00\x83\xff\xff\xff\x00\x08\x00\x00\x00\xf0\xff\x0f")
	table[510], table[511] = 0x55, 0xaa
	for size, fine := range map[int64]bool{2 * tib: true, 2*tib + 1<<20: false} {
		file := qcow2Of(t, size, table)
		if r := (Request{Path: EBSDirect}); fine {
			passes(t, "A05", file, r)
		} else {
			fails(t, "A05", file, r, Fatal, "partition table", "an MBR on a disk of")
		}
	}
}

func TestA06References(t *testing.T) {
	raw := good().raw(t)
	qcow2 := qemuImg(t, "disk.qcow2", "convert", "-O", "qcow2", raw)
	passes(t, "A06", raw, Request{Path: EBSDirect})
	passes(t, "A06", qcow2, Request{Path: EBSDirect})
	overlay := qemuImg(t, "overlay.qcow2", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", raw)
	for _, path := range []Path{EBSDirect, ImportSnapshot, ImportImage} {
		fails(t, "A06", overlay, Request{Path: path}, Fatal, "header", "backing file")
	}
	delta := write(t, "disk.vmdk", []byte("# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=12345678\ncreateType=\"seSparse\"\nparentFileNameHint=\"base.vmdk\"\nRW 2048 SESPARSE \"x-delta.vmdk\"\n"))
	fails(t, "A06", delta, Request{Path: ImportSnapshot}, Fatal, "header", "base.vmdk")
	fails(t, "A06", delta, Request{Path: ImportSnapshot}, Fatal, "descriptor", "seSparse")
}

// dynamicVHD is an empty dynamic VHD of any size that has blocks of 256 MiB.
func dynamicVHD(size int64) []byte {
	const block = 256 << 20
	be, entries := binary.BigEndian, int(size/block+1)
	b := make([]byte, 512+1024+(4*entries+511)/512*512+512)
	for i := range (len(b) - 2048) / 4 {
		be.PutUint32(b[1536+4*i:], 0xffffffff)
	}
	foot := b[:512]
	copy(foot, "conectix")
	be.PutUint32(foot[8:], 2)
	be.PutUint32(foot[12:], 1<<16)
	be.PutUint64(foot[16:], 512)
	be.PutUint64(foot[40:], uint64(size))
	be.PutUint64(foot[48:], uint64(size))
	be.PutUint32(foot[60:], 3)
	be.PutUint32(foot[64:], vhdChecksum(foot))
	copy(b[len(b)-512:], foot)
	header := b[512:1536]
	copy(header, "cxsparse")
	be.PutUint64(header[8:], 1<<64-1)
	be.PutUint64(header[16:], 1536)
	be.PutUint32(header[24:], 1<<16)
	be.PutUint32(header[28:], uint32(entries))
	be.PutUint32(header[32:], block)
	var sum uint32
	for _, c := range header {
		sum += uint32(c)
	}
	be.PutUint32(header[36:], ^sum)
	return b
}

// qcow2Of is a disk of a size that begins with some bytes.
func qcow2Of(t testing.TB, size int64, start []byte) string {
	t.Helper()
	if _, err := exec.LookPath("qemu-io"); err != nil {
		t.Skip("skipped: qemu-io is not installed")
	}
	file := filepath.Join(t.TempDir(), "disk.qcow2")
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", file, fmt.Sprint(size)).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	content := write(t, "start", start)
	if out, err := exec.Command("qemu-io", "-f", "qcow2", "-c", fmt.Sprintf("write -s %s 0 %d", content, len(start)), file).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return file
}
