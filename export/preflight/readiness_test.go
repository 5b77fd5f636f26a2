package preflight

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/disk"
)

// readinessCase is a disk that differs from the good one in one thing, and what is found.
type readinessCase struct {
	name, id     string
	change       func(f *fixture)
	request      Request
	level        Level
	where, seen  string
	reason       string // if the check passes or cannot tell
	status       Status // that it ends in then
	wantsFixable bool
}

func (c readinessCase) run(t *testing.T) {
	t.Run(c.id+" "+c.name, func(t *testing.T) {
		f := good()
		if c.change != nil {
			c.change(f)
		}
		file := f.raw(t)
		if c.status != "" {
			ends(t, c.id, file, c.request, c.status, c.reason)
			return
		}
		found := fails(t, c.id, file, c.request, c.level, c.where, c.seen)
		if found.Fixable != c.wantsFixable {
			t.Errorf("fixable is %v", found.Fixable)
		}
	})
}

// file gives a file of the system other content.
func file(name, content string) func(f *fixture) {
	return func(f *fixture) { f.files[name] = content }
}

// without leaves files of the system out.
func without(names ...string) func(f *fixture) {
	return func(f *fixture) {
		for _, name := range names {
			delete(f.files, name)
		}
	}
}

// replaced changes a text in a file of the system.
func replaced(name, old, text string) func(f *fixture) {
	return func(f *fixture) {
		if !strings.Contains(f.files[name], old) {
			panic(name + " has no " + old)
		}
		f.files[name] = strings.ReplaceAll(f.files[name], old, text)
	}
}

func all(changes ...func(f *fixture)) func(f *fixture) {
	return func(f *fixture) {
		for _, change := range changes {
			change(f)
		}
	}
}

const (
	fixtureInitrd = "boot/initrd.img-" + fixtureKernel
	fixtureMenu   = "boot/grub/grub.cfg"
	fixtureDep    = "usr/lib/modules/" + fixtureKernel + "/modules.dep"
)

func TestDriversAndOptions(t *testing.T) {
	image := Request{Path: ImportImage}
	second := func(f *fixture) {
		f.files["boot/vmlinuz-6.1.0-9-amd64"], f.files["boot/initrd.img-6.1.0-9-amd64"] = bzImage("6.1.0-9-amd64"), cpio("init")
	}
	for _, c := range []readinessCase{
		{name: "good", id: "D01", status: Passed},
		{name: "no nvme", id: "D01", change: file(fixtureInitrd, initramfs("block/virtio_blk.ko")), level: Fatal, where: "/" + fixtureInitrd, seen: "nvme is neither"},
		{name: "no nvme, and AWS adds it", id: "D01", change: file(fixtureInitrd, initramfs("block/virtio_blk.ko")), request: image, level: Warning, where: "/" + fixtureInitrd, seen: "nvme is neither"},
		{name: "built in", id: "D01", change: all(file(fixtureInitrd, cpio("init")), file("usr/lib/modules/"+fixtureKernel+"/modules.builtin", "kernel/drivers/nvme/host/nvme.ko\n")), status: Passed},
		{name: "no nvme_core", id: "D01", change: all(file(fixtureInitrd, initramfs("nvme/host/nvme.ko")), file(fixtureDep, "kernel/drivers/nvme/host/nvme-core.ko:\nkernel/drivers/nvme/host/nvme.ko: kernel/drivers/nvme/host/nvme-core.ko\n")),
			level: Fatal, where: "/" + fixtureInitrd, seen: "nvme_core is neither in it"},
		{name: "before there was nvme_core", id: "D01", change: all(file(fixtureInitrd, initramfs("block/nvme.ko")), file(fixtureDep, "kernel/drivers/block/nvme.ko:\n")), status: Passed},
		{name: "not in another kernel's", id: "D01", change: second, level: Warning, where: "6.1.0-9", seen: "nvme is neither"},
		{name: "unreadable", id: "D01", change: file(fixtureInitrd, strings.Repeat("garbage ", 200)), status: Unknown, reason: "not known"},
		{name: "good", id: "D02", status: Passed},
		{name: "no ena", id: "D02", change: all(file(fixtureDep, "kernel/drivers/nvme/host/nvme.ko:\n"), file(fixtureInitrd, initramfs("nvme/host/nvme.ko"))), level: Fatal, where: fixtureKernel, seen: "ena"},
		{name: "good", id: "D03", status: Passed},
		{name: "no block driver", id: "D03", change: file(fixtureInitrd, initramfs("nvme/host/nvme.ko")), level: Warning, where: "initrd", seen: "xen-blkfront"},
		{name: "no network driver", id: "D03", change: all(file(fixtureInitrd, initramfs("block/xen-blkfront.ko")), file(fixtureDep, "a.ko:\n")), level: Warning, where: "modules", seen: "xen-netfront"},
		{name: "good", id: "D04", status: Passed},
		{name: "no time-out", id: "D04", change: replaced(fixtureMenu, " nvme_core.io_timeout=4294967295", ""), level: Warning, where: "/" + fixtureMenu, seen: "no nvme_core.io_timeout", wantsFixable: true},
		{name: "short time-out", id: "D04", change: replaced(fixtureMenu, "4294967295", "30"), level: Warning, where: "/" + fixtureMenu, seen: "io_timeout=30", wantsFixable: true},
		{name: "old time-out", id: "D04", change: replaced(fixtureMenu, "nvme_core.io_timeout=4294967295", "nvme.io_timeout=255"), status: Passed},
		{name: "no console", id: "D04", change: replaced(fixtureMenu, " console=ttyS0,115200n8", ""), level: Warning, where: "/" + fixtureMenu, seen: "console=tty0 is the last", wantsFixable: true},
		{name: "names by slot", id: "D04", change: replaced(fixtureMenu, "net.ifnames=0 ", ""), level: Warning, where: "/" + fixtureMenu, seen: "net.ifnames", wantsFixable: true},
	} {
		c.run(t)
	}
}

func TestConfiguration(t *testing.T) {
	snapshot, image := Request{}, Request{Path: ImportImage}
	line := func(text string) func(f *fixture) {
		return func(f *fixture) { f.files["etc/fstab"] += text + "\n" }
	}
	noCloudInit := without("usr/bin/cloud-init")
	for _, c := range []readinessCase{
		{name: "good", id: "E01", status: Passed},
		{name: "device name", id: "E01", change: file("etc/fstab", "/dev/vda1 / ext4 defaults 0 1\n"), level: Warning, where: "/etc/fstab:1", seen: "/dev/vda1", wantsFixable: true},
		{name: "root missing", id: "E01", change: file("etc/fstab", "UUID=0000 / ext4 defaults 0 1\n"), level: Fatal, where: "/etc/fstab:1", seen: "no file system"},
		{name: "extra volume", id: "E01", change: line("UUID=11111111-1111-1111-1111-111111111111 /data ext4 defaults 0 2"), level: Warning, where: "/etc/fstab:3", seen: "no nofail", wantsFixable: true},
		{name: "extra volume that may be missing", id: "E01", change: line("UUID=1111 /data ext4 nofail 0 2"), status: Passed},
		{name: "network", id: "E01", change: line("files:/data /data nfs defaults 0 0"), level: Warning, where: "/etc/fstab:3", seen: "network", wantsFixable: true},
		{name: "no fstab", id: "E01", change: without("etc/fstab"), request: image, level: Fatal, where: "/etc/fstab", seen: "no line"},
		{name: "other lines", id: "E01", change: line("tmpfs /tmp tmpfs defaults 0 0\n/swapfile none swap sw 0 0\n/dev/sr0 /media/cdrom0 udf user,noauto 0 0"), request: snapshot, status: Passed},

		{name: "good", id: "E02", status: Passed},
		{name: "static", id: "E02", change: file("etc/systemd/network/20.network", "[Match]\nName=*\n[Network]\nAddress=192.0.2.5/24\n"), level: Fatal, where: "20.network", seen: "fixed address"},
		{name: "static, which AWS removes", id: "E02", change: file("etc/systemd/network/20.network", "[Match]\nName=*\n[Network]\nAddress=192.0.2.5/24\n"), request: image, level: Warning, where: "20.network", seen: "fixed address"},
		{name: "MAC address", id: "E02", change: file("etc/netplan/01.yaml", "network:\n ethernets:\n  a:\n   match: {macaddress: 52:54:00:12:34:56}\n   dhcp4: true\n"), level: Fatal, where: "01.yaml", seen: "MAC"},
		{name: "udev rule", id: "E02", change: file("etc/udev/rules.d/70-persistent-net.rules", "SUBSYSTEM==\"net\", ATTR{address}==\"52:54:00:12:34:56\", NAME=\"eth0\"\n"), level: Fatal, where: "70-persistent-net.rules", seen: "udev", wantsFixable: true},
		{name: "one slot", id: "E02", change: all(noCloudInit, file("etc/systemd/network/20.network", "[Match]\nName=ens3\n[Network]\nDHCP=yes\n")), level: Fatal, where: "20.network", seen: "ens3"},
		{name: "nobody asks", id: "E02", change: all(noCloudInit, without("etc/systemd/network/20.network")), level: Fatal, where: "/etc", seen: "DHCP"},
		{name: "of cloud-init", id: "E02", change: file("etc/netplan/50-cloud-init.yaml", "network:\n ethernets:\n  a:\n   match: {macaddress: 52:54:00:12:34:56}\n   dhcp4: true\n"), level: Warning, where: "50-cloud-init", seen: "MAC"},

		{name: "good", id: "E03", status: Passed},
		{name: "not installed", id: "E03", change: noCloudInit, level: Warning, where: "cloud-init", seen: "not installed"},
		{name: "disabled", id: "E03", change: file("etc/cloud/cloud-init.disabled", ""), level: Warning, where: "cloud-init.disabled", seen: "disabled"},
		{name: "other sources", id: "E03", change: file("etc/cloud/cloud.cfg.d/90.cfg", "datasource_list: [ NoCloud, None ]\n"), level: Warning, where: "/etc/cloud", seen: "NoCloud"},
		{name: "policy", id: "E03", change: file("etc/cloud/ds-identify.cfg", "policy: disabled\n"), level: Warning, where: "ds-identify.cfg", seen: "policy"},

		{name: "good", id: "E04", status: Passed},
		{name: "no server", id: "E04", change: without("usr/sbin/sshd"), level: Warning, where: "sshd", seen: "no SSH server"},
		{name: "not enabled", id: "E04", change: without("etc/systemd/system/multi-user.target.wants/ssh.service"), level: Warning, where: "systemd", seen: "not enabled"},
		{name: "nobody", id: "E04", change: noCloudInit, level: Warning, where: "/etc/passwd", seen: "no user"},
		{name: "firewall", id: "E04", change: all(file("etc/iptables/rules.v4", "*filter\n:INPUT DROP [0:0]\nCOMMIT\n"), file("etc/systemd/system/multi-user.target.wants/netfilter-persistent.service", "-> /dev/null")), level: Warning, where: "rules.v4", seen: "port 22"},
		{name: "firewall with a door", id: "E04", change: all(file("etc/iptables/rules.v4", "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp --dport 22 -j ACCEPT\nCOMMIT\n"), file("etc/systemd/system/multi-user.target.wants/netfilter-persistent.service", "-> /lib/x")), status: Passed},

		{name: "good", id: "E05", status: Passed},
		{name: "no growpart", id: "E05", change: without("usr/bin/growpart"), level: Warning, where: "growpart", seen: "neither"},
		{name: "no resize2fs", id: "E05", change: without("usr/sbin/resize2fs"), level: Warning, where: "resize2fs", seen: "larger"},
		{name: "off", id: "E05", change: file("etc/cloud/cloud.cfg.d/90.cfg", "growpart:\n  mode: off\n"), level: Warning, where: "90.cfg", seen: "off"},
	} {
		c.run(t)
	}
}

func TestIdentityAndSecrets(t *testing.T) {
	shadow := "root:$6$abcdefgh$0123456789012345678901234567890123456789012345678901234567890123456789012345678901234:19000:0:99999:7:::\n"
	for _, c := range []readinessCase{
		{name: "good", id: "F01", status: Passed},
		{name: "id", id: "F01", change: file("etc/machine-id", strings.Repeat("a1", 16)+"\n"), where: "/etc/machine-id", seen: "id", wantsFixable: true},
		{name: "host key", id: "F01", change: file("etc/ssh/ssh_host_ed25519_key", "key"), where: "/etc/ssh", seen: "ssh_host_ed25519_key", wantsFixable: true},
		{name: "state", id: "F01", change: file("var/lib/cloud/instances/i-1/user-data.txt", "x"), where: "/var/lib/cloud", seen: "has run", wantsFixable: true},
		{name: "seed", id: "F01", change: file("var/lib/cloud/seed/nocloud/meta-data", "x"), where: "seed", seen: "nocloud", wantsFixable: true},
		{name: "random seed", id: "F01", change: file("var/lib/systemd/random-seed", "x"), where: "random-seed", seen: "random", wantsFixable: true},
		{name: "logs", id: "F01", change: file("var/log/syslog", "hello"), where: "/var/log", seen: "5 bytes", wantsFixable: true},
		{name: "good", id: "F02", status: Passed, request: Request{Shared: true}},
		{name: "password", id: "F02", change: file("etc/shadow", shadow), where: "/etc/shadow", seen: "root"},
		{name: "password for others", id: "F02", change: file("etc/shadow", shadow), request: Request{Shared: true}, level: Fatal, where: "/etc/shadow", seen: "root"},
		{name: "keys", id: "F02", change: file("root/.ssh/authorized_keys", "ssh-ed25519 AAAA me\n"), where: "/root/.ssh", seen: "1 public key"},
		{name: "private key", id: "F02", change: file("etc/ssl/private/server.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n"), where: "server.key", seen: "private key"},
		{name: "history", id: "F02", change: file("root/.bash_history", "mysql -pgeheim\n"), where: ".bash_history", seen: "typed"},
		{name: "credentials", id: "F02", change: file("root/.aws/credentials", "[default]\n"), where: ".aws/credentials", seen: "10 bytes"},
	} {
		if c.level == None {
			c.level = Warning
		}
		c.run(t)
	}
}

func TestReadiness(t *testing.T) {
	for _, c := range []readinessCase{
		{name: "good", id: "R04", status: Passed},
		{name: "device name", id: "R04", change: replaced(fixtureMenu, "root=UUID="+fixtureRoot, "root=/dev/sda1"), level: Fatal, where: "/" + fixtureMenu, seen: "/dev/sda1"},
		{name: "other UUID", id: "R04", change: replaced(fixtureMenu, "root=UUID="+fixtureRoot, "root=UUID=1234"), level: Fatal, where: "/" + fixtureMenu, seen: "no file system"},
		{name: "good", id: "R05", status: Passed},
		{name: "no serial terminal", id: "R05", change: replaced(fixtureMenu, "serial", "gfxterm"), level: Warning, where: "/" + fixtureMenu, seen: "serial"},
		{name: "no getty", id: "R05", change: without("etc/systemd/system/getty.target.wants/serial-getty@ttyS0.service"), level: Warning, where: "getty", seen: "serial-getty"},
		{name: "good", id: "R11", status: Passed, request: Request{BootMode: "uefi-preferred"}},
		{name: "not for import-image", id: "R11", request: Request{Path: ImportImage, BootMode: "uefi-preferred"}, level: Fatal, where: "boot mode", seen: "uefi-preferred"},
		{name: "arm64", id: "R11", request: Request{Architecture: "arm64", BootMode: "legacy-bios"}, level: Fatal, where: "boot mode", seen: "UEFI only"},
		{name: "good", id: "R13", status: Passed},
		{name: "older kernel", id: "R13", change: file("boot/vmlinuz-6.2.0-1-amd64", bzImage("6.2.0-1-amd64")), level: Warning, where: fixtureKernel, seen: "6.2.0-1-amd64 is newer"},
		{name: "waits", id: "R13", change: replaced(fixtureMenu, "timeout=5", "timeout=-1"), level: Warning, where: "/" + fixtureMenu, seen: "-1"},
		{name: "good", id: "R14", status: Passed},
		{name: "no clock", id: "R14", change: without("etc/systemd/system/multi-user.target.wants/chrony.service"), level: Warning, where: "systemd", seen: "chrony"},
		{name: "tools", id: "R14", change: file("etc/vmware-tools/services.sh", "#!/bin/sh\n"), level: Warning, where: "vmware-tools", seen: "VMware"},
		{name: "off", id: "R15", status: Skipped, reason: "does not enforce"},
		{name: "no policy", id: "R15", change: file("etc/selinux/config", "SELINUX=enforcing\n"), level: Fatal, where: "/etc/selinux", seen: "no policy"},
		{name: "no labels", id: "R15", change: all(file("etc/selinux/config", "SELINUX=enforcing\n"), file("etc/selinux/targeted/policy/policy.33", "x")), level: Warning, where: "/usr/lib/systemd/systemd", seen: "have no label"},
		{name: "relabels", id: "R15", change: all(file("etc/selinux/config", "SELINUX=enforcing\n"), file("etc/selinux/targeted/policy/policy.33", "x"), file(".autorelabel", "")), level: Warning, where: "/.autorelabel", seen: "first boot"},
	} {
		c.run(t)
	}
}

func TestCheckedFileSystems(t *testing.T) {
	raw := good().raw(t)
	passes(t, "R16", raw, Request{})
	h := good().hybrid()
	broken := change(t, raw, func(f *os.File, _ int64) {
		err := disk.Run(t.Context(), disk.Command{Tool: disk.Tool{Name: "debugfs", Package: "e2fsprogs"}, Files: []*os.File{f},
			Args: []string{"-w", "-R", "set_inode_field /etc/passwd links_count 5", fmt.Sprintf("%s?offset=%d", disk.FilePath(0), h.Root().Start)}})
		if err != nil {
			t.Fatal(err)
		}
	})
	fails(t, "R16", broken, Request{}, Warning, "partition 1", "e2fsck")
	ends(t, "R16", convert(t, raw, disk.VMDK), Request{}, Skipped, "raw")
}
