package qemu

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestArguments(t *testing.T) {
	m, err := machineFor("")
	if err != nil {
		t.Fatal(err)
	}
	tcg, kvm := Accelerator{Name: TCG}, Accelerator{Name: KVM}
	for _, test := range []struct {
		name   string
		config Config
	}{
		{"minimal", Config{Accelerator: tcg, MemoryMiB: 512}},
		{"build", Config{
			Accelerator: tcg, CPUs: 2, MemoryMiB: 2048,
			Kernel: &DirectKernel{"/k", "/i", "root=UUID=1,2 console=ttyS0"},
			Disks: []Disk{
				{Path: "/run/over,lay.qcow2", Format: "qcow2", Backing: []Image{{"/b/middle.qcow2", "qcow2"}, {"/b/base.raw", "raw"}}, Cache: Unsafe},
				{Path: "/agent.img", Format: "raw", ReadOnly: true, Serial: "agent"},
			},
			Network:  &Network{Forwards: []Forward{{GuestPort: 22}, {HostAddress: "0.0.0.0", HostPort: 8080, GuestPort: 80}}},
			Ports:    []string{"org.ingot.agent.0", "org.ingot.log.0"},
			OnReboot: Exit,
		}},
		{"test", Config{
			Accelerator: kvm, CPUs: 4, MemoryMiB: 4096,
			Firmware: &Firmware{Kind: UEFISecureBoot, Code: Image{"/fw/CODE.fd", "raw"}, Vars: Image{"/fw/VARS.qcow2", "qcow2"}, SecureBoot: true, RequiresSMM: true},
			Disks: []Disk{
				{Path: "/d.vmdk", Format: "vmdk", Interface: NVMe, BootIndex: 1},
				{Path: "/s.raw", Format: "raw", Interface: SCSI, Serial: "a,b", Cache: Direct},
				{Path: "/t.raw", Format: "raw", Interface: SATA, BootIndex: 2},
				{Path: "/u.raw", Format: "raw", Interface: SATA},
			},
			Network:   &Network{Restrict: true, MAC: "52:54:00:00:00:01"},
			SMBIOS:    []SMBIOS{{1, []Field{{"manufacturer", "Amazon, EC2"}, {"uuid", "ec2"}}}},
			FWCfg:     []FWCfg{{"opt/org.example/x", "1,2"}},
			CPUModel:  "host,-vmx",
			ExtraArgs: []string{"-d", "guest_errors"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := test.config.Validate(); err != nil {
				t.Fatal(err)
			}
			s := surroundings{monitorFD: 3, vars: "/run/vm/vars.fd", sandbox: true, version: "8.2.0"}
			for i := range test.config.Ports {
				s.ports = append(s.ports, "/run/v,m/p"+string(rune('0'+i))+".sock")
			}
			var b strings.Builder
			for i, arg := range test.config.arguments(m, s) {
				if i > 0 {
					b.WriteByte(map[bool]byte{true: '\n', false: ' '}[strings.HasPrefix(arg, "-")])
				}
				b.WriteString(arg)
			}
			got := b.String() + "\n"
			golden := filepath.Join("testdata", "args", test.name+".txt")
			if *update {
				if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestValidateReportsEverything(t *testing.T) {
	c := Config{
		Architecture: "vax",
		Accelerator:  Accelerator{Name: "xen"},
		TCGThread:    "many",
		CPUs:         -1,
		FirmwareVars: "x",
		Kernel:       &DirectKernel{},
		OnReboot:     "maybe",
		Disks: []Disk{
			{Format: "raw,file=/etc/passwd", Interface: "floppy", Cache: "writethrough", BootIndex: -1, Serial: strings.Repeat("s", 21)},
			{Path: "x", Format: "qcow2", Backing: []Image{{"", "raw"}}},
			{Path: "x", Format: "raw", Interface: SATA, ReadOnly: true},
		},
		Ports:   []string{"a b", "twice", "twice"},
		Network: &Network{Forwards: []Forward{{HostAddress: "::1", GuestPort: 1}, {HostPort: 70000, GuestPort: 1}, {}}},
		SMBIOS:  []SMBIOS{{1, []Field{{"a,b", "c"}}}},
		FWCfg:   []FWCfg{{"etc/x", "y"}},
	}
	err := c.Validate()
	if err == nil {
		t.Fatal("valid")
	}
	for _, want := range []string{
		`"vax" guests`, `accelerator: "xen"`, "cpus: -1", `"many"`, "memory: 0 MiB", "firmware variables", "kernel's path", `action "maybe"`,
		"disk 0: path is missing", "raw,file=/etc/passwd", `"floppy"`, `"writethrough"`, "boot index -1", "longer than 20",
		"disk 1: path is missing", "disk 2: x: a sata disk", `port "a b"`, `port "twice": given twice`,
		`"::1"`, "host 70000", "guest 0", `"a,b"`, `"etc/x"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not reported in:\n%v", want, err)
		}
	}
}
