package qemu

import (
	"fmt"
	"runtime"
)

// machine holds all that depends on the guest's architecture.
type machine struct {
	architecture string // QEMU's name
	binary       string
	typ          string // -machine type
	family       string // prefix of the concrete, versioned machine names in firmware descriptors
	options      string // -machine options common to all our VMs
	tcgCPU       string
	panicDevice  string   // tells the host of a guest's kernel panic
	global       []string // -global settings
	bios         string   // the firmware built into the machine; "" if there is none
	qemuPackage  string   // Debian's package names, for advice
	uefiPackage  string
}

// machineFor returns the machine for an architecture in Go's spelling; "" is amd64.
func machineFor(arch string) (*machine, error) {
	switch arch {
	case "", "amd64":
		return &machine{
			architecture: "x86_64",
			binary:       "qemu-system-x86_64",
			typ:          "q35",
			family:       "pc-q35-",
			// graphics=off makes SeaBIOS, and boot loaders that print through it, write to the serial port.
			options: "usb=off,vmport=off,graphics=off,dump-guest-core=off",
			// qemu64 raised to the level x86-64-v2 (System V psABI for x86-64, section 3.1.1), which RHEL 9 and
			// others need. Unlike max it is the same everywhere and survives migration.
			tcgCPU:      "qemu64,+cx16,+lahf_lm,+popcnt,+sse3,+ssse3,+sse4.1,+sse4.2",
			panicDevice: "pvpanic",
			// A suspended guest would only wait for its limit to pass.
			global:      []string{"ICH9-LPC.disable_s3=1", "ICH9-LPC.disable_s4=1"},
			bios:        "SeaBIOS",
			qemuPackage: "qemu-system-x86",
			uefiPackage: "ovmf",
		}, nil
	default:
		return nil, fmt.Errorf("architecture: %q guests are not supported, only amd64", arch)
	}
}

// native tells whether the host can run the guest's instructions itself.
func (m *machine) native() bool { return m.architecture == "x86_64" && runtime.GOARCH == "amd64" }

// cpu returns the -cpu model for an accelerator.
func (m *machine) cpu(accelerator string) string {
	if accelerator == KVM {
		return "host"
	}
	return m.tcgCPU
}
