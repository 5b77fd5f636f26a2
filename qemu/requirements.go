package qemu

import (
	"context"
	"errors"
	"strconv"
	"strings"
)

// minVersion is the oldest QEMU that has all the options used here (-action of 6.0, rng-builtin, -blockdev).
var minVersion = [2]int{6, 2}

// Requirement is something of the host that VMs need, or are better with.
type Requirement struct {
	Name     string // "QEMU", "accelerator", "firmware uefi" …
	Found    bool
	Optional bool   // VMs run without it
	Detail   string // what was found: version, path, reason
	Fix      string // what to do if it was not found
}

// Requirements looks for everything a VM of the architecture ("" is amd64) needs, with the accelerator wanted
// ("auto", "kvm" or "tcg").
func Requirements(ctx context.Context, architecture, accelerator string) []Requirement {
	m, err := machineFor(architecture)
	if err != nil {
		return []Requirement{{Name: "QEMU", Detail: err.Error(), Fix: "choose another architecture"}}
	}
	list := []Requirement{requireBinary(ctx, m)}
	list = append(list, requireAccelerator(m, accelerator)...)
	for _, kind := range []FirmwareKind{BIOS, UEFI, UEFISecureBoot} {
		// Every machine can be booted without Secure Boot.
		r := Requirement{Name: "firmware " + string(kind), Optional: kind == UEFISecureBoot, Fix: "install the package " + m.uefiPackage}
		fw, err := FirmwareSearch{Architecture: architecture, Dirs: FirmwareDirs("")}.Find(kind)
		if err != nil {
			r.Detail = err.Error()
		} else {
			r.Found, r.Fix = true, ""
			r.Detail = fw.Description
			if fw.Code.Path != "" {
				r.Detail += " (" + fw.Code.Path + ")"
			}
		}
		list = append(list, r)
	}
	return list
}

func requireBinary(ctx context.Context, m *machine) Requirement {
	r := Requirement{Name: "QEMU", Fix: "install the package " + m.qemuPackage}
	path, err := FindBinary(m.binary, "")
	if err != nil {
		r.Detail = m.binary + " is not in PATH"
		return r
	}
	info, err := InspectBinary(ctx, path)
	if err != nil {
		r.Detail = err.Error()
		return r
	}
	r.Detail = info.Version + " (" + path + ")"
	if !info.Sandbox {
		r.Detail += ", built without seccomp: it runs without a sandbox"
	}
	if !atLeast(info.Version, minVersion) {
		r.Fix = "install QEMU " + strconv.Itoa(minVersion[0]) + "." + strconv.Itoa(minVersion[1]) + " or newer"
		return r
	}
	r.Found, r.Fix = true, ""
	return r
}

// requireAccelerator reports what runs the guests, and KVM as an improvement where it is not in use.
func requireAccelerator(m *machine, want string) []Requirement {
	a, err := ChooseAccelerator(want)
	if err != nil {
		return []Requirement{{Name: "accelerator", Detail: err.Error(), Fix: "mend that, or use tcg (slower)"}}
	}
	list := []Requirement{{Name: "accelerator", Found: true, Detail: a.String()}}
	if a.Name == TCG && want != TCG && m.native() {
		list = append(list, Requirement{
			Name: "KVM", Optional: true, Detail: a.Reason,
			Fix: "without KVM guests run about ten times slower: use a machine with hardware virtualisation, and let the user open /dev/kvm",
		})
	}
	return list
}

// atLeast compares "7.2.22" with {7, 2}.
func atLeast(version string, least [2]int) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	if errors.Join(err1, err2) != nil {
		return false
	}
	return major > least[0] || major == least[0] && minor >= least[1]
}
