package base

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// codenames of Debian's releases by number, and the other way round.
func codenames() map[int]string {
	return map[int]string{10: "buster", 11: "bullseye", 12: "bookworm", 13: "trixie", 14: "forky", 15: "duke"}
}

// Suite is a Debian suite that a base can be made of.
type Suite struct {
	Codename string // "bookworm"; also "sid"
	Release  int    // 12; 0 when it has no number that we know
}

// ParseSuite reads a parent image name like "debian-12" or "debian-bookworm". ok is false when the name is of another kind, and
// err is set when it means Debian but no suite.
func ParseSuite(name string) (s Suite, ok bool, err error) {
	rest, ok := strings.CutPrefix(name, "debian-")
	if !ok {
		return Suite{}, false, nil
	}
	if n, err := strconv.Atoi(rest); err == nil {
		if c, known := codenames()[n]; known {
			return Suite{c, n}, true, nil
		}
		return Suite{}, true, fmt.Errorf("unknown Debian release %q: give the code name, as in debian-bookworm", name)
	}
	if !regexp.MustCompile(`^[a-z]{2,32}$`).MatchString(rest) {
		return Suite{}, true, fmt.Errorf("%q names no Debian suite: write debian-12 or debian-bookworm", name)
	}
	if rest == "unstable" {
		rest = "sid"
	}
	for n, c := range codenames() {
		if c == rest {
			return Suite{c, n}, true, nil
		}
	}
	return Suite{Codename: rest}, true, nil
}

// Name is the parent image name: "debian-12", or "debian-sid" for a suite without a number.
func (s Suite) Name() string {
	if s.Release > 0 {
		return fmt.Sprintf("debian-%d", s.Release)
	}
	return "debian-" + s.Codename
}

// rolling tells that the suite has no updates and security suites of its own.
func (s Suite) rolling() bool { return s.Codename == "sid" || s.Codename == "experimental" }

// security is the name of the suite with security updates: it changed its form with bullseye.
func (s Suite) security() string {
	switch s.Codename {
	case "buster", "stretch", "jessie":
		return s.Codename + "/updates"
	}
	return s.Codename + "-security"
}

// packages are what the base holds besides the essential packages.
func (s Suite) packages() []string {
	p := []string{
		// boot: a cloud kernel, and GRUB for both firmwares with the pieces that Microsoft and Debian signed
		"linux-image-cloud-amd64", "initramfs-tools", "zstd",
		"grub2-common", "grub-pc-bin", "grub-efi-amd64-bin", "grub-efi-amd64-signed", "shim-signed",
		// system
		"systemd", "systemd-sysv", "dbus", "udev", "kmod", "e2fsprogs", "dosfstools", "fdisk",
		// network and time
		"iproute2", "netbase", "ca-certificates", "chrony",
		// access and first boot
		"openssh-server", "sudo", "cloud-init", "cloud-guest-utils",
	}
	// systemd-resolved became a package of its own in bookworm.
	if s.Release == 0 || s.Release >= 12 {
		p = append(p, "systemd-resolved", "libnss-resolve")
	}
	return p
}
