package ova

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/disk/image"
)

type file struct{ name, text string }

// pack makes an archive by the standard library.
func pack(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Typeflag: tar.TypeReg, Size: int64(len(f.text)), Mode: 0o600}
		if strings.HasSuffix(f.name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if target, ok := strings.CutPrefix(f.text, "-> "); ok {
			h.Typeflag, h.Linkname, h.Size, f.text = tar.TypeSymlink, target, 0, ""
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// envelopeOf is a descriptor with these References and Disks.
func envelopeOf(files, disks string) string {
	return `<?xml version="1.0"?><Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"><References>` + files +
		`</References><DiskSection><Info/>` + disks + `</DiskSection><VirtualSystem ovf:id="vm"><Info/></VirtualSystem></Envelope>`
}

const (
	oneFile = `<File ovf:id="f" ovf:href="d.vmdk"/>`
	oneDisk = `<Disk ovf:diskId="d" ovf:fileRef="f" ovf:capacity="20" ovf:capacityAllocationUnits="byte * 2^30" ovf:format="x#streamOptimized"/>`
)

func openBytes(b []byte) (*Archive, error) { return Open(bytes.NewReader(b), int64(len(b))) }

func TestOpenOthers(t *testing.T) {
	virtualBox := `<?xml version="1.0"?>
<Envelope ovf:version="1.0" xml:lang="en-US" xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData" xmlns:vbox="http://www.virtualbox.org/ovf/machine">
<References><File ovf:id="file1" ovf:href="a%20b.vmdk"/><File ovf:id="file2" ovf:href="boot.nvram"/></References>
<DiskSection><Info/><Disk ovf:capacity="8" ovf:capacityAllocationUnits="GigaBytes" ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized" vbox:uuid="7e"/>
<Disk ovf:capacity="8" ovf:diskId="empty"/></DiskSection>
<VirtualSystem ovf:id="vm"><Info/><OperatingSystemSection ovf:id="96"><Info/><Description>Debian_64</Description><vbox:OSType ovf:required="false">Debian_64</vbox:OSType></OperatingSystemSection>
<VirtualHardwareSection><Info/><System><vssd:VirtualSystemType>virtualbox-2.2</vssd:VirtualSystemType></System>
<Item><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>3</rasd:VirtualQuantity></Item>
<Item><rasd:AllocationUnits>MegaBytes</rasd:AllocationUnits><rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>512</rasd:VirtualQuantity></Item>
<Item><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceSubType>AHCI</rasd:ResourceSubType><rasd:ResourceType>20</rasd:ResourceType></Item>
<Item><rasd:HostResource>/disk/vmdisk1</rasd:HostResource><rasd:InstanceID>5</rasd:InstanceID><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
<Item><rasd:InstanceID>6</rasd:InstanceID><rasd:ResourceSubType>E1000</rasd:ResourceSubType><rasd:ResourceType>10</rasd:ResourceType></Item>
</VirtualHardwareSection></VirtualSystem></Envelope>`
	a, err := openBytes(pack(t, file{"./vm.ovf", virtualBox}, file{"./sub/", ""}, file{"./a b.vmdk", "the disk"}, file{"./link", "-> /etc/passwd"}))
	if err != nil {
		t.Fatal(err)
	}
	want := Machine{Name: "vm", Type: "virtualbox-2.2", OSID: 96, OSDescription: "Debian_64", CPUs: 3, MemoryMiB: 512, Controller: "AHCI", NetworkAdapter: "E1000",
		Disk: Disk{Name: "a b.vmdk", Format: "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized", Capacity: 8 << 30}}
	if a.Machine != want {
		t.Errorf("got\n%+v, want\n%+v", a.Machine, want)
	}
	r, size := a.Disk()
	if b, err := io.ReadAll(io.NewSectionReader(r, 0, size)); err != nil || string(b) != "the disk" {
		t.Errorf("the disk is %q, %v", b, err)
	}
	if err := a.Verify(t.Context()); !errors.Is(err, ErrNoManifest) {
		t.Errorf("verify without a manifest: %v", err)
	}
}

// Of several machines it is the one that the disk is in.
func TestOpenCollection(t *testing.T) {
	text := strings.NewReplacer("<VirtualSystem ", "<VirtualSystemCollection><VirtualSystem><Name>first</Name></VirtualSystem><VirtualSystem ", "<Info/></VirtualSystem>",
		"<VirtualHardwareSection><Item><HostResource>ovf:/disk/d</HostResource></Item></VirtualHardwareSection></VirtualSystem></VirtualSystemCollection>").Replace(envelopeOf(oneFile, oneDisk))
	a, err := openBytes(pack(t, file{"d.ovf", text}, file{"d.vmdk", "disk"}))
	if err != nil || a.Machine.Name != "vm" {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	disk := file{"d.vmdk", "disk"}
	long := strings.Repeat("<a>", 20_000)
	many := []file{{"d.ovf", envelopeOf(oneFile, oneDisk)}, disk}
	for i := range maxMembers {
		many = append(many, file{fmt.Sprint(i), ""})
	}
	damaged := new(image.FormatError)
	for _, c := range []struct {
		name    string
		archive []byte
		is      error // nil: a FormatError
		message string
	}{
		{"empty", nil, nil, "no .ovf"},
		{"garbage", bytes.Repeat([]byte("garbage "), 1000), nil, "tar"},
		{"no descriptor", pack(t, disk), nil, "no .ovf"},
		{"two descriptors", pack(t, file{"a.ovf", ""}, file{"b.OVF", ""}), nil, "several descriptors"},
		{"two members of one name", pack(t, many[0], disk, file{"./d.vmdk", "other"}), nil, "two members"},
		{"too many members", pack(t, many...), nil, "more than 1024 members"},
		{"no XML", pack(t, file{"d.ovf", "hello"}, disk), nil, "descriptor"},
		{"other XML", pack(t, file{"d.ovf", "<html/>"}, disk), nil, "Envelope"},
		{"not UTF-8", pack(t, file{"d.ovf", `<?xml version="1.0" encoding="UTF-16"?><Envelope/>`}, disk), nil, "UTF-16"},
		{"billion laughs", pack(t, file{"d.ovf", `<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><Envelope><References>&c;</References></Envelope>`}, disk), nil, "entity"},
		{"deep", pack(t, file{"d.ovf", "<Envelope>" + long}, disk), nil, "descriptor"},
		{"large descriptor", pack(t, file{"d.ovf", strings.Repeat(" ", maxDescriptor+1)}, disk), nil, "more than"},
		{"no machine", pack(t, file{"d.ovf", `<Envelope><DiskSection>` + oneDisk + `</DiskSection></Envelope>`}, disk), nil, "VirtualSystem"},
		{"empty collection", pack(t, file{"d.ovf", `<Envelope><VirtualSystemCollection/></Envelope>`}, disk), nil, "VirtualSystem"},
		{"OVF 0.9", pack(t, file{"d.ovf", `<Envelope xmlns="http://www.vmware.com/schema/ovf/1/envelope"/>`}, disk), errors.ErrUnsupported, "OVF 0.9"},
		{"no disk", pack(t, file{"d.ovf", envelopeOf(oneFile, `<Disk diskId="d" capacity="5"/>`)}, disk), ErrNoDisk, "no disk"},
		{"two disks", pack(t, file{"d.ovf", envelopeOf(oneFile, oneDisk+strings.ReplaceAll(oneDisk, `"d"`, `"e"`))}, disk), ErrSeveralDisks, `"d" and "e"`},
		{"delta disk", pack(t, file{"d.ovf", envelopeOf(oneFile, strings.Replace(oneDisk, "/>", ` ovf:parentRef="p"/>`, 1))}, disk), nil, "what changed"},
		{"no reference", pack(t, file{"d.ovf", envelopeOf("", oneDisk)}, disk), nil, "does not list"},
		{"missing", pack(t, file{"d.ovf", envelopeOf(oneFile, oneDisk)}), ErrOutside, "d.vmdk"},
		{"a link", pack(t, file{"d.ovf", envelopeOf(oneFile, oneDisk)}, file{"d.vmdk", "-> /etc/passwd"}), ErrOutside, "d.vmdk"},
		{"absolute", outside(t, "/etc/passwd"), ErrOutside, "/etc/passwd"},
		{"above", outside(t, "../d.vmdk"), ErrOutside, "../d.vmdk"},
		{"above, encoded", outside(t, "..%2fd.vmdk"), ErrOutside, "..%2fd.vmdk"},
		{"backslash", outside(t, `..\d.vmdk`), ErrOutside, `d.vmdk`},
		{"http", outside(t, "http://example.com/d.vmdk"), ErrOutside, "http://example.com"},
		{"host", outside(t, "//server/d.vmdk"), ErrOutside, "//server"},
		{"file", outside(t, "file:d.vmdk"), ErrOutside, "file:d.vmdk"},
		{"compressed", pack(t, file{"d.ovf", envelopeOf(`<File ovf:id="f" ovf:href="d.vmdk" ovf:compression="gzip"/>`, oneDisk)}, disk), ErrCompressed, "gzip"},
		{"chunked", pack(t, file{"d.ovf", envelopeOf(`<File ovf:id="f" ovf:href="d.vmdk" ovf:chunkSize="1000"/>`, oneDisk)}, disk), ErrChunked, "chunks"},
	} {
		_, err := openBytes(c.archive)
		if c.is == nil && !errors.As(err, &damaged) || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(fmt.Sprint(err), c.message) {
			t.Errorf("%s: %v, want %v with %q", c.name, err, c.is, c.message)
		}
	}
}

// outside is an archive whose disk is said to be elsewhere, with members by all names that a careless reader would then look for.
func outside(t *testing.T, href string) []byte {
	return pack(t, file{"d.ovf", envelopeOf(`<File ovf:id="f" ovf:href="`+href+`"/>`, oneDisk)}, file{"d.vmdk", "disk"}, file{href, "disk"})
}

func TestOpenCutOff(t *testing.T) {
	b := pack(t, file{"d.ovf", envelopeOf(oneFile, oneDisk)}, file{"d.vmdk", strings.Repeat("disk", 1000)})
	damaged := new(image.FormatError)
	for _, n := range []int{1, 511, 512, 700, 1400, 1536, 2048, 4000} {
		if _, err := openBytes(b[:n]); !errors.As(err, &damaged) {
			t.Errorf("of %d bytes: %v", n, err)
		}
	}
	// The disk may be all there and yet the end missing, as where a download stops: tar takes it, and so do we.
	if _, err := openBytes(b[:len(b)-1024]); err != nil {
		t.Error(err)
	}
}

// Extended headers without end are given up before they are all read.
func TestOpenHeaders(t *testing.T) {
	h := pack(t, file{strings.Repeat("long", 100), ""})[:1024] // a pax header and its records
	n := 0
	r := readerAt(func(p []byte, at int64) (int, error) {
		n += len(p)
		for i := range p {
			p[i] = h[(at+int64(i))%int64(len(h))]
		}
		return len(p), nil
	})
	damaged := new(image.FormatError)
	if _, err := Open(r, 1<<40); !errors.As(err, &damaged) || n > 2*maxHeaders {
		t.Errorf("%d bytes read: %v", n, err)
	}
	broken := errors.New("broken cable")
	if _, err := Open(readerAt(func([]byte, int64) (int, error) { return 0, broken }), 1<<20); !errors.Is(err, broken) {
		t.Errorf("a file that cannot be read: %v", err)
	}
}

type readerAt func([]byte, int64) (int, error)

func (f readerAt) ReadAt(p []byte, at int64) (int, error) { return f(p, at) }

func TestVerify(t *testing.T) {
	ovf, disk := envelopeOf(oneFile, oneDisk), strings.Repeat("disk", 1<<19)
	good := fmt.Sprintf("SHA1 (d.ovf) = %x\r\nSHA512(d.vmdk)= %X\n", sha1.Sum([]byte(ovf)), sha512.Sum512([]byte(disk)))
	for _, c := range []struct{ name, manifest, message string }{
		{"good", good, ""},
		{"other disk", strings.Replace(good, "SHA512(d.vmdk)= ", "SHA512(d.vmdk)= 00", 1), `"d.vmdk" has the SHA512 digest`},
		{"both", "SHA1(d.ovf)= 00\nSHA256(d.vmdk)= 11\n", `"d.vmdk" has the SHA256 digest`},
		{"unknown algorithm", "MD5(d.ovf)= 00\n", "line 1 is not a digest"},
		{"not in the archive", good + "SHA256(e.vmdk)= 00\n", `line 3: "e.vmdk" is not in the archive`},
		{"twice", good + good, `line 3: "d.ovf" is listed twice`},
		{"incomplete", strings.Split(good, "\n")[0], `no digest of "d.vmdk"`},
		{"empty", "", `no digest of "d.ovf"`},
		{"large", strings.Repeat("\n", maxManifest+1), "more than"},
	} {
		a, err := openBytes(pack(t, file{"d.ovf", ovf}, file{"d.mf", c.manifest}, file{"d.vmdk", disk}))
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Verify(t.Context()); (err == nil) != (c.message == "") || err != nil && !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: %v, want %q", c.name, err, c.message)
		}
		if c.name == "both" {
			if err := a.Verify(t.Context()); !strings.Contains(err.Error(), `"d.ovf"`) {
				t.Errorf("only the first difference is told: %v", err)
			}
		}
		if c.name == "good" {
			ctx, cancel := context.WithCancelCause(t.Context())
			why := errors.New("enough")
			cancel(why)
			if err := a.Verify(ctx); !errors.Is(err, why) {
				t.Errorf("cancelled: %v", err)
			}
		}
	}
}

// A descriptor full of empty elements takes memory in proportion to its length, which is bounded.
func TestOpenMemory(t *testing.T) {
	items := strings.Repeat("<Item/>", (maxDescriptor-200)/7)
	b := pack(t, file{"d.ovf", "<Envelope><VirtualSystem><VirtualHardwareSection>" + items + "</VirtualHardwareSection></VirtualSystem></Envelope>"})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := openBytes(b); !errors.Is(err, ErrNoDisk) {
		t.Error(err)
	}
	if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > 200<<20 {
		t.Errorf("%d MiB of memory were taken", (after.TotalAlloc-before.TotalAlloc)>>20)
	}
}

func TestIs(t *testing.T) {
	if b := pack(t, file{"d.ovf", ""}); !Is(b[:512]) || Is(b[:511]) || Is(pack(t, file{"d.vmdk", ""})) {
		t.Error("an OVA is not told from another tar archive")
	}
}

func TestBytesOf(t *testing.T) {
	for _, c := range []struct {
		number, unit string
		want         int64
	}{{"20", "byte * 2^30", 20 << 30}, {"7", "", 7}, {"7", "byte", 7}, {"1", "GigaBytes", 1 << 30}, {"9223372036854775807", "byte * 2^1", 0}, {"-1", "", 0}, {"${size}", "", 0}, {"1", "furlong", 0}, {"1", "byte*2^63", 0}} {
		if got := bytesOf(c.number, c.unit); got != c.want {
			t.Errorf("%s %s: %d, want %d", c.number, c.unit, got, c.want)
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(pack(f, file{"d.ovf", envelopeOf(oneFile, oneDisk)}, file{"d.vmdk", "disk"}, file{"d.mf", "SHA1(d.vmdk)= 00\n"}))
	f.Add(pack(f, file{strings.Repeat("long", 60) + ".ovf", envelopeOf(oneFile, oneDisk)}))
	f.Add(pack(f, file{"d.ovf", `<Envelope><References><File id="f" href="%2e%2e/x"/></References><DiskSection><Disk fileRef="f"/></DiskSection><VirtualSystem/></Envelope>`}))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := openBytes(b)
		if err != nil {
			return
		}
		r, size := a.Disk()
		if size < 0 || size > int64(len(b)) {
			t.Fatalf("a disk of %d bytes in %d", size, len(b))
		}
		if n, err := io.Copy(io.Discard, io.NewSectionReader(r, 0, size)); err != nil || n != size {
			t.Fatalf("%d of %d bytes: %v", n, size, err)
		}
		if err := a.Verify(t.Context()); err != nil && strings.Contains(err.Error(), "EOF") {
			t.Fatal(err)
		}
	})
}

// FuzzDescriptor gets at the XML without a tar header's check sum in the way.
func FuzzDescriptor(f *testing.F) {
	f.Add([]byte(envelopeOf(oneFile, oneDisk)))
	m, err := Options{Firmware: "efi", OSType: "debian12"}.resolve()
	if err != nil {
		f.Fatal(err)
	}
	text, err := m.descriptor(diskFile{"d.vmdk", 1 << 30, 1000, 10})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := openBytes(pack(t, file{"d.ovf", string(b)}, file{"d.vmdk", "disk"}))
		if err == nil && (a.Machine.Disk.Name != "d.vmdk" && a.Machine.Disk.Name != "d.ovf" || a.Machine.Disk.Capacity < 0 || a.Machine.MemoryMiB < 0) {
			t.Fatalf("%+v", a.Machine)
		}
	})
}
