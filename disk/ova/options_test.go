package ova

import (
	"strings"
	"testing"
)

func TestFindGuest(t *testing.T) {
	for _, c := range []struct {
		name     string
		hardware int
		vmware   string
		cim      int
	}{
		{"debian12", 20, "debian12_64Guest", 96},
		{"debian 12", 15, "debian10_64Guest", 96}, // what a machine of ESXi 6.7 knows
		{"Debian", 22, "debian13_64Guest", 96},
		{"debian-14", 22, "debian13_64Guest", 96},
		{"debian7", 22, "otherLinux64Guest", 96},
		{"ubuntu22.04", 15, "ubuntu64Guest", 94},
		{"rhel-9.4", 18, "rhel9_64Guest", 80},
		{"rhel9", 15, "rhel8_64Guest", 80},
		{"rocky9", 19, "rhel9_64Guest", 80},
		{"Rocky Linux 9.3", 20, "rockylinux_64Guest", 80},
		{"almalinux8", 21, "almalinux_64Guest", 80},
		{"centos7", 15, "centos7_64Guest", 107},
		{"ol9", 20, "oracleLinux9_64Guest", 109},
		{"amzn2023", 20, "amazonlinux3_64Guest", 101},
		{"sles15.5", 15, "sles15_64Guest", 85},
		{"windows-server-2022", 20, "windows2019srvNext_64Guest", 112},
		{"windows2019", 15, "windows9Server64Guest", 112},
		{"windows11", 20, "windows11_64Guest", 120},
		{"windows 10", 15, "windows9_64Guest", 120},
		{"freebsd14", 15, "freebsd12_64Guest", 78},
		{"", 15, "otherLinux64Guest", 101},
		{"arch", 15, "otherLinux64Guest", 101},
		{"99999999999999999999", 15, "otherLinux64Guest", 101},
		{"other", 15, "otherGuest64", 102},
	} {
		g := findGuest(c.name, c.hardware)
		if g.vmware != c.vmware || g.cim != c.cim {
			t.Errorf("%q on vmx-%d is %s, %d; want %s, %d", c.name, c.hardware, g.vmware, g.cim, c.vmware, c.cim)
		}
		if _, ok := findController(g.controller); !ok {
			t.Errorf("%q has no controller", c.name)
		}
		if _, ok := findAdapter(g.network); !ok {
			t.Errorf("%q has no network adapter", c.name)
		}
	}
}

func TestOptionsCheck(t *testing.T) {
	if err := (Options{}).Check(); err != nil {
		t.Error(err)
	}
	err := Options{Firmware: "coreboot", SecureBoot: true, HardwareVersion: 99, CPUs: -1, MemoryMiB: 1001, Controller: "floppy", NetworkAdapter: "ne2000"}.Check()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`firmware "coreboot"`, "secure boot needs", "hardware version 99", "-1 CPUs", "1001 MiB", `controller "floppy"`, `adapter "ne2000"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing of %q in\n%v", want, err)
		}
	}
	for _, o := range []Options{{Firmware: "efi", HardwareVersion: 7}, {Controller: "nvme", HardwareVersion: 12}, {Controller: "sata", HardwareVersion: 8}, {SecureBoot: true}, {MemoryMiB: 1 << 40}} {
		if o.Check() == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}

func TestFileName(t *testing.T) {
	for name, want := range map[string]string{"": "disk", "web": "web", "../../etc/passwd": "etc-passwd", "-rf": "rf", ".hidden": "hidden", "a  b\n(c)": "a-b-c", "éé": "disk",
		strings.Repeat("x", 200): strings.Repeat("x", 64), "v1.2_3": "v1.2_3"} {
		if got := fileName(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
