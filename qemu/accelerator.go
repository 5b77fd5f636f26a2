package qemu

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// Names of the accelerators, as QEMU's -accel option spells them.
const (
	KVM = "kvm"
	TCG = "tcg"
)

// TCGScale is how many times longer a limit meant for KVM is under TCG. Booting Debian 12 to its login
// prompt takes 2 to 3 s under KVM and 16 to 29 s under TCG; Python and compilers suffer about as much.
const TCGScale = 10

// Accelerator says how the guest's instructions are run, and why in that way.
type Accelerator struct {
	Name   string // KVM or TCG
	Reason string // one clause for the user: "/dev/kvm opens and the CPU has vmx"
}

// Limit turns a time limit that is right under KVM into the limit for this accelerator: itself for KVM,
// TCGScale times as much for TCG. Zero (no limit) stays zero.
func (a Accelerator) Limit(d time.Duration) time.Duration {
	if a.Name == TCG {
		return d * TCGScale
	}
	return d
}

// tcgRaceFixed is the first QEMU in which a vCPU never uses another's new memory map with its own old TLB (commit
// 0d58c660689f, "softmmu: Use async_run_on_cpu in tcg_commit"). Before it, about one boot in a hundred of a machine
// with several vCPUs in threads of their own ends with QEMU's segmentation fault while the guest probes its PCI bus.
var tcgRaceFixed = [2]int{8, 2}

// tcgThreads chooses -accel tcg's thread option: a thread for each vCPU where that is safe. One thread for all takes
// about half as long again to boot a guest of two vCPUs on an idle host.
func tcgThreads(c *Config, version string) string {
	switch {
	case c.TCGThread != "":
		return c.TCGThread
	case c.CPUs > 1 && !atLeast(version, tcgRaceFixed):
		return "single"
	}
	return "multi"
}

// HostCPUs is how many of the host's CPUs the machine's virtual ones can keep busy at once, under a QEMU of the given
// version: what to count with when several machines are to run side by side.
func (c *Config) HostCPUs(version string) int {
	if c.Accelerator.Name == TCG && tcgThreads(c, version) == "single" {
		return 1
	}
	return max(1, c.CPUs)
}

// String returns "tcg (reason)".
func (a Accelerator) String() string {
	if a.Reason == "" {
		return a.Name
	}
	return a.Name + " (" + a.Reason + ")"
}

// ChooseAccelerator picks the accelerator for guests of the host's own architecture.
//
// "auto" (or "") takes KVM only if /dev/kvm opens for reading and writing and the CPU has the vmx (Intel) or
// svm (AMD) flag. The flag matters: inside a VM whose host runs the PVM variant of KVM the device opens, and a
// stock guest kernel then hangs for ever. "kvm" and "tcg" force one; forcing KVM fails only if the device
// cannot be opened, and the error says how to mend that.
func ChooseAccelerator(want string) (Accelerator, error) {
	return kvmProbe{device: "/dev/kvm", cpuinfo: "/proc/cpuinfo"}.choose(want)
}

// kvmProbe looks for KVM on the host; tests point it at their own files.
type kvmProbe struct{ device, cpuinfo string }

func (p kvmProbe) choose(want string) (Accelerator, error) {
	switch want {
	case "", "auto":
	case TCG:
		return Accelerator{TCG, "asked for"}, nil
	case KVM:
		if err := p.open(); err != nil {
			return Accelerator{}, fmt.Errorf("choose accelerator: kvm was asked for, but %w", err)
		}
		return Accelerator{KVM, "asked for"}, nil
	default:
		return Accelerator{}, fmt.Errorf("choose accelerator: unknown accelerator %q: use auto, kvm or tcg", want)
	}
	if err := p.open(); err != nil {
		return Accelerator{TCG, err.Error()}, nil
	}
	flag, err := p.cpuFlag()
	switch {
	case err != nil:
		return Accelerator{TCG, fmt.Sprintf("cannot tell whether the CPU can virtualise: %v", err)}, nil
	case flag == "":
		return Accelerator{TCG, p.device + " opens, but the CPU has neither vmx nor svm (such as under the PVM variant of KVM), so a stock guest kernel would hang"}, nil
	}
	return Accelerator{KVM, fmt.Sprintf("%s opens and the CPU has %s", p.device, flag)}, nil
}

// open tells whether the device can be used, with what to do about it if not.
func (p kvmProbe) open() error {
	f, err := os.OpenFile(p.device, os.O_RDWR, 0)
	switch {
	case err == nil:
		return f.Close()
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no %s: switch on virtualisation in the firmware setup and load the module kvm_intel or kvm_amd (in a VM: nested virtualisation)", p.device)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s may not be opened by this user: join its group, for example with \"sudo usermod -aG kvm $USER\", and log in again", p.device)
	default:
		return fmt.Errorf("%s cannot be used: %w", p.device, err)
	}
}

// cpuFlag returns "vmx", "svm" or "", from the flags lines of cpuinfo.
func (p kvmProbe) cpuFlag() (string, error) {
	f, err := os.Open(p.cpuinfo)
	if err != nil {
		return "", err
	}
	defer f.Close()
	// One processor's entry is some 2 KiB; the first that has flags is enough.
	scan := bufio.NewScanner(io.LimitReader(f, 1<<20))
	for scan.Scan() {
		key, value, ok := strings.Cut(scan.Text(), ":")
		if !ok || strings.TrimSpace(key) != "flags" {
			continue
		}
		flags := strings.Fields(value)
		for _, flag := range []string{"vmx", "svm"} {
			if slices.Contains(flags, flag) {
				return flag, nil
			}
		}
		return "", nil
	}
	return "", scan.Err()
}
