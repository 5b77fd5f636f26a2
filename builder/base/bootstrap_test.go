package base

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/disk"
)

// TestDebian bootstraps debian-12 for real: first in a process that is killed half way, which must leave no process, then to the
// end, where what the killed one left must not matter. It needs the tools and a package mirror, and takes one to four minutes.
func TestDebian(t *testing.T) {
	if dir := os.Getenv("INGOT_TEST_BOOTSTRAP_DIR"); dir != "" {
		s := &Store{Dir: dir}
		s.Get(context.Background(), Source{Debian: "debian-12"}, func(stage string, _, _ int64) { os.Stdout.WriteString("stage " + stage + "\n") })
		return
	}
	if testing.Short() {
		t.Skip("skipped: -short")
	}
	for _, tool := range append(Tools(), disk.Tools()...) {
		if _, err := tool.Find(); err != nil {
			t.Skipf("skipped: %v", err)
		}
	}
	if err := CheckNamespace(t.Context()); err != nil {
		t.Skipf("skipped: %v", err)
	}
	s := &Store{Dir: t.TempDir()}
	plan, err := s.Plan(t.Context(), Source{Debian: "debian-bookworm"})
	if err != nil {
		t.Skipf("skipped: %v", err)
	}
	if plan.Cached || plan.Name != "debian-12" {
		t.Errorf("%+v", plan)
	}

	killHalfWay(t, s.Dir)

	start := time.Now()
	b, err := s.Get(t.Context(), Source{Debian: "debian-12"}, func(stage string, _, _ int64) { t.Logf("%5.1f s  %s", time.Since(start).Seconds(), stage) })
	if err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(s.Dir); len(entries) != 1 {
		t.Errorf("left: %v", entries)
	}
	if again, err := s.Plan(t.Context(), Source{Debian: "debian-12"}); err != nil || !again.Cached || again.Digest != b.Digest || again.Digest != plan.Digest {
		t.Errorf("%+v, %v", again, err)
	}
	start = time.Now()
	if _, err := s.Get(t.Context(), Source{Debian: "debian-12"}, nil); err != nil || time.Since(start) > 5*time.Second {
		t.Errorf("cached base took %v, %v", time.Since(start), err)
	}
	checkDebian(t, b)
}

func killHalfWay(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestDebian$", "-test.v")
	cmd.Env = append(os.Environ(), "INGOT_TEST_BOOTSTRAP_DIR="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for sc := bufio.NewScanner(out); sc.Scan(); {
		if strings.Contains(sc.Text(), "installing essential packages") {
			break
		}
	}
	if len(processesIn(dir)) == 0 {
		t.Error("found no process of the bootstrap: this test does not see what it looks for")
	}
	cmd.Process.Kill()
	cmd.Wait()
	var left []string
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if left = processesIn(dir); len(left) == 0 {
			return
		}
	}
	t.Errorf("outlived the killed program: %q", left)
}

// processesIn lists the processes that work in a folder or were told its name.
func processesIn(dir string) []string {
	var found []string
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		cwd, _ := os.Readlink(filepath.Join("/proc", e.Name(), "cwd"))
		root, _ := os.Readlink(filepath.Join("/proc", e.Name(), "root"))
		cmdline, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if len(cmdline) > 0 && (strings.HasPrefix(cwd, dir) || strings.HasPrefix(root, dir) || strings.Contains(string(cmdline), dir)) {
			found = append(found, strings.ReplaceAll(string(cmdline), "\x00", " "))
		}
	}
	return found
}

// checkDebian looks into the finished disk for what keeps images from coming up elsewhere.
func checkDebian(t *testing.T, b *Base) {
	t.Helper()
	if n, err := disk.CheckClean(t.Context(), b.Disk); n != 1 || err != nil {
		t.Errorf("file systems: %d, %v", n, err)
	}
	if sgdisk, err := exec.LookPath("sgdisk"); err == nil {
		if out, err := exec.Command(sgdisk, "-v", b.Disk).CombinedOutput(); err != nil || !strings.Contains(string(out), "No problems found") {
			t.Errorf("sgdisk: %v\n%s", err, out)
		}
	}
	info, err := disk.Probe(b.Disk)
	if err != nil || info.VirtualSize != 4<<30 || info.Allocated > 1<<30 {
		t.Errorf("%+v, %v", info, err)
	}
	if b.OS.ID != "debian" || b.OS.VersionID != "12" || len(b.Packages) < 100 || b.Kernel == "" || b.Initrd == "" {
		t.Errorf("%+v", b)
	}
	if data, err := json.Marshal(b); err != nil || strings.Contains(string(data), b.Disk) {
		t.Errorf("JSON has paths of this machine, or %v", err)
	}
	table, err := disk.Partitions(b.Disk)
	if err != nil {
		t.Fatal(err)
	}
	root, ok := disk.FindRoot(b.Disk, table)
	if !ok || root.Index != 1 || table.Partitions[len(table.Partitions)-1].Index != 1 {
		t.Fatalf("root is not the last partition: %+v", table.Partitions)
	}
	e, err := disk.OpenExt(b.Disk, disk.Extent{Start: root.Start, Size: root.Size})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	read := func(name string) string {
		data, err := e.ReadFile(name)
		if err != nil {
			t.Error(err)
		}
		return string(data)
	}
	uuid := "UUID=" + root.FileSystem.UUID
	for name, want := range map[string][]string{
		"etc/fstab":            {uuid + " / ext4 errors=remount-ro 0 1", "/boot/efi vfat umask=0077,nofail"},
		"boot/grub/grub.cfg":   {"root=" + uuid + " ro console=tty0 console=ttyS0,115200n8 net.ifnames=0 biosdevname=0 nvme_core.io_timeout=4294967295", "set timeout=0", "serial --unit=0 --speed=115200"},
		"etc/default/grub":     {kernelAppend, "GRUB_TIMEOUT=0"},
		"etc/hostname":         {"localhost\n"},
		"etc/apt/sources.list": {" bookworm main\n"},
		"etc/default/locale":   {"LANG=C.UTF-8"},
		"etc/systemd/network/99-default-dhcp.network": {"Name=en* eth*", "DHCP=yes"},
		"etc/shadow": {"root:!"},
	} {
		text := read(name)
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("/%s lacks %q:\n%s", name, w, text)
			}
		}
	}
	if text := read("etc/shadow"); regexp.MustCompile(`(?m)^[^:]+:!?\$`).MatchString(text) {
		t.Errorf("/etc/shadow has a password:\n%s", text)
	}
	if st, err := e.Stat("etc/machine-id"); err != nil || st.Size() != 0 {
		t.Errorf("machine-id: %v, %v", st, err)
	}
	for _, name := range []string{"var/lib/dbus/machine-id", "var/lib/systemd/random-seed", "etc/apt/apt.conf.d/99mmdebstrap", "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
		"etc/.resolv.conf.systemd-resolved.bak", "root/.bash_history", "tmp/core.img", "etc/udev/rules.d/70-persistent-net.rules"} {
		if _, err := e.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("/%s is there (%v)", name, err)
		}
	}
	if keys, _ := fs.Glob(e, "etc/ssh/ssh_host_*"); len(keys) != 0 {
		t.Errorf("host keys: %v", keys)
	}
	if host, err := os.Hostname(); err == nil && len(host) > 3 && host != "localhost" {
		for _, name := range []string{"etc/hostname", "etc/hosts", "etc/mailname"} {
			if data, _ := e.ReadFile(name); strings.Contains(string(data), host) {
				t.Errorf("/%s has the build machine's name", name)
			}
		}
	}
	if target, err := e.ReadLink("etc/resolv.conf"); err != nil || target != "../run/systemd/resolve/stub-resolv.conf" {
		t.Errorf("resolv.conf: %q, %v", target, err)
	}
	wants := "etc/systemd/system/"
	for _, name := range []string{"multi-user.target.wants/ssh.service", "multi-user.target.wants/systemd-networkd.service", "getty.target.wants/serial-getty@ttyS0.service", "ssh.service.wants/ssh-host-keys.service"} {
		if _, err := e.Lstat(wants + name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"boot/grub/i386-pc/normal.mod", "boot/grub/x86_64-efi/normal.mod", "usr/sbin/update-grub", "etc/kernel/postinst.d/zz-update-grub", "usr/bin/growpart", "usr/bin/cloud-init", "usr/sbin/sshd"} {
		if st, err := e.Stat(name); err != nil || !st.Mode().IsRegular() {
			t.Errorf("%s: %v", name, err)
		}
	}
	if entries, err := e.ReadDir("dev"); err != nil || len(entries) != 0 {
		t.Errorf("/dev: %v, %v", entries, err)
	}
	initrd, err := os.ReadFile(b.Initrd)
	if err != nil {
		t.Fatal(err)
	}
	if got := read("boot/initrd.img-" + versionOf(t, e)); got != string(initrd) {
		t.Error("the initrd beside the disk is not the one in it")
	}
}

func versionOf(t *testing.T, e *disk.Ext) string {
	v, ok := newestKernel(e)
	if !ok {
		t.Fatal("no kernel in /boot")
	}
	return v
}
