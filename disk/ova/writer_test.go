package ova

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/disk/image"
)

// sparse is a disk in memory, of which only some pieces are stored.
type sparse struct {
	size   int64
	pieces []image.Extent
	data   map[int64][]byte // by start of the piece
}

func newSparse(size int64, starts ...int64) *sparse {
	s := &sparse{size: size, data: map[int64][]byte{}}
	r := rand.New(rand.NewPCG(1, 2))
	for _, start := range starts {
		b := make([]byte, min(200_000, size-start))
		for i := range b {
			b[i] = byte(r.IntN(7)) // compresses
		}
		s.pieces = append(s.pieces, image.Extent{Start: start, Size: int64(len(b))})
		s.data[start] = b
	}
	return s
}

func (s *sparse) Size() int64 { return s.size }

func (s *sparse) Extents(_ context.Context, f func(image.Extent) error) error {
	for _, e := range s.pieces {
		if err := f(e); err != nil {
			return err
		}
	}
	return nil
}

func (s *sparse) ReadAt(p []byte, at int64) (int, error) {
	clear(p)
	for start, b := range s.data {
		if lo, hi := max(start, at), min(start+int64(len(b)), at+int64(len(p))); lo < hi {
			copy(p[lo-at:hi-at], b[lo-start:hi-start])
		}
	}
	return len(p), nil
}

// whole is the same disk without a hole.
type whole struct{ image.Source }

func (w whole) Extents(_ context.Context, f func(image.Extent) error) error {
	return f(image.Extent{Size: w.Size()})
}

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

func write(t *testing.T, path string, src image.Source, o Options, workers int) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := NewWriter(f, src.Size(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := image.Copy(t.Context(), src, image.CopyOptions{Workers: workers}, w); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, path string) *Archive {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	a, err := Open(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

const testSize = 300<<20 + 512

func testDisk() *sparse { return newSparse(testSize, 0, 1<<20-1000, 40<<20, 299<<20, testSize-512) }

var machines = []struct {
	name string
	o    Options
	want Machine
}{
	{"plain", Options{}, Machine{Name: "disk", Type: "vmx-15", Firmware: "bios", OSID: 101, GuestID: "otherLinux64Guest", OSDescription: "Linux (64-bit)", CPUs: 2, MemoryMiB: 2048,
		Controller: "VirtualSCSI", NetworkAdapter: "VmxNet3"}},
	{"efi", Options{Name: `Web & "db" <é>/../x`, Firmware: "efi", SecureBoot: true, HardwareVersion: 20, OSType: "debian12", CPUs: 4, MemoryMiB: 4096, Controller: "nvme", Network: "a & b"},
		Machine{Name: `Web & "db" <é>/../x`, Type: "vmx-20", Firmware: "efi", SecureBoot: true, OSID: 96, GuestID: "debian12_64Guest", OSDescription: "Debian GNU/Linux 12 (64-bit)",
			CPUs: 4, MemoryMiB: 4096, Controller: "vmware.nvme.controller", NetworkAdapter: "VmxNet3"}},
	{"windows", Options{Name: "win", Firmware: "EFI", OSType: "Windows Server 2022", HardwareVersion: 19}, Machine{Name: "win", Type: "vmx-19", Firmware: "efi", OSID: 112,
		GuestID: "windows2019srvNext_64Guest", OSDescription: "Microsoft Windows 2022 (64-bit)", CPUs: 2, MemoryMiB: 2048, Controller: "vmware.sata.ahci", NetworkAdapter: "E1000e"}},
	{"ide", Options{Name: "old", Controller: "ide", HardwareVersion: 7, NetworkAdapter: "e1000", OSType: "rhel9"}, Machine{Name: "old", Type: "vmx-7", Firmware: "bios", OSID: 80,
		GuestID: "rhel6_64Guest", OSDescription: "Red Hat Enterprise Linux 9 (64-bit)", CPUs: 2, MemoryMiB: 2048, Controller: "IDE", NetworkAdapter: "E1000"}},
	{"lsilogic", Options{Name: "lsi", Controller: "LSILogic", OSType: "ubuntu24.04"}, Machine{Name: "lsi", Type: "vmx-15", Firmware: "bios", OSID: 94, GuestID: "ubuntu64Guest",
		OSDescription: "Ubuntu Linux 24.04 (64-bit)", CPUs: 2, MemoryMiB: 2048, Controller: "lsilogic", NetworkAdapter: "VmxNet3"}},
}

// What is written is an archive that tar reads, whose manifest sha256sum agrees with, whose descriptor is valid and says what was asked for, and whose disk QEMU
// finds to be the source where it lies in the archive.
func TestWriter(t *testing.T) {
	dir := t.TempDir()
	src := testDisk()
	raw := filepath.Join(dir, "raw")
	rf, err := os.Create(raw)
	if err != nil {
		t.Fatal(err)
	}
	rw, err := image.NewRawWriter(rf, testSize)
	if err != nil {
		t.Fatal(err)
	}
	if err := image.Copy(t.Context(), src, image.CopyOptions{}, rw); err != nil {
		t.Fatal(err)
	}
	rf.Close()
	for _, m := range machines {
		t.Run(m.name, func(t *testing.T) {
			path := filepath.Join(dir, m.name+".ova")
			write(t, path, src, m.o, 2)
			a := open(t, path)
			m.want.Disk = Disk{Name: fileName(m.want.Name) + "-disk1.vmdk", Format: "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized", Capacity: testSize, Populated: 17*65536 + 512}
			if a.Machine != m.want {
				t.Errorf("read back\n%+v, want\n%+v", a.Machine, m.want)
			}
			if err := a.Verify(t.Context()); err != nil {
				t.Error(err)
			}
			unpacked := t.TempDir()
			list := tool(t, "tar", "-tvf", path)
			base := fileName(m.want.Name)
			lines := strings.Split(strings.TrimSpace(list), "\n")
			if len(lines) != 3 || !strings.HasSuffix(lines[0], " "+base+".ovf") || !strings.HasSuffix(lines[1], " "+base+"-disk1.vmdk") || !strings.HasSuffix(lines[2], " "+base+".mf") {
				t.Errorf("tar lists\n%s", list)
			}
			tool(t, "tar", "-C", unpacked, "-xf", path)
			checkManifest(t, filepath.Join(unpacked, base+".mf"))
			tool(t, "xmllint", "--noout", "--nonet", "--schema", "testdata/schema/ovf.xsd", filepath.Join(unpacked, base+".ovf"))
			if schema := os.Getenv("INGOT_DSP8023"); schema != "" {
				tool(t, "xmllint", "--noout", "--nonet", "--schema", schema, filepath.Join(unpacked, base+".ovf"))
			}
			vmdk := fmt.Sprintf(`json:{"driver":"vmdk","file":{"driver":"raw","offset":%d,"size":%d,"file":{"driver":"file","filename":%q}}}`, a.disk.Start, a.disk.Size, path)
			tool(t, "qemu-img", "compare", "-f", "raw", raw, vmdk)
			tool(t, "qemu-img", "check", "-f", "vmdk", filepath.Join(unpacked, base+"-disk1.vmdk"))
			adapter := "lsilogic"
			if m.o.Controller == "ide" {
				adapter = "ide"
			}
			head := make([]byte, 8192)
			disk, _ := a.Disk()
			disk.ReadAt(head, 0)
			if !bytes.Contains(head, []byte(`ddb.adapterType = "`+adapter+`"`)) {
				t.Errorf("the VMDK is not for adapter %s", adapter)
			}
		})
	}
}

// checkManifest gives the manifest to sha256sum, which wants spaces in it.
func checkManifest(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text = regexp.MustCompile(`(?m)^SHA256\((.*)\)= `).ReplaceAll(text, []byte("SHA256 ($1) = "))
	sums := path + ".sums"
	if err := os.WriteFile(sums, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sha256sum", "--strict", "-c", sums)
	cmd.Dir = filepath.Dir(path)
	if out, err := cmd.CombinedOutput(); err != nil || strings.Count(string(out), ": OK") != 2 {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}
}

// The schema is worth something: descriptors that are wrong do not pass.
func TestSchemaRefuses(t *testing.T) {
	m, err := Options{}.resolve()
	if err != nil {
		t.Fatal(err)
	}
	text, err := m.descriptor(diskFile{"disk.vmdk", 1 << 30, 1000, 10})
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{"#streamOptimized", "#sparse"}, {"vmx-15", "virtualbox-2.2"}, {`ovf:fileRef="file1"`, `ovf:fileRef="file2"`}, {"<rasd:Parent>3<", "<rasd:Parent>9<"},
		{"rasd:AddressOnParent", "rasd:Zone"}, {`ovf:required="false" `, ""}, {"<vssd:InstanceID>0</vssd:InstanceID>", ""},
	} {
		path := filepath.Join(t.TempDir(), "x.ovf")
		if err := os.WriteFile(path, bytes.ReplaceAll(text, []byte(change[0]), []byte(change[1])), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := exec.LookPath("xmllint"); err != nil {
			t.Skip("xmllint is not installed")
		}
		if out, err := exec.Command("xmllint", "--noout", "--nonet", "--schema", "testdata/schema/ovf.xsd", path).CombinedOutput(); err == nil || !strings.Contains(string(out), "fails to validate") {
			t.Errorf("%s for %s passes: %s", change[1], change[0], out)
		}
	}
}

// The same disk gives the same bytes, however many workers there are and wherever its source has holes.
func TestDeterministic(t *testing.T) {
	dir := t.TempDir()
	var first []byte
	for i, c := range []struct {
		src     image.Source
		workers int
	}{{testDisk(), 1}, {testDisk(), 4}, {whole{testDisk()}, 3}} {
		path := filepath.Join(dir, fmt.Sprint(i))
		write(t, path, c.src, Options{Name: "same", OSType: "debian13"}, c.workers)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = b
		} else if !bytes.Equal(b, first) {
			t.Errorf("writing %d gave other bytes", i)
		}
	}
	if len(first)%10240 != 0 {
		t.Errorf("%d bytes are no whole records", len(first))
	}
}

// failing is a file on a disk that is full.
type failing struct {
	room int64
	at   int64
}

var errFull = errors.New("disk full")

func (f *failing) Write(p []byte) (int, error) {
	if f.at += int64(len(p)); f.at > f.room {
		return 0, errFull
	}
	return len(p), nil
}

func (f *failing) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

// unpatched takes no writes behind what was written.
type unpatched struct{ failing }

func (f *unpatched) WriteAt([]byte, int64) (int, error) { return 0, errFull }

func TestWriteErrors(t *testing.T) {
	src := testDisk()
	run := func(f File) error {
		w, err := NewWriter(f, testSize, Options{})
		if err != nil {
			return err
		}
		return image.Copy(t.Context(), src, image.CopyOptions{}, w)
	}
	for _, room := range []int64{0, 512, 8000, 70_000, 150_000} {
		if err := run(&failing{room: room}); !errors.Is(err, errFull) {
			t.Errorf("with room for %d bytes: %v", room, err)
		}
	}
	if err := run(&failing{room: 1 << 40}); err != nil {
		t.Error(err)
	}
	if err := run(&unpatched{failing{room: 1 << 40}}); !errors.Is(err, errFull) {
		t.Errorf("without patching: %v", err)
	}
	if _, err := NewWriter(&failing{room: 1 << 30}, 1<<20, Options{CPUs: -1}); err == nil || !strings.HasPrefix(err.Error(), "write ova: ") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	w, err := NewWriter(&failing{room: 1 << 40}, testSize, Options{})
	if err != nil {
		t.Fatal(err)
	}
	stop := image.CopyOptions{Progress: func(done, _ int64) {
		if done > 0 {
			cancel(why)
		}
	}}
	if err := image.Copy(ctx, src, stop, w); !errors.Is(err, why) {
		t.Errorf("cancelled: %v", err)
	}
}
