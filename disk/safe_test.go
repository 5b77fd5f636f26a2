package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// qcow2Header makes a small well-formed qcow2 version 3 file of 64 KiB clusters for tests to damage.
func qcow2Header(size uint64, edit func(b []byte)) []byte {
	be := binary.BigEndian
	b := make([]byte, 4<<16)
	copy(b, "QFI\xfb")
	be.PutUint32(b[4:], 3)
	be.PutUint32(b[20:], 16)
	be.PutUint64(b[24:], size)
	be.PutUint32(b[36:], 1)     // L1 entries
	be.PutUint64(b[40:], 3<<16) // L1 table
	be.PutUint64(b[48:], 1<<16) // refcount table
	be.PutUint32(b[56:], 1)
	be.PutUint32(b[96:], 4)
	be.PutUint32(b[100:], 104)
	if edit != nil {
		edit(b)
	}
	return b
}

func vmdkHeader(descriptor string, edit func(b []byte)) []byte {
	le := binary.LittleEndian
	b := make([]byte, 64<<10)
	copy(b, "KDMV")
	le.PutUint32(b[4:], 1)
	le.PutUint32(b[8:], 3)
	le.PutUint64(b[12:], 20480) // 10 MiB
	le.PutUint64(b[20:], 128)
	le.PutUint64(b[28:], 1)
	le.PutUint64(b[36:], 20)
	le.PutUint32(b[44:], 512)
	le.PutUint64(b[56:], 21)
	copy(b[73:], "\n \r\n")
	copy(b[512:], descriptor)
	if edit != nil {
		edit(b)
	}
	return b
}

const vmdkText = "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"monolithicSparse\"\n\nRW 20480 SPARSE \"a.vmdk\"\n"

func vhdFooter(kind uint32, size uint64) []byte {
	be := binary.BigEndian
	b := make([]byte, 512)
	copy(b, "conectix")
	be.PutUint32(b[12:], 0x10000)
	be.PutUint64(b[16:], 512)
	be.PutUint64(b[48:], size)
	be.PutUint32(b[60:], kind)
	return vhdSum(b, 64)
}

func vhdSum(b []byte, at int) []byte {
	clear(b[at : at+4])
	var sum uint32
	for _, c := range b {
		sum += uint32(c)
	}
	binary.BigEndian.PutUint32(b[at:], ^sum)
	return b
}

func vhdDynamic(kind uint32, size uint64, edit func(dyn []byte)) []byte {
	be := binary.BigEndian
	foot := vhdFooter(kind, size)
	dyn := make([]byte, 1024)
	copy(dyn, "cxsparse")
	be.PutUint64(dyn[16:], 1536)
	be.PutUint32(dyn[24:], 0x10000)
	be.PutUint32(dyn[28:], 8)
	be.PutUint32(dyn[32:], 2<<20)
	if edit != nil {
		edit(dyn)
	}
	bat := make([]byte, 512)
	for i := range bat {
		bat[i] = 0xff
	}
	b := append(append([]byte(nil), foot...), vhdSum(dyn, 36)...)
	return append(append(b, bat...), foot...)
}

func TestCheckSafe(t *testing.T) {
	be, le := binary.BigEndian, binary.LittleEndian
	raw := make([]byte, 1<<20)
	raw[510], raw[511] = 0x55, 0xaa
	tests := []struct {
		name string // the file's
		want Format
		data []byte
		fail string // in the error; empty: accepted
	}{
		{"good.raw", "", raw, ""},
		{"good.img", "", raw, ""},
		{"good.bin", Raw, raw, ""},
		{"unnamed", "", raw, "does not tell the format"},
		{"empty.raw", "", nil, "empty"},
		{"odd.raw", "", raw[:1000], "multiple of 512"},
		{"good.qcow2", "", qcow2Header(1<<20, nil), ""},
		{"good.vmdk", "", vmdkHeader(vmdkText, nil), ""},
		{"good.vhd", "", vhdDynamic(3, 10<<20, nil), ""},
		{"fixed.vhd", "", append(make([]byte, 1<<20), vhdFooter(2, 1<<20)...), ""},

		// content of another format than was said
		{"attack.raw", "", qcow2Header(1<<20, nil), "named as raw, but the content is qcow2"},
		{"attack.qcow2", Raw, qcow2Header(1<<20, nil), "declared as raw, but the content is qcow2"},
		{"attack2.raw", "", vmdkHeader(vmdkText, nil), "content is vmdk"},
		{"attack3.raw", "", []byte(strings.Repeat(" \n#x\n", 8) + "version=1\nRW 1 FLAT \"/etc/shadow\" 0\n" + strings.Repeat("\n", 512)), "content is vmdk"},
		{"attack4.raw", "", append(make([]byte, 1<<20), vhdFooter(2, 1<<20)...), "content is vhd"},
		{"no.qcow2", "", raw, "content is raw"},
		{"packed.raw", "", append([]byte("\x1f\x8b\x08"), raw...), "decompress it first"},
		{"vm.vmdk", "", append(make([]byte, 257), append([]byte("ustar"), raw...)...), "unpack it with tar"},
		{"hyperv.vhd", "", append([]byte("vhdxfile"), raw...), "content is vhdx"},
		{"old.qcow2", "", qcow2Header(1<<20, func(b []byte) { be.PutUint32(b[4:], 1) }), "content is qcow;"},

		// qcow2
		{"backing.qcow2", "", qcow2Header(1<<20, func(b []byte) {
			be.PutUint64(b[8:], 512)
			be.PutUint32(b[16:], 11)
			copy(b[512:], "/etc/shadow")
		}), `backing file "/etc/shadow"`},
		{"longname.qcow2", "", qcow2Header(1<<20, func(b []byte) { be.PutUint64(b[8:], 512); be.PutUint32(b[16:], 2000) }), "backing file name of 2000 bytes"},
		{"data.qcow2", "", qcow2Header(1<<20, func(b []byte) {
			be.PutUint64(b[72:], 4)
			be.PutUint32(b[104:], 0x44415441)
			be.PutUint32(b[108:], 11)
			copy(b[112:], "/etc/passwd")
		}), `external data file "/etc/passwd"`},
		{"databit.qcow2", "", qcow2Header(1<<20, func(b []byte) { be.PutUint64(b[72:], 4) }), "external data file"},
		{"dataext.qcow2", "", qcow2Header(1<<20, func(b []byte) {
			be.PutUint32(b[104:], 0x6803f857) // feature names come first
			be.PutUint32(b[108:], 48)
			be.PutUint32(b[160:], 0x44415441)
			be.PutUint32(b[164:], 1)
			b[168] = 'x'
		}), `external data file "x"`},
		{"feature.qcow2", "", qcow2Header(1<<20, func(b []byte) { be.PutUint64(b[72:], 1<<9) }), "unknown incompatible features 0x200"},
		{"corrupt.qcow2", "", qcow2Header(1<<20, func(b []byte) { be.PutUint64(b[72:], 2) }), "marked as corrupt"},
		{"crypt.qcow2", "", qcow2Header(1<<20, func(b []byte) { be.PutUint32(b[32:], 2) }), "encrypted"},
		{"cluster.qcow2", "", qcow2Header(1<<20, func(b []byte) { be.PutUint32(b[20:], 40) }), "cluster_bits is 40"},
		{"version.qcow2", "", qcow2Header(1<<20, func(b []byte) { be.PutUint32(b[4:], 9) }), "unknown version 9"},
		{"huge.qcow2", "", qcow2Header(1<<61, nil), "L1 table"},
		{"big.qcow2", "", append(qcow2Header(100<<40, func(b []byte) {
			be.PutUint32(b[20:], 21)
			be.PutUint64(b[40:], 2<<20)
			be.PutUint64(b[48:], 0)
			be.PutUint32(b[56:], 0)
			be.PutUint32(b[36:], 200)
		}), make([]byte, 4<<20)...), "virtual size of 100 TiB, the limit is 64 TiB"},
		{"l1.qcow2", "", qcow2Header(1<<20, func(b []byte) { be.PutUint64(b[40:], 1<<40) }), "L1 table at offset"},
		{"l1count.qcow2", "", qcow2Header(1<<20, func(b []byte) { be.PutUint32(b[36:], 1<<31) }), "L1 table of"},
		{"l2.qcow2", "", qcow2Header(1<<20, func(b []byte) { be.PutUint64(b[3<<16:], 1<<63|9<<16) }), "L2 table at offset"},
		{"cut.qcow2", "", qcow2Header(1<<20, func(b []byte) { // L2 table in cluster 2, its data beyond the end
			be.PutUint64(b[3<<16:], 1<<63|2<<16)
			be.PutUint64(b[2<<16:], 1<<63|77<<16)
		}), "cut off"},
		{"refcount.qcow2", "", qcow2Header(1<<20, func(b []byte) { be.PutUint64(b[48:], 1<<50) }), "refcount table"},
		{"short.qcow2", "", qcow2Header(1<<20, nil)[:80], "cut off"},

		// VMDK
		{"flat.vmdk", "", []byte("# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 100 FLAT \"/etc/shadow\" 0\n"), `extent "/etc/shadow"`},
		{"dots.vmdk", "", []byte("# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicFlat\"\nRW 100 FLAT \"../../x\" 0\n"), `extent "../../x"`},
		{"device.vmdk", "", []byte("# Disk DescriptorFile\nversion=1\ncreateType=\"fullDevice\"\nRW 100 FLAT \"/dev/sda\" 0\n"), `extent "/dev/sda"`},
		{"parent.vmdk", "", vmdkHeader(strings.Replace(vmdkText, "parentCID=ffffffff", "parentCID=11223344\nparentFileNameHint=\"/etc/shadow\"", 1), nil), `parent "/etc/shadow"`},
		{"hint.vmdk", "", vmdkHeader(strings.Replace(vmdkText, "version=1\n", "version=1\nparentFileNameHint=\"x\"\n", 1), nil), `parent "x"`},
		{"two.vmdk", "", vmdkHeader(vmdkText+"RW 20480 FLAT \"/etc/shadow\" 0\n", nil), `extent "/etc/shadow"`},
		{"capacity.vmdk", "", vmdkHeader(vmdkText, func(b []byte) { le.PutUint64(b[12:], 0) }), "capacity of 0"},
		{"hugegrain.vmdk", "", vmdkHeader(vmdkText, func(b []byte) { le.PutUint64(b[20:], 3) }), "grain size"},
		{"gd.vmdk", "", vmdkHeader(vmdkText, func(b []byte) { le.PutUint64(b[56:], 1<<30) }), "grain directory"},
		{"gt.vmdk", "", vmdkHeader(vmdkText, func(b []byte) { le.PutUint32(b[21*512:], 1<<30) }), "grain table"},
		{"vast.vmdk", "", vmdkHeader(vmdkText, func(b []byte) { le.PutUint64(b[12:], 1<<50) }), "grain directory of"},
		{"cut.vmdk", "", vmdkHeader(vmdkText, func(b []byte) { le.PutUint64(b[56:], 1<<64-1) }), "no footer at the end"},
		{"esx3.vmdk", "", append([]byte("COWD"), raw...), "COWD"},

		// VHD
		{"diff.vhd", "", vhdDynamic(4, 10<<20, func(d []byte) { d[65] = 'p' }), `parent "p"`},
		{"badsum.vhd", "", append(make([]byte, 1<<20), func() []byte { b := vhdFooter(2, 1<<20); b[70] ^= 1; return b }()...), "checksum"},
		{"fixedcut.vhd", "", append(make([]byte, 1<<20), vhdFooter(2, 1<<30)...), "cut off"},
		{"dyncut.vhd", "", vhdDynamic(3, 10<<20, nil)[:2000], "no footer"},
		{"bat.vhd", "", vhdDynamic(3, 10<<20, func(d []byte) { be.PutUint32(d[28:], 1<<20) }), "block allocation table"},
		{"batfew.vhd", "", vhdDynamic(3, 1<<40, nil), "block allocation table of 8 entries"},
		{"block.vhd", "", vhdDynamic(3, 10<<20, func(d []byte) { be.PutUint32(d[32:], 3) }), "block size"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			info, err := CheckSafe(writeFile(t, test.name, test.data), test.want, Limits{})
			if test.fail == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				if info.VirtualSize <= 0 {
					t.Errorf("virtual size %d", info.VirtualSize)
				}
				return
			}
			if err == nil {
				t.Fatalf("accepted as %+v, want an error with %q", info, test.fail)
			}
			var unsafe *UnsafeError
			var format *FormatError
			if !errors.As(err, &unsafe) && !errors.As(err, &format) {
				t.Errorf("error is a %T", err)
			}
			if !strings.Contains(err.Error(), test.fail) {
				t.Errorf("error %q does not say %q", err, test.fail)
			}
		})
	}
}

func TestCheckSafeLimits(t *testing.T) {
	path := writeFile(t, "a.raw", make([]byte, 4096))
	if _, err := CheckSafe(path, "", Limits{VirtualSize: 2048}); err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("virtual size: %v", err)
	}
	if _, err := CheckSafe(path, "", Limits{FileSize: 2048}); err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("file size: %v", err)
	}
}

// A FIFO without a writer would block an ordinary open for ever.
func TestProbeRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo.raw")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{dir: "a folder", fifo: "a FIFO", "/dev/zero": "a device", filepath.Join(dir, "none"): "no such file"} {
		done := make(chan error, 1)
		go func() { _, err := Probe(path); done <- err }()
		select {
		case err := <-done:
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", path, err, want)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("%s: blocked", path)
		}
	}
	if _, err := Probe(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

// What qemu-img writes must be read with its own idea of the size, and be accepted; what it writes with references must not.
func TestProbeAgreesWithQemuImg(t *testing.T) {
	need(t, qemuImg)
	dir := t.TempDir()
	raw := sampleDisk(t, 9<<20)
	tests := []struct {
		file, format, options, variant string
		refs                           int
	}{
		{"a.qcow2", "qcow2", "", "v3", 0},
		{"b.qcow2", "qcow2", "compat=0.10", "v2", 0},
		{"c.qcow2", "qcow2", "cluster_size=512", "v3", 0},
		{"d.qcow2", "qcow2", "cluster_size=2M,preallocation=metadata", "v3", 0},
		{"e.qcow2", "qcow2", "compression_type=zstd", "v3", 0},
		{"f.qcow2", "qcow2", "extended_l2=on,cluster_size=128k", "v3", 0},
		{"g.qcow2", "qcow2", "data_file=" + filepath.Join(dir, "g.data"), "v3", 1},
		{"h.vmdk", "vmdk", "subformat=monolithicSparse", "monolithicSparse", 0},
		{"i.vmdk", "vmdk", "subformat=streamOptimized", "streamOptimized", 0},
		{"j.vmdk", "vmdk", "subformat=monolithicFlat", "monolithicFlat", 1},
		{"k.vmdk", "vmdk", "subformat=twoGbMaxExtentSparse", "twoGbMaxExtentSparse", 1},
		{"l.vhd", "vpc", "subformat=dynamic,force_size=on", "dynamic", 0},
		{"m.vhd", "vpc", "subformat=fixed,force_size=on", "fixed", 0},
	}
	for _, test := range tests {
		t.Run(test.file, func(t *testing.T) {
			path := filepath.Join(dir, test.file)
			args := []string{"convert", "-f", "raw", "-O", test.format}
			if test.options != "" {
				args = append(args, "-o", test.options)
			}
			output(t, qemuImg, append(args, raw, path)...)
			info, err := Probe(path)
			if err != nil {
				t.Fatal(err)
			}
			if info.VirtualSize != 9<<20 || info.Variant != test.variant || len(info.References) != test.refs {
				t.Errorf("got %+v", info)
			}
			if _, err := CheckSafe(path, "", Limits{}); (err == nil) != (test.refs == 0) {
				t.Errorf("CheckSafe: %v", err)
			}
			// Cut off within its data, it must not pass. (qemu-img pads some formats with zeros that nobody reads.)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			used := len(bytes.TrimRight(data, "\x00"))
			for _, part := range []int{1, 2} {
				cut := filepath.Join(t.TempDir(), test.file)
				if err := os.WriteFile(cut, data[:used*part/3], 0o644); err != nil {
					t.Fatal(err)
				}
				if _, err := CheckSafe(cut, "", Limits{}); err == nil {
					t.Errorf("accepted when cut to %d/3", part)
				}
			}
		})
	}
	over := filepath.Join(dir, "over.qcow2")
	if err := CreateOverlay(t.Context(), over, Image{Path: raw, Format: Raw}, 0); err != nil {
		t.Fatal(err)
	}
	info, err := Probe(over)
	if err != nil || len(info.References) != 1 || info.References[0].Name != raw {
		t.Errorf("overlay: %+v, %v", info, err)
	}
}

func TestFormatNames(t *testing.T) {
	for name, want := range map[string]Format{"raw": Raw, "IMG": Raw, "qcow2": Qcow2, "vmdk": VMDK, "vhd": VHD, "vpc": VHD} {
		if got, err := ParseFormat(name); err != nil || got != want {
			t.Errorf("%s: %s, %v", name, got, err)
		}
		if got, ok := FormatOfName("dir/x." + name); !ok || got != want {
			t.Errorf("name %s: %s, %v", name, got, ok)
		}
	}
	for _, f := range Formats() {
		if got, err := ParseFormat(strings.ToUpper(string(f))); err != nil || got != f {
			t.Errorf("%s: %s, %v", f, got, err)
		}
	}
	if _, err := ParseFormat("vdi"); err == nil || !strings.Contains(err.Error(), "use raw, raw+gzip, ") {
		t.Errorf("vdi: %v", err)
	}
	if got := fmt.Sprint(Qcow2.Extension()); got != ".qcow2" {
		t.Error(got)
	}
}
