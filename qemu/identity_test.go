package qemu

import "testing"

// TestIdentity changes one thing after the other: what the guest sees must show, and nothing else.
func TestIdentity(t *testing.T) {
	base := func() Config {
		return Config{
			Accelerator: Accelerator{Name: TCG}, CPUs: 1, MemoryMiB: 1024,
			Disks:   []Disk{{Path: "a", Format: "qcow2", Backing: []Image{{"b", "raw"}}, BootIndex: 1}, {Path: "seed", Format: "raw", ReadOnly: true, Serial: "s"}},
			Network: &Network{Forwards: []Forward{{GuestPort: 22}}},
			Ports:   []string{"org.test.0"},
			Kernel:  &DirectKernel{Kernel: "k", Initrd: "i", Append: "quiet"},
			SMBIOS:  []SMBIOS{{Type: 1, Fields: []Field{{"serial", "1"}}}},
		}
	}
	want := base().Identity("7.2.22")
	if len(want) != 64 {
		t.Fatalf("the identity is %q", want)
	}
	for name, change := range map[string]func(*Config){
		"nothing":        func(c *Config) {},
		"paths":          func(c *Config) { c.Disks[0].Path, c.Disks[1].Path, c.Binary, c.RuntimeDir = "x", "y", "z", "r" },
		"longer chain":   func(c *Config) { c.Disks[0].Backing = append([]Image{{"n", "qcow2"}}, c.Disks[0].Backing...) },
		"format":         func(c *Config) { c.Disks[0].Format, c.Disks[0].Backing = "raw", nil },
		"cache":          func(c *Config) { c.Disks[0].Cache = Unsafe },
		"said interface": func(c *Config) { c.Disks[0].Interface = VirtIO },
		"forwards":       func(c *Config) { c.Network.Forwards = nil },
		"kernel":         func(c *Config) { c.Kernel = &DirectKernel{Kernel: "other"} },
		"reboot":         func(c *Config) { c.OnReboot = Exit },
		"said CPUs":      func(c *Config) { c.CPUs = 0 },
		"threads":        func(c *Config) { c.TCGThread = "single" },
		"reason":         func(c *Config) { c.Accelerator.Reason = "asked for" },
	} {
		c := base()
		if change(&c); c.Identity("7.2.22") != want {
			t.Errorf("%s changes the identity", name)
		}
	}
	seen := map[string]string{want: "nothing"}
	different := func(name, id string) {
		if other := seen[id]; other != "" {
			t.Errorf("%s gives the identity of %s", name, other)
		}
		seen[id] = name
	}
	different("QEMU", base().Identity("7.2.23"))
	for name, change := range map[string]func(*Config){
		"memory":          func(c *Config) { c.MemoryMiB = 2048 },
		"CPUs":            func(c *Config) { c.CPUs = 2 },
		"CPU":             func(c *Config) { c.CPUModel = "max" },
		"accelerator":     func(c *Config) { c.Accelerator.Name = KVM },
		"interface":       func(c *Config) { c.Disks[0].Interface = NVMe },
		"one disk":        func(c *Config) { c.Disks = c.Disks[:1] },
		"order":           func(c *Config) { c.Disks[0], c.Disks[1] = c.Disks[1], c.Disks[0] },
		"read-only":       func(c *Config) { c.Disks[1].ReadOnly = false },
		"serial":          func(c *Config) { c.Disks[1].Serial = "other" },
		"no network":      func(c *Config) { c.Network = nil },
		"MAC":             func(c *Config) { c.Network.MAC = "52:54:00:00:00:01" },
		"port":            func(c *Config) { c.Ports = []string{"org.test.1"} },
		"one more port":   func(c *Config) { c.Ports = append(c.Ports, "org.test.1") },
		"kernel's device": func(c *Config) { c.Kernel = nil },
		"smbios":          func(c *Config) { c.SMBIOS[0].Fields[0].Value = "2" },
		"UEFI": func(c *Config) {
			c.Firmware = &Firmware{Kind: UEFI, Code: Image{"code", "raw"}, Vars: Image{"vars", "raw"}}
		},
		"Secure Boot": func(c *Config) {
			c.Firmware = &Firmware{Kind: UEFISecureBoot, Code: Image{"code", "raw"}, Vars: Image{"vars", "raw"}, RequiresSMM: true, SecureBoot: true}
		},
		"extra": func(c *Config) { c.ExtraArgs = []string{"-device", "virtio-balloon"} },
	} {
		c := base()
		change(&c)
		different(name, c.Identity("7.2.22"))
	}
}
