package qemu

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Identity is a digest, in hexadecimal, of everything about the machine that a guest must find again when it goes on from a saved state
// (Resume): the version of QEMU, the accelerator, the machine type, the CPU model with its features, the number of CPUs, the memory, the
// devices in their order with what the guest sees of them, and the kind of firmware. It covers nothing else: no path and no format of
// an image (but a disk's content and size must be the same), no socket, no forward, no kernel (but whether one is booted directly).
//
// version is that of the QEMU that is to run, BinaryInfo.Version. The configuration should be valid; one that is not has an identity of
// no use.
func (c Config) Identity(version string) string {
	m, err := machineFor(c.Architecture)
	if err != nil {
		return ""
	}
	var args []string
	if c.Validate() == nil {
		machine := c.bare()
		args = machine.arguments(m, surroundings{version: version, ports: make([]string, len(c.Ports)), vars: "vars"})
	}
	data, err := json.Marshal(struct {
		Version, Accelerator, Firmware string
		Args, Host                     []string
	}{version, c.Accelerator.Name, c.firmwareKind(), args, c.hostCPU()})
	if err != nil {
		panic(err) // strings only
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// bare is the configuration without what the guest does not see, or not as part of the machine.
func (c Config) bare() Config {
	c.TCGThread, c.OnReboot = "multi", Reset
	disks := make([]Disk, len(c.Disks))
	for i, d := range c.Disks {
		disks[i] = Disk{Path: "disk", Format: "raw", Interface: d.Interface, ReadOnly: d.ReadOnly, Serial: d.Serial, BootIndex: d.BootIndex}
		if d.Interface == "" {
			disks[i].Interface = VirtIO
		}
	}
	c.Disks = disks
	if c.Network != nil {
		c.Network = &Network{Subnet: c.Network.Subnet, Restrict: c.Network.Restrict, MAC: c.Network.MAC}
	}
	if c.Kernel != nil { // a device of its own loads it
		c.Kernel = &DirectKernel{Kernel: "kernel"}
	}
	if f := c.Firmware; f != nil {
		bare := *f
		if bare.Code.Path != "" {
			bare.Code.Path = "code"
		}
		c.Firmware = &bare
	}
	return c
}

func (c *Config) firmwareKind() string {
	if c.Firmware == nil {
		return string(BIOS)
	}
	return string(c.Firmware.Kind)
}

// hostCPU is what the guest's CPU depends on beside QEMU: under KVM it is the host's, with the features that the host's kernel passes on.
func (c *Config) hostCPU() []string {
	if c.Accelerator.Name != KVM {
		return nil
	}
	host := []string{}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		host = append(host, unix.ByteSliceToString(name.Release[:]))
	}
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return host
	}
	first, _, _ := strings.Cut(string(info), "\n\n")
	for line := range strings.Lines(first) {
		key, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(key) {
		case "vendor_id", "cpu family", "model", "model name", "stepping", "flags":
			host = append(host, strings.TrimSpace(value))
		}
	}
	return host
}
