package inspect

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"
	"time"
)

// What is read is bounded in bytes and in time, wherever it is read, and the report says so.
func TestMeter(t *testing.T) {
	disk, err := os.ReadFile(hybrid(t, debian(t)))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		most    time.Duration
		bytes   int64
		problem string
	}{
		{time.Minute, 600 << 10, "more is to be read"}, {time.Minute, 2 << 20, "more is to be read"}, {-time.Second, 1 << 30, "takes longer"}, {time.Minute, 1 << 30, ""},
	} {
		m := newMeter(t.Context(), test.most, test.bytes)
		r, err := inspect(t.Context(), memory(disk), Options{}, m)
		if test.most < 0 {
			if err == nil || !strings.Contains(err.Error(), test.problem) { // not even the partition table was read
				t.Errorf("%+v, %v", r, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%v, %d: %v", test.most, test.bytes, err)
			continue
		}
		told := false
		for _, p := range r.Problems {
			told = told || p.Where == "disk" && strings.Contains(p.What, test.problem)
		}
		if told != (test.problem != "") || len(r.Problems) > 8 {
			t.Errorf("%v, %d: %v", test.most, test.bytes, r.Problems)
		}
	}
	m := newMeter(t.Context(), time.Hour, 10)
	resume := m.pause()
	m.deadline = time.Now().Add(10 * time.Millisecond)
	time.Sleep(50 * time.Millisecond)
	if err := m.take(1000); err != nil {
		t.Errorf("while somebody else reads: %v", err)
	}
	resume()
	if err := m.take(10); err != nil {
		t.Errorf("after somebody else read: %v", err)
	}
	if err := m.take(1); err == nil || m.exhausted() == nil || m.take(0) == nil {
		t.Error("there is no end")
	}
}

// One small file must not make work without end.
func TestSmallFilesThatCostMuch(t *testing.T) {
	defer quick(t, 20*time.Second)()
	long := strings.Repeat("x ", 1<<20)
	for name, content := range map[string]string{
		"boot/grub/grub.cfg":           "menuentry A {\nlinux /a\ninitrd " + long + "\n}\n",
		"boot/grub2/grub.cfg":          "menuentry A {\n" + strings.Repeat("linux /a\n", 400000) + "}\n",
		"boot/grub/menu.lst":           "title A\nkernel /a\n" + strings.Repeat("initrd /x\n", 400000),
		"boot/extlinux.conf":           "label A\nkernel a\n" + strings.Repeat("initrd x\n", 400000),
		"boot/loader/entries/a.conf":   "linux /a\ninitrd " + long[:1000] + "\n" + strings.Repeat("initrd /x\n", 400000),
		"boot/loader/entries/b.conf":   strings.Repeat("linux /a\n", 400000),
		"boot/syslinux/syslinux.cfg":   "label A\n" + strings.Repeat("kernel /a\n", 400000),
		"boot/grub/grub.conf":          "title A\n" + strings.Repeat("kernel /a\n", 400000),
		"boot/efi/EFI/debian/grub.cfg": "menuentry A {\nlinux /a\n" + strings.Repeat("initrd /x\n", 400000) + "}\n",
	} {
		r := rootOfFiles(map[string][]byte{name: []byte(content)})
		const budget = 1 << 30
		r.contents = &contents{meter: newMeter(t.Context(), time.Hour, budget)}
		var b Boot
		r.bootConfigs(&b)
		if len(b.Entries) != 1 || !strings.HasSuffix(b.Entries[0].Kernel, "a") || len(b.Entries[0].Initrds) > maxInitrds {
			t.Errorf("%s: %d entries", name, len(b.Entries))
		}
		if lookups := (budget - r.contents.meter.left) / lookup; lookups > 100000 { // reading the file is as much as 16384
			t.Errorf("%s: as much as %d lookups", name, lookups)
		}
	}
}

// Packages that lie in the same place, over and over.
func TestRPMRepeated(t *testing.T) {
	le := binary.LittleEndian
	ndb := rpmNDBFile(rpmPackages[0])
	for at := 32; at < 4096; at += 16 {
		copy(ndb[at:at+16], ndb[32:48])
	}
	bdb := rpmBDBFile(rpmPackages[0])
	page := bdb[512:1024]
	le.PutUint16(page[20:], 200)
	for i := 1; i < 200; i += 2 {
		copy(page[26+2*i:], page[28:30])
	}
	for _, test := range []struct {
		name string
		b    []byte
	}{{"var/lib/rpm/Packages.db", ndb}, {"var/lib/rpm/Packages", bdb}} {
		p := rootOfFiles(map[string][]byte{test.name: test.b}).packages(t.Context())
		if !strings.Contains(p.Problem, "damaged") || len(p.List) > 40 {
			t.Errorf("%s: %d packages, %q", test.name, len(p.List), p.Problem)
		}
	}
}
