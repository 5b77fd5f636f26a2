package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// testBase is a Debian base made earlier, with a kernel to boot directly.
type testBase struct{ disk, kernel, initrd, append string }

// needBase finds a base under the folder INGOT_TEST_HOME (default: ingot-test in the user's cache folder), where
// the whole project's tests keep what is slow to make: bases/*/ with base.json, disk.raw, vmlinuz and initrd.img.
func needBase(t *testing.T) testBase {
	t.Helper()
	needQEMU(t)
	home := os.Getenv("INGOT_TEST_HOME")
	if home == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Skip(err)
		}
		home = filepath.Join(cache, "ingot-test")
	}
	pattern := filepath.Join(home, "bases", "*", "base.json")
	found, _ := filepath.Glob(pattern)
	for _, file := range found {
		dir := filepath.Dir(file)
		b := testBase{filepath.Join(dir, "disk.raw"), filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "initrd.img"), ""}
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		var record struct{ Append string }
		if json.Unmarshal(data, &record) != nil || record.Append == "" {
			continue
		}
		b.append = record.Append
		missing := false
		for _, f := range []string{b.disk, b.kernel, b.initrd} {
			_, err := os.Stat(f)
			missing = missing || err != nil
		}
		if !missing {
			return b
		}
	}
	t.Skipf("no base with a kernel in %s: the VM tests of cmd/ingot make one", pattern)
	return testBase{}
}

// overlay is a throwaway layer over the base's disk.
func (b testBase) overlay(t *testing.T) Disk {
	t.Helper()
	path := filepath.Join(t.TempDir(), "overlay.qcow2")
	qemuImg(t, "create", "-q", "-f", "qcow2", "-b", b.disk, "-F", "raw", path)
	return Disk{Path: path, Format: "qcow2", Backing: []Image{{b.disk, "raw"}}, Cache: Unsafe}
}

func baseConfig(t *testing.T) Config {
	c := testConfig(t)
	c.MemoryMiB = 1024
	c.CPUs = 2
	return c
}

func await(t *testing.T, vm *VM, what, re string) error {
	t.Helper()
	return vm.Await(t.Context(), Wait{Name: what, Limit: 30 * time.Second}, func(ctx context.Context) error {
		_, err := vm.Console().Expect(ctx, regexp.MustCompile(re))
		return err
	})
}

func TestKernelFailures(t *testing.T) {
	t.Parallel()
	b := needBase(t)
	dir := t.TempDir()
	panicking := filepath.Join(dir, "panicking.img")
	// An initrd with a /init that is no program.
	if err := AppendInitrd(panicking, "", []InitrdFile{{Path: "init", Mode: 0o755, Content: []byte("no program\n")}}); err != nil {
		t.Fatal(err)
	}
	root := regexp.MustCompile(`root=\S+`)
	for _, test := range []struct {
		name    string
		kernel  DirectKernel
		disk    bool
		pattern string
		cause   string
	}{
		{"no root", DirectKernel{b.kernel, "", "console=ttyS0 root=/dev/nothing"}, false,
			"kernel panic", "VFS: Unable to mount root fs"},
		{"init is no program", DirectKernel{b.kernel, panicking, "console=ttyS0"}, false,
			"kernel panic", "kernel panicked"},
		{"wrong root", DirectKernel{b.kernel, b.initrd, root.ReplaceAllString(b.append, "root=UUID=00000000-dead-4bad-8bad-000000000000") + " rootdelay=1"}, true,
			"root device missing", "root device"},
		{"emergency", DirectKernel{b.kernel, b.initrd, b.append + " systemd.unit=emergency.target"}, true,
			"emergency mode", "emergency mode"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := baseConfig(t)
			c.Kernel = &test.kernel
			if test.disk {
				c.Disks = []Disk{b.overlay(t)}
			}
			vm := startVM(t, c)
			err := await(t, vm, "the login prompt", `login:( |$)`)
			e := wantWaitError(t, err, WaitFatal, test.cause)
			if f := vm.Console().Finding(); f.Name != test.pattern {
				t.Errorf("pattern %q, line %q", f.Name, f.Line)
			}
			if len(e.Console) == 0 || e.Hint == "" {
				t.Errorf("%+v", e)
			}
		})
	}
}

// The unit that answers on the port. The shell opens the port once for reading and writing, and keeps it open while no
// host is there (reading gives the end of the file then): what the host writes while nobody holds the port is lost.
const echoUnit = `[Unit]
DefaultDependencies=no
After=systemd-udevd.service dev-virtio\x2dports-org.example.echo.0.device
Wants=dev-virtio\x2dports-org.example.echo.0.device
StartLimitIntervalSec=0
[Service]
ExecStart=/bin/bash -c 'exec 3<>/dev/virtio-ports/org.example.echo.0; while :; do read -r line <&3 || { sleep 0.2; continue; }; echo "got $line" >&3; [ "$line" = end ] && exit; done'
Restart=always
RestartSec=2
`

// initrdWith adds a unit to the base's initrd: a script writes it to /run, where the real system finds it. The initrd
// has a shell and klibc's few programs, no cp.
func (b testBase) initrdWith(t *testing.T, unit, target string) string {
	t.Helper()
	initrd := filepath.Join(t.TempDir(), "initrd.img")
	wants := "/run/systemd/system/" + target + ".wants"
	script := "#!/bin/sh\n[ \"$1\" = prereqs ] && exit 0\n" +
		"mkdir -p " + wants + "\n" +
		"cat /qemu-test.service >/run/systemd/system/qemu-test.service\n" +
		"ln -s ../qemu-test.service " + wants + "/\n"
	err := AppendInitrd(initrd, b.initrd, []InitrdFile{
		{Path: "scripts/init-bottom/ORDER", Mode: 0o644, Content: []byte("/scripts/init-bottom/udev \"$@\"\n[ -e /conf/param.conf ] && . /conf/param.conf\n/scripts/init-bottom/qemu-test \"$@\"\n")},
		{Path: "scripts/init-bottom/qemu-test", Mode: 0o755, Content: []byte(script)},
		{Path: "qemu-test.service", Mode: 0o644, Content: []byte(unit)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return initrd
}

// TestPanicWithoutConsole lets a guest panic that prints nothing to its serial port.
func TestPanicWithoutConsole(t *testing.T) {
	t.Parallel()
	b := needBase(t)
	unit := "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'modprobe pvpanic-mmio; echo c >/proc/sysrq-trigger'\n"
	c := baseConfig(t)
	c.Disks = []Disk{b.overlay(t)}
	c.Kernel = &DirectKernel{b.kernel, b.initrdWith(t, unit, "multi-user.target"),
		regexp.MustCompile(`console=ttyS0\S*`).ReplaceAllString(b.append, "")}
	vm := startVM(t, c)
	err := vm.Await(t.Context(), Wait{Name: "the agent", Limit: 20 * time.Second}, forever)
	e := wantWaitError(t, err, WaitFatal, "the guest's kernel panicked")
	if !strings.Contains(e.Hint, "console=ttyS0") || strings.Contains(strings.Join(e.Console, "\n"), "panic") {
		t.Errorf("%+v", e)
	}
}

// TestInjectedUnit proves the way into a Debian guest: a script added to its initrd writes a unit to /run, which
// runs in the real system and talks over a virtio-serial port.
func TestInjectedUnit(t *testing.T) {
	t.Parallel()
	b := needBase(t)
	const port = "org.example.echo.0"
	c := baseConfig(t)
	c.Disks = []Disk{b.overlay(t)}
	c.Kernel = &DirectKernel{b.kernel, b.initrdWith(t, echoUnit, "sysinit.target"), b.append}
	c.Ports = []string{port}
	vm := startVM(t, c)
	err := vm.Await(t.Context(), Wait{Name: "the unit to open its port", Limit: 20 * time.Second}, func(ctx context.Context) error {
		return vm.PortOpen(ctx, port)
	})
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	for _, word := range []string{"one", "two", "end"} { // the port can be dialled again
		if word == "end" {
			go func() {
				closed <- vm.Await(t.Context(), Wait{Name: "the unit to close its port", Limit: 10 * time.Second}, func(ctx context.Context) error {
					return vm.PortClosed(ctx, port)
				})
			}()
		}
		conn, err := vm.Dial(t.Context(), port)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(3 * time.Minute))
		conn.Write([]byte(word + "\n"))
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil || strings.TrimSpace(line) != "got "+word {
			t.Fatalf("said %q, heard %q, %v\n%s", word, line, err, strings.Join(vm.Console().Tail(20), "\n"))
		}
		conn.Close()
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	err = vm.Await(t.Context(), Wait{Name: "the unit to open its port again", Limit: 10 * time.Second}, func(ctx context.Context) error {
		return vm.PortOpen(ctx, port)
	})
	if err != nil {
		t.Error(err)
	}
	// Nobody in the guest listens to its power button yet: a press now is lost.
	end, err := vm.PowerDown(t.Context(), Wait{Name: "the guest to power off", Limit: 30 * time.Second})
	if err != nil || end.Reason != GuestShutdown {
		t.Errorf("%+v, %v", end, err)
	}
}

// TestFirmwareBoot boots the base by its own boot loader in every way a machine may.
func TestFirmwareBoot(t *testing.T) {
	t.Parallel()
	b := needBase(t)
	for _, test := range []struct {
		kind  FirmwareKind
		iface Interface
	}{
		{BIOS, VirtIO}, {UEFI, NVMe}, {UEFISecureBoot, SCSI},
	} {
		t.Run(string(test.kind)+" "+string(test.iface), func(t *testing.T) {
			t.Parallel()
			c := baseConfig(t)
			c.Firmware = firmware(t, test.kind)
			d := b.overlay(t)
			d.Interface = test.iface
			c.Disks = []Disk{d}
			vm := startVM(t, c)
			if err := await(t, vm, "the login prompt", `login:( |$)`); err != nil {
				t.Fatalf("%v\n%s", err, strings.Join(vm.Console().Tail(40), "\n"))
			}
			if notes := vm.Console().Notes(); len(notes) > 0 {
				t.Logf("notes: %v", notes)
			}
		})
	}
}
