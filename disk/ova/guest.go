package ova

import (
	"cmp"
	"regexp"
	"strconv"
	"strings"
)

// guest is an operating system as OVF and VMware name it.
type guest struct {
	cim         int    // CIM_OperatingSystem.OSType, the ovf:id of the OperatingSystemSection
	vmware      string // VirtualMachineGuestOsIdentifier, the vmw:osType
	description string
	controller  string // of disks, that its kernel has a driver for without anything installed
	network     string
}

// family is an operating system in its versions, the oldest first.
type family struct {
	names       []string // letters only, as they come in front of the version
	cim         int
	description string
	controller  string
	network     string
	versions    []version
}

// version of an operating system: VMware knows it by id from a hardware version on.
type version struct {
	from     int // version of the system
	id       string
	hardware int
	cim      int // when it is not the family's
}

// families are the systems that VMware has names for. The identifiers, and the releases of vSphere that brought them, are those of the enumeration
// VirtualMachineGuestOsIdentifier in the vSphere Web Services API reference; hardware versions 13, 14, 15, 17, 18, 20 and 22 came with ESXi 6.5, 6.7,
// 6.7 U2, 7.0, 7.0 U1, 8.0 and 9.0. The numbers are those of CIM_OperatingSystem.OSType (DMTF CIM schema 2.52).
func families() []family {
	return []family{
		{[]string{"debian", "debiangnulinux"}, 96, "Debian GNU/Linux", pvSCSI, vmxNet3, []version{
			{8, "debian8_64Guest", 11, 0}, {9, "debian9_64Guest", 13, 0}, {10, "debian10_64Guest", 13, 0},
			{11, "debian11_64Guest", 17, 0}, {12, "debian12_64Guest", 20, 0}, {13, "debian13_64Guest", 22, 0}}},
		{[]string{"ubuntu"}, 94, "Ubuntu Linux", pvSCSI, vmxNet3, []version{{0, "ubuntu64Guest", 7, 0}}},
		{[]string{"rhel", "redhat", "redhatenterpriselinux"}, 80, "Red Hat Enterprise Linux", pvSCSI, vmxNet3, []version{
			{6, "rhel6_64Guest", 7, 0}, {7, "rhel7_64Guest", 10, 0}, {8, "rhel8_64Guest", 14, 0},
			{9, "rhel9_64Guest", 18, 0}, {10, "rhel10_64Guest", 22, 0}}},
		{[]string{"centos", "centosstream"}, 107, "CentOS", pvSCSI, vmxNet3, []version{
			{0, "centos64Guest", 7, 0}, {7, "centos7_64Guest", 13, 0}, {8, "centos8_64Guest", 14, 0}, {9, "centos9_64Guest", 18, 0}}},
		{[]string{"rocky", "rockylinux"}, 80, "Rocky Linux", pvSCSI, vmxNet3, []version{
			{8, "rhel8_64Guest", 14, 0}, {9, "rhel9_64Guest", 18, 0}, {0, "rockylinux_64Guest", 20, 0}}},
		{[]string{"alma", "almalinux"}, 80, "AlmaLinux", pvSCSI, vmxNet3, []version{
			{8, "rhel8_64Guest", 14, 0}, {9, "rhel9_64Guest", 18, 0}, {0, "almalinux_64Guest", 20, 0}}},
		{[]string{"ol", "oracle", "oraclelinux"}, 109, "Oracle Linux", pvSCSI, vmxNet3, []version{
			{0, "oracleLinux64Guest", 7, 0}, {7, "oracleLinux7_64Guest", 13, 0}, {8, "oracleLinux8_64Guest", 14, 0},
			{9, "oracleLinux9_64Guest", 18, 0}, {10, "oracleLinux10_64Guest", 22, 0}}},
		{[]string{"amzn", "amazon", "amazonlinux"}, 101, "Amazon Linux", pvSCSI, vmxNet3, []version{
			{2, "amazonlinux2_64Guest", 15, 0}, {2022, "amazonlinux3_64Guest", 18, 0}}},
		{[]string{"fedora"}, 101, "Fedora Linux", pvSCSI, vmxNet3, []version{{0, "fedora64Guest", 7, 0}}},
		{[]string{"sles", "suselinuxenterpriseserver"}, 85, "SUSE Linux Enterprise Server", pvSCSI, vmxNet3, []version{
			{11, "sles11_64Guest", 7, 0}, {12, "sles12_64Guest", 11, 0}, {15, "sles15_64Guest", 15, 0}, {16, "sles16_64Guest", 18, 0}}},
		{[]string{"opensuse", "opensuseleap", "opensusetumbleweed"}, 83, "openSUSE", pvSCSI, vmxNet3, []version{{0, "opensuse64Guest", 7, 0}}},
		{[]string{"photon", "vmwarephotonos"}, 101, "Photon OS", pvSCSI, vmxNet3, []version{{0, "vmwarePhoton64Guest", 13, 0}}},
		{[]string{"freebsd"}, 78, "FreeBSD", pvSCSI, vmxNet3, []version{
			{0, "freebsd64Guest", 7, 0}, {11, "freebsd11_64Guest", 14, 0}, {12, "freebsd12_64Guest", 14, 0},
			{13, "freebsd13_64Guest", 18, 0}, {14, "freebsd14_64Guest", 20, 0}, {15, "freebsd15_64Guest", 22, 0}}},
		{[]string{"windows", "windowsserver", "microsoftwindows", "microsoftwindowsserver"}, 112, "Microsoft Windows", sata, e1000e, []version{
			{0, "otherGuest64", 7, 0}, {7, "windows7_64Guest", 7, 105}, {8, "windows8_64Guest", 8, 114}, {10, "windows9_64Guest", 10, 120}, {11, "windows11_64Guest", 20, 120},
			{2012, "windows8Server64Guest", 8, 0}, {2016, "windows9Server64Guest", 10, 0}, {2019, "windows2019srv_64Guest", 17, 0},
			{2022, "windows2019srvNext_64Guest", 18, 0}, {2025, "windows2022srvNext_64Guest", 20, 0}}},
		{[]string{"other"}, 102, "Other", sata, e1000, []version{{0, "otherGuest64", 7, 0}}},
	}
}

// findGuest looks a system up by a name such as "debian12", "Ubuntu 24.04" or "windows-server-2022". It is the newest that a machine of that hardware
// version knows: a host refuses machines whose guest is newer than their hardware. What has no name of its own is some Linux of 64 bits.
func findGuest(name string, hardware int) guest {
	letters, text, number := splitName(name)
	linux := guest{101, "otherLinux64Guest", "Linux (64-bit)", pvSCSI, vmxNet3}
	for _, f := range families() {
		for _, n := range f.names {
			if n != letters {
				continue
			}
			g := guest{f.cim, "", f.description, f.controller, f.network}
			if text != "" {
				g.description += " " + text
			}
			g.description += " (64-bit)"
			for _, v := range f.versions {
				if v.hardware <= hardware && (number == 0 || v.from <= number) {
					g.vmware, g.cim = v.id, cmp.Or(v.cim, f.cim)
				}
			}
			g.vmware = cmp.Or(g.vmware, linux.vmware)
			return g
		}
	}
	return linux
}

var versionOf = regexp.MustCompile(`[0-9]{1,4}(\.[0-9]{1,4})*`)

// splitName gives the letters in front of a name's version, the version and its first number: "windows-server-2022" gives "windowsserver", "2022" and 2022.
func splitName(name string) (letters, text string, number int) {
	name = strings.ToLower(name)
	at := versionOf.FindStringIndex(name)
	if at == nil {
		at = []int{len(name), len(name)}
	}
	letters = strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r
		}
		return -1
	}, name[:at[0]])
	text = name[at[0]:at[1]]
	major, _, _ := strings.Cut(text, ".")
	number, _ = strconv.Atoi(major)
	return letters, text, number
}
