package qemu

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"strings"
)

// Config describes one virtual machine. The zero value of each field is a sensible default, except Accelerator,
// which ChooseAccelerator gives, and MemoryMiB.
type Config struct {
	// Architecture of the guest in Go's spelling; "" is amd64, the only one so far.
	Architecture string
	// Binary is the QEMU to run: a path, or a name looked up in PATH; "" is the architecture's own,
	// qemu-system-x86_64.
	Binary      string
	Accelerator Accelerator
	// CPUModel overrides QEMU's -cpu. The default is the host's CPU under KVM and a fixed model at the level
	// x86-64-v2 under TCG, which survives migration to another process.
	CPUModel string
	// TCGThread overrides whether TCG runs each vCPU in a thread of its own, "multi", or all in one, "single". The
	// default is multi, but for machines of several vCPUs under a QEMU before 8.2, which may crash with it.
	TCGThread string
	CPUs      int // virtual CPUs; 0 is 1
	MemoryMiB int // at least 32

	// Firmware is what FindFirmware found; nil is the machine's built-in BIOS (SeaBIOS).
	Firmware *Firmware
	// FirmwareVars is an existing file, owned by the caller, that keeps the UEFI variables from one run to the
	// next. "" gives the VM a fresh copy of the firmware's template, gone with the VM.
	FirmwareVars string
	// Kernel boots a kernel directly, without a boot loader.
	Kernel *DirectKernel

	Disks   []Disk
	Network *Network // nil: no network card at all
	// Relay is the command that QEMU runs, with a socket's path as one more argument, for each connection of the guest to one of
	// Network.Services: a program that calls the function Relay. QEMU's sandbox lets it start programs then, which it otherwise does not.
	Relay []string
	// Ports are the names of virtio-serial ports, such as "org.ingot.agent.0". In a Linux guest port NAME is the
	// device /dev/virtio-ports/NAME; on the host VM.Dial connects to it.
	Ports []string

	SMBIOS []SMBIOS
	FWCfg  []FWCfg

	// OnReboot says what a reboot that the guest asks for does.
	OnReboot RebootAction

	// ConsoleLog receives the raw bytes of the guest's serial console while the VM lives; never after Close has
	// returned. A Write that blocks blocks the guest.
	ConsoleLog io.Writer
	// ConsoleLogLimit bounds the bytes written to ConsoleLog: 0 is 16 MiB, negative is no bound.
	ConsoleLogLimit int64

	// RuntimeDir is the folder under which the VM makes its own folder (mode 0700) for sockets and UEFI
	// variables; "" is XDG_RUNTIME_DIR, or else the folder for temporary files. Close removes the VM's folder;
	// folders left by killed processes are removed by the next Start.
	RuntimeDir string
	// ExtraArgs are put at the end of QEMU's command line as they are.
	ExtraArgs []string
}

// DirectKernel is a kernel that QEMU loads itself (-kernel, -initrd, -append).
type DirectKernel struct {
	Kernel string // path
	Initrd string // path; "" for none
	Append string // kernel command line
}

// Interface is the controller a disk hangs on.
type Interface string

// The disk interfaces. The guest sees vda, nvme0n1, sda and sda.
const (
	VirtIO Interface = "virtio" // virtio-blk, the default
	NVMe   Interface = "nvme"
	SCSI   Interface = "scsi" // virtio-scsi
	SATA   Interface = "sata" // AHCI; at most 6 disks, none read-only
)

// Cache is what QEMU does with the guest's writes.
type Cache string

// The cache modes, in QEMU's words.
const (
	Writeback Cache = "writeback" // host page cache, the guest's flushes are obeyed; the default
	Unsafe    Cache = "unsafe"    // host page cache, flushes ignored: fast, for disks that a power cut may spoil
	Direct    Cache = "none"      // O_DIRECT
)

// Image is a disk image file with its format given, never guessed: a guessed format lets a guest that owns a raw
// disk write a header there which opens any file of the host.
type Image struct {
	Path   string
	Format string // QEMU's driver name: raw, qcow2, vmdk, vpc, vhdx
}

// Disk is one disk of the machine.
type Disk struct {
	Path   string
	Format string // QEMU's driver name: raw, qcow2, vmdk, vpc, vhdx
	// Backing is the declared chain of backing images below Path, nearest first, opened read-only. A disk whose
	// own header names a backing file that is not declared here is refused by Start; the name in the header is
	// never followed.
	Backing   []Image
	Interface Interface
	ReadOnly  bool
	Serial    string // at most 20 characters; "" lets the interface choose
	// BootIndex is the place in the firmware's boot order, from 1; 0 is not bootable. If no disk has one, disks
	// are tried in the order given.
	BootIndex int
	Cache     Cache
}

// Network is user-mode networking: the guest has addresses by DHCP (the 15th of Subnet), reaches out through the host and cannot be reached but
// through Forwards.
type Network struct {
	Subnet   netip.Prefix // an IPv4 network of at least 32 addresses; the zero value is 10.0.2.0/24
	Forwards []Forward
	Services []Service // in the network, besides QEMU's gateway and name server; see Config.Relay
	Restrict bool      // cut the guest off from the host and the outside; Forwards and Services still work
	MAC      string    // "" is QEMU's 52:54:00:12:34:56
}

// Forward makes a TCP port of the guest reachable on the host.
type Forward struct {
	HostAddress string // "" is 127.0.0.1
	HostPort    int    // 0 lets the system choose; see VM.Forwards
	GuestPort   int
}

// SMBIOS is one SMBIOS structure's fields in QEMU's names (-smbios type=1,manufacturer=…).
type SMBIOS struct {
	Type   int
	Fields []Field
}

// Field is a name with its value.
type Field struct{ Name, Value string }

// FWCfg is a string the guest can read from QEMU's fw_cfg device; names must begin with "opt/".
type FWCfg struct{ Name, Value string }

// RebootAction is what happens when the guest reboots.
type RebootAction string

// The reboot actions.
const (
	Reset RebootAction = ""     // the machine starts again, as real ones do
	Exit  RebootAction = "exit" // QEMU ends, with ShutdownReason GuestReset
)

var (
	portName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	smbiosName = regexp.MustCompile(`^[a-z_]+$`)
	driverName = regexp.MustCompile(`^[a-z0-9-]+$`)
)

// Validate reports everything wrong with the configuration at once, joined by errors.Join. It does not look at
// the files.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if _, err := machineFor(c.Architecture); err != nil {
		errs = append(errs, err)
	}
	if c.Accelerator.Name != KVM && c.Accelerator.Name != TCG {
		bad("accelerator: %q is neither kvm nor tcg", c.Accelerator.Name)
	}
	if c.CPUs < 0 || c.CPUs > 255 {
		bad("cpus: %d is not within 1 to 255", c.CPUs)
	}
	if c.TCGThread != "" && c.TCGThread != "single" && c.TCGThread != "multi" {
		bad("tcg thread: %q is neither single nor multi", c.TCGThread)
	}
	if c.MemoryMiB < 32 {
		bad("memory: %d MiB is too little, at least 32 MiB", c.MemoryMiB)
	}
	if k := c.Kernel; k != nil && k.Kernel == "" {
		bad("kernel: the kernel's path is missing")
	}
	if c.FirmwareVars != "" && (c.Firmware == nil || c.Firmware.Vars.Path == "") {
		bad("firmware variables: the firmware keeps none")
	}
	if c.OnReboot != Reset && c.OnReboot != Exit {
		bad("on reboot: unknown action %q", c.OnReboot)
	}
	sata := 0
	for i := range c.Disks {
		for _, err := range c.Disks[i].validate() {
			bad("disk %d: %w", i, err)
		}
		if c.Disks[i].Interface == SATA {
			sata++
		}
	}
	if sata > 6 {
		bad("disks: %d on sata, which has 6 places", sata)
	}
	seen := map[string]bool{}
	for _, name := range c.Ports {
		if !portName.MatchString(name) {
			bad("port %q: a name is up to 64 letters, digits, dots, dashes and underscores", name)
		}
		if seen[name] {
			bad("port %q: given twice", name)
		}
		seen[name] = true
	}
	if len(c.Ports) > 30 {
		bad("ports: %d are too many, at most 30", len(c.Ports))
	}
	if c.Network != nil {
		errs = append(errs, c.Network.validate(c.Relay)...)
	}
	for _, s := range c.SMBIOS {
		for _, f := range s.Fields {
			if !smbiosName.MatchString(f.Name) {
				bad("smbios type %d: bad field name %q", s.Type, f.Name)
			}
		}
	}
	for _, f := range c.FWCfg {
		if !strings.HasPrefix(f.Name, "opt/") {
			bad("fw_cfg %q: the name must begin with opt/", f.Name)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("qemu configuration: %w", err)
	}
	return nil
}

func (d *Disk) validate() (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, image := range append([]Image{{d.Path, d.Format}}, d.Backing...) {
		if image.Path == "" {
			bad("path is missing")
		}
		if !driverName.MatchString(image.Format) {
			bad("%s: format %q is not the name of a QEMU driver such as raw or qcow2", image.Path, image.Format)
		}
	}
	switch d.Interface {
	case "", VirtIO, NVMe, SCSI:
	case SATA:
		if d.ReadOnly {
			bad("%s: a sata disk cannot be read-only, use virtio or scsi", d.Path)
		}
	default:
		bad("%s: unknown interface %q", d.Path, d.Interface)
	}
	switch d.Cache {
	case "", Writeback, Unsafe, Direct:
	default:
		bad("%s: unknown cache mode %q", d.Path, d.Cache)
	}
	if len(d.Serial) > 20 {
		bad("%s: serial %q is longer than 20 characters", d.Path, d.Serial)
	}
	if d.BootIndex < 0 {
		bad("%s: boot index %d is negative", d.Path, d.BootIndex)
	}
	return errs
}

func (f Forward) validate() error {
	if a, err := netip.ParseAddr(f.address()); err != nil || !a.Is4() {
		return fmt.Errorf("forward: host address %q is not an IPv4 address", f.address())
	}
	if f.HostPort < 0 || f.HostPort > 65535 || f.GuestPort < 1 || f.GuestPort > 65535 {
		return fmt.Errorf("forward: port out of range: host %d, guest %d", f.HostPort, f.GuestPort)
	}
	return nil
}

func (f Forward) address() string {
	if f.HostAddress == "" {
		return "127.0.0.1"
	}
	return f.HostAddress
}
