package inspect

import (
	"bytes"
	"encoding/binary"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestInitrd(t *testing.T) {
	nvme := cpio("usr/lib/modules/x/kernel/drivers/nvme/host/nvme.ko.zst", "init")
	micro := cpio("kernel/x86/microcode/GenuineIntel.bin")
	for _, test := range []struct{ name, content, kind, problem string }{
		{"plain", nvme, "none", ""},
		{"gzip", gzipped(nvme), "gzip", ""},
		{"zstd", zstandard(t, nvme), "zstd", ""},
		{"after microcode", micro + strings.Repeat("\x00", 1000) + gzipped(nvme), "gzip", ""},
		{"several", micro + nvme, "none", ""},
		{"xz, cut off", "\xfd7zXZ\x00rest", "xz", "cut off"},
		{"lz4", micro + "\x02\x21\x4c\x18", "lz4", "cut off"},
		{"lzo", micro + "\x89LZO\x00\r", "lzo", "is not expanded here"},
		{"garbage", "garbage garbage", "", "no archive of a kind that is known"},
		{"empty", "", "", "EOF"},
		{"cut off", nvme[:150], "", "cut off"},
		{"no trailer", gzipped(nvme[:150]), "gzip", "cut off"},
		{"bad header", strings.Replace(nvme, "070701", "07070x", 1), "", "damaged"},
		{"bad length", nvme[:6] + strings.Repeat("f", 104) + nvme[110:], "", "damaged"},
	} {
		r := rootOfFiles(map[string][]byte{"i": []byte(test.content)})
		budget := int64(1 << 20)
		i, inside := r.readInitrd("i", &budget)
		if i.Compression != test.kind || (i.Problem == "") != (test.problem == "") || !strings.Contains(i.Problem, test.problem) || i.Size != int64(len(test.content)) {
			t.Errorf("%s: %+v, want %q %q", test.name, i, test.kind, test.problem)
		}
		if test.problem == "" && !inside["nvme"] {
			t.Errorf("%s: %v", test.name, inside)
		}
	}
	if xz, err := exec.LookPath("xz"); err == nil { // as the kernel wants it
		cmd := exec.Command(xz, "--check=crc32", "--lzma2=dict=1MiB")
		cmd.Stdin = strings.NewReader(nvme)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		budget := int64(1 << 20)
		if i, inside := rootOfFiles(map[string][]byte{"i": append([]byte(micro), out...)}).readInitrd("i", &budget); i.Problem != "" || i.Compression != "xz" || !inside["nvme"] {
			t.Errorf("xz: %+v", i)
		}
	}
	// A bomb ends at the budget.
	budget := int64(100 << 10)
	i, _ := rootOfFiles(map[string][]byte{"i": []byte(gzipped(strings.Replace(cpio("big"), "00000003", "7fffffff", 1) + strings.Repeat("\x00", 10<<20)))}).readInitrd("i", &budget)
	if !strings.Contains(i.Problem, "too large") || budget != 0 {
		t.Errorf("%+v, %d left", i, budget)
	}
}

func TestEFILoader(t *testing.T) {
	wide := string(utf16le("Windows Boot Manager bootmgfw.efi"))
	for _, test := range []struct {
		want, version string
		content       string
	}{
		{"shim", "15.8", peFile(0x8664, nil, map[string]string{".sbat": sbat})},
		{"mokmanager", "15.8", peFile(0x8664, nil, map[string]string{".sbat": sbat, ".data": string(utf16le("Perform MOK management"))})},
		{"fallback", "15.8", peFile(0x8664, nil, map[string]string{".sbat": sbat, ".data": string(utf16le("BOOTX64.CSV"))})},
		{"grub", "", peFile(0x8664, nil, map[string]string{"mods": "m"})},
		{"uki", "6.1.0", peFile(0x8664, nil, map[string]string{".linux": "kernel", ".uname": "6.1.0"})},
		{"systemd-boot", "255", peFile(0x8664, nil, map[string]string{".rodata": "#### LoaderInfo: systemd-boot 255 ####"})},
		{"windows", "", peFile(0x8664, nil, map[string]string{".rsrc": wide})},
		{"refind", "", peFile(0x8664, nil, map[string]string{".data": string(utf16le("rEFInd"))})},
		{"unknown", "", peFile(0x8664, nil, map[string]string{".text": "code"})},
	} {
		l := EFILoader{Size: int64(len(test.content)), Loader: "unknown"}
		if err := l.parse(strings.NewReader(test.content)); err != nil || l.Loader != test.want || l.Version != test.version || l.Architecture != "x86_64" || l.Signed {
			t.Errorf("%s: %+v, %v", test.want, l, err)
		}
	}
	signed := peFile(0xaa64, append(commonName("Some CA"), 0x06, 0x03, 0x55, 0x04, 0x03, 0x1e, 4, 0, 'h', 0, 'i'), nil)
	l := EFILoader{Size: int64(len(signed)), Loader: "unknown"}
	if err := l.parse(strings.NewReader(signed)); err != nil || !l.Signed || !slices.Equal(l.Signers, []string{"Some CA", "hi"}) || l.Architecture != "aarch64" {
		t.Errorf("%+v, %v", l, err)
	}
	for _, bad := range []string{"", "MZ", strings.Repeat("MZ", 1000), signed[:600]} {
		l := EFILoader{Size: int64(len(bad)), Loader: "unknown"}
		if err := l.parse(strings.NewReader(bad)); err == nil && len(bad) < 600 {
			t.Errorf("%.10q: %+v", bad, l)
		}
	}
}

func TestBIOSBoot(t *testing.T) {
	for _, test := range []struct {
		code, want string
	}{
		{"LILO", "lilo"}, {"\x00\x00Operating system load error.\r\n", "syslinux"}, {"Invalid partition table\x00Error loading operating system\x00Missing operating system", "windows"}, {"\x90\x90\x90", "unknown"},
	} {
		m := make(memory, 2<<20)
		copy(m[100:], test.code)
		m[510], m[511] = 0x55, 0xaa
		copy(m[446:], []byte{0x80, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 4, 0, 0})
		r, err := Inspect(t.Context(), m, Options{})
		if err != nil || r.Boot.BIOS == nil || r.Boot.BIOS.Loader != test.want || slices.Contains(r.Boot.Firmware, BIOS) != (test.want == "lilo") {
			t.Fatalf("%q: %+v, %v", test.want, r, err)
		}
		boot := m[1<<20:]
		boot[510], boot[511] = 0x55, 0xaa
		copy(boot[3:], "SYSLINUX")
		r, err = Inspect(t.Context(), m, Options{})
		if err != nil || (test.want != "unknown") != slices.Equal(r.Boot.Firmware, []string{BIOS}) {
			t.Errorf("%q, with a boot sector: %+v, %v", test.want, r.Boot, err)
		}
	}
	// GRUB whose core image is gone.
	m := make(memory, 2<<20)
	copy(m[0x180:], "GRUB \x00Geom")
	binary.LittleEndian.PutUint64(m[0x5c:], 1)
	m[510], m[511] = 0x55, 0xaa
	copy(m[446:], []byte{0x80, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 4, 0, 0})
	r, err := Inspect(t.Context(), m, Options{})
	if err != nil || r.Boot.BIOS.Loader != "grub" || r.Boot.BIOS.CoreFound || len(r.Boot.Firmware) != 0 || len(r.Problems) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestBootConfigs(t *testing.T) {
	for _, test := range []struct {
		name, file, text string
		entries          int
		kernel, problem  string
	}{
		{"by title", "boot/grub/grub.cfg", "set default='B'\nmenuentry A {\nlinux /vmlinuz-a\n}\nmenuentry \"B\" {\nlinux /vmlinuz-b x\n}\n", 2, "/vmlinuz-b", ""},
		{"by number", "boot/grub2/grub.cfg", "set default=1\nmenuentry A {\nlinux /vmlinuz-a\n}\nmenuentry B {\nlinux16 /vmlinuz-b\n}\n", 2, "/vmlinuz-b", ""},
		{"in a submenu", "boot/grub/grub.cfg", "set default=\"more>id-b\"\nmenuentry A {\nlinux /vmlinuz-a\n}\nsubmenu M --id more {\nmenuentry B --id id-b {\nlinux /vmlinuz-b\n}\n}\n", 2, "/vmlinuz-b", ""},
		{"number in a submenu", "boot/grub/grub.cfg", "set default=\"1>1\"\nmenuentry A {\nlinux /vmlinuz-a\n}\nsubmenu M {\nmenuentry B {\nlinux /vmlinuz-b\n}\nmenuentry C {\nlinux /vmlinuz-c\n}\n}\nmenuentry D {\nlinux /vmlinuz-d\n}\n", 4, "/vmlinuz-c", ""},
		{"number behind a submenu", "boot/grub/grub.cfg", "set default=2\nmenuentry A {\nlinux /vmlinuz-a\n}\nsubmenu M {\nmenuentry B {\nlinux /vmlinuz-b\n}\nmenuentry C {\nlinux /vmlinuz-c\n}\n}\nmenuentry D {\nlinux /vmlinuz-d\n}\n", 4, "/vmlinuz-d", ""},
		{"none such", "boot/grub/grub.cfg", "set default=gone\nmenuentry A {\nlinux /vmlinuz-a\n}\n", 1, "/vmlinuz-a", "the default entry gone does not exist"},
		{"memtest", "boot/grub/grub.cfg", "menuentry M {\nmultiboot /memtest\n}\nmenuentry A {\nlinux ($root)/vmlinuz-a\n}\n", 1, "/vmlinuz-a", ""},
		{"legacy", "boot/grub/menu.lst", "default=1\ntimeout=5\ntitle A\nroot (hd0,0)\nkernel /vmlinuz-a ro\ntitle B\nkernel (hd0,0)/vmlinuz-b root=/dev/xvda1\ninitrd /initrd-b\n", 2, "/vmlinuz-b", ""},
		{"syslinux", "boot/extlinux.conf", "DEFAULT b\nLABEL a\n LINUX vmlinuz-a\nLABEL b\n MENU LABEL B\n KERNEL /boot/vmlinuz-b\n APPEND quiet\n", 2, "/boot/vmlinuz-b", ""},
		{"systemd-boot", "boot/loader/entries/x-1.conf", "title X\nlinux /x/linux\ninitrd /x/initrd\noptions quiet\n", 1, "/x/linux", ""},
		{"open", "boot/grub/grub.cfg", strings.Repeat("menuentry A {\nlinux /a\n", 10000), 0, "", ""},
	} {
		var b Boot
		rootOfFiles(map[string][]byte{test.file: []byte(test.text), "boot/loader/x": nil}).bootConfigs(&b)
		kernel := ""
		for _, e := range b.Entries {
			if e.Default {
				kernel = e.Kernel
			}
		}
		if len(b.Configs) != 1 || len(b.Entries) != test.entries || kernel != test.kernel || b.Configs[0].Problem != test.problem {
			t.Errorf("%s: %+v", test.name, b)
		}
	}
	if compareVersions("6.1.0-10", "6.1.0-9") <= 0 || compareVersions("5.15", "5.4") <= 0 || compareVersions("1", "1") != 0 || compareVersions("1.0", "1") <= 0 || compareVersions("01", "1") != 0 {
		t.Error("versions are not ordered")
	}
}

func TestDevices(t *testing.T) {
	for name, want := range map[string]int{"/dev/sda1": 1, "/dev/vda15": 15, "/dev/xvda": 0, "/dev/nvme0n1p3": 3, "/dev/mmcblk0p2": 2, "/dev/sdb1": -1, "/dev/nvme1n1p1": -1, "/dev/nvme0n1": 0} {
		if n, ok := deviceIndex(name); !ok || n != want {
			t.Errorf("%s: %d, %v", name, n, ok)
		}
	}
	for _, name := range []string{"/dev/mapper/x", "sda1", "/dev/sda999999", "/dev/sdax"} {
		if n, ok := deviceIndex(name); ok && n >= 0 {
			t.Errorf("%s: %d", name, n)
		}
	}
}

func TestSystemSettings(t *testing.T) {
	r := rootOfFiles(map[string][]byte{"etc/centos-release": []byte("CentOS Linux release 7.9.2009 (Core)\n"), "etc/selinux/config": []byte("SELINUX=enforcing\n"), "etc/shadow": []byte("a::\nb:!$6$x$0123456789:\nc:!!:\nd:$6$x$0123456789:\n"),
		"etc/passwd": []byte("a:x:1:1::/:/sbin/nologin\nb:x:2000:1::/home/b:/bin/sh\nc:x:3:1::/:/bin/sh\nd:x:4:1::/:/bin/false\nbad\nworse:x:y:z:::\n"),
		"etc/sysconfig/network-scripts/ifcfg-eth0": []byte("BOOTPROTO=static\nIPADDR=10.0.0.1\nHWADDR=52:54:00:00:00:01\n"), "etc/network/interfaces": []byte("iface eth0 inet dhcp\n"),
		"etc/cloud/cloud-init.disabled": nil, "usr/bin/cloud-init": nil, "var/lib/cloud/instances/i-1/x": nil, "etc/machine-id": []byte("uninitialized\n")})
	s, err := func() (*System, error) { r.root = &volume{}; return r.system(t.Context(), &Boot{}) }()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "os", s.OS, OS{ID: "centos", PrettyName: "CentOS Linux release 7.9.2009 (Core)", VersionID: "7.9.2009", From: "/etc/centos-release"})
	equal(t, "selinux", s.SELinux, "enforcing")
	equal(t, "cloud-init", s.CloudInit, CloudInit{Installed: true, DisabledBy: "/etc/cloud/cloud-init.disabled", State: true})
	passwords := map[string]string{}
	for _, a := range s.Accounts {
		passwords[a.Name] = a.Password
	}
	equal(t, "passwords", passwords, map[string]string{"a": "empty", "b": "locked", "d": "set"})
	ifcfg := []string{"/etc/sysconfig/network-scripts/ifcfg-eth0"}
	equal(t, "network", s.Network, Network{Managers: []string{"ifcfg"}, DHCP: []string{"/etc/network/interfaces"}, Static: ifcfg, MACBound: ifcfg, PredictableNames: true})
	equal(t, "machine id", s.Identity.MachineID, "uninitialized")
}

// What is printed of an image must not command the terminal.
func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{"a\x1b[31mb": "a[31mb", "tab\there": "tab here", "\xff\xfe": "?", "ümläut\n": "ümläut", "\u202eright": "right"} {
		if got := printable(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if n := len(printable(string(bytes.Repeat([]byte("x"), 5000)))); n > 1010 {
		t.Errorf("%d characters", n)
	}
}
