package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// needQEMU skips the test where there is no QEMU.
func needQEMU(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a VM; -short was given")
	}
	if _, err := FindBinary("", ""); err != nil {
		t.Skip(err)
	}
}

// testConfig is a small machine that prints its console into the test's log if the test fails.
func testConfig(t *testing.T) Config {
	t.Helper()
	needQEMU(t)
	acc, err := ChooseAccelerator("auto")
	if err != nil {
		t.Fatal(err)
	}
	log := new(syncBuffer)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("console: %q", log.String())
		}
	})
	return Config{Accelerator: acc, MemoryMiB: 256, ConsoleLog: log, RuntimeDir: shortDir(t)}
}

// shortDir is a folder with a path short enough for sockets. It must be empty at the end of the test.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "q")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Errorf("something was left in the runtime folder: %v", err)
			os.RemoveAll(dir)
		}
	})
	return dir
}

func startVM(t *testing.T, c Config) *VM {
	t.Helper()
	vm, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := vm.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := unix.Kill(-vm.PID(), 0); err != unix.ESRCH {
			t.Errorf("QEMU's process group is still there: %v", err)
		}
	})
	return vm
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// forever waits for what never comes.
func forever(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// wantWaitError checks that err is a WaitError for the reason, with the text in its cause.
func wantWaitError(t *testing.T, err error, reason WaitReason, cause string) *WaitError {
	t.Helper()
	e, ok := errors.AsType[*WaitError](err)
	if !ok {
		t.Fatalf("got %v, want a WaitError", err)
	}
	if e.Reason != reason || !strings.Contains(e.Cause, cause) {
		t.Fatalf("got %s: %v; want %s with %q", e.Reason, e, reason, cause)
	}
	t.Log(e)
	return e
}

func firmware(t *testing.T, kind FirmwareKind) *Firmware {
	t.Helper()
	fw, err := FindFirmware(kind)
	if err != nil {
		t.Skip(err)
	}
	return fw
}

func rawDisk(t *testing.T, content []byte) Disk {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 64<<20); err != nil {
		t.Fatal(err)
	}
	return Disk{Path: path, Format: "raw"}
}

func TestNothingToBoot(t *testing.T) {
	junk := bytes.Repeat([]byte("junk, not a disk "), 1<<16)
	for _, test := range []struct {
		name     string
		kind     FirmwareKind
		disks    []Disk
		pattern  string
		cause    string
		lastLine string
	}{
		{"bios without a disk", BIOS, nil, "no bootable device", "the BIOS found nothing to boot", "No bootable device."},
		{"bios, junk", BIOS, []Disk{rawDisk(t, junk)}, "no bootable device", "not a bootable disk", "No bootable device."},
		{"bios, junk on nvme", BIOS, []Disk{{Path: rawDisk(t, junk).Path, Format: "raw", Interface: NVMe}}, "no bootable device", "nothing to boot", "No bootable device."},
		{"bios, junk on scsi and sata", BIOS, []Disk{
			{Path: rawDisk(t, junk).Path, Format: "raw", Interface: SCSI, Serial: "with,comma", ReadOnly: true},
			{Path: rawDisk(t, junk).Path, Format: "raw", Interface: SATA},
		}, "no bootable device", "nothing to boot", "No bootable device."},
		{"uefi without a disk", UEFI, nil, "uefi shell", "UEFI shell", "Shell>"},
		{"uefi, junk", UEFI, []Disk{rawDisk(t, junk)}, "uefi shell", "UEFI shell", "Shell>"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := testConfig(t)
			c.Firmware = firmware(t, test.kind)
			c.Disks = test.disks
			vm := startVM(t, c)
			err := vm.Await(t.Context(), Wait{Name: "a login prompt", Limit: time.Minute}, forever)
			e := wantWaitError(t, err, WaitFatal, test.cause)
			if e.Hint == "" || len(e.Console) == 0 || e.Console[len(e.Console)-1] != test.lastLine {
				t.Errorf("hint %q, console %q", e.Hint, e.Console)
			}
			if f := vm.Console().Finding(); f.Name != test.pattern {
				t.Errorf("pattern %q", f.Name)
			}
		})
	}
}

func TestSecureBootFirmwareFindsNothing(t *testing.T) {
	c := testConfig(t)
	c.Firmware = firmware(t, UEFISecureBoot)
	vm := startVM(t, c)
	err := vm.Await(t.Context(), Wait{Name: "a login prompt", Limit: 30 * time.Second}, forever)
	wantWaitError(t, err, WaitFatal, "the firmware found nothing to boot")
}

func TestStartErrors(t *testing.T) {
	disk := rawDisk(t, nil)
	overlay := filepath.Join(t.TempDir(), "overlay.qcow2")
	for _, test := range []struct {
		name   string
		change func(*Config)
		want   string // regular expression
	}{
		{"bad option", func(c *Config) { c.ExtraArgs = []string{"-frobnicate"} }, `^start qemu: QEMU exited 1: .*-frobnicate: invalid option`},
		{"missing disk", func(c *Config) { c.Disks = []Disk{{Path: disk.Path + ",x", Format: "raw"}} }, `QEMU exited 1: .*disk\.raw,x.*No such file`},
		{"wrong format", func(c *Config) { c.Disks = []Disk{{Path: disk.Path, Format: "qcow2"}} }, `QEMU exited 1: .*not in qcow2 format`},
		{"no binary", func(c *Config) { c.Binary = "qemu-system-none" }, `qemu-system-none.*install the package qemu-system-x86`},
		{"not qemu", func(c *Config) { c.Binary = "true" }, `not QEMU's answer`},
		{"invalid", func(c *Config) { c.MemoryMiB = 1; c.Accelerator.Name = "" }, `(?s)accelerator: "" is neither.*memory: 1 MiB`},
		{"undeclared backing file", func(c *Config) { c.Disks = []Disk{{Path: overlay, Format: "qcow2"}} }, `disk 0: .*overlay.qcow2 names the backing file ".*disk.raw", which the configuration does not declare`},
		{"long path", func(c *Config) { c.RuntimeDir = "/" + strings.Repeat("x", 90) }, `too long for UNIX sockets`},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := testConfig(t)
			if test.name == "undeclared backing file" {
				qemuImg(t, "create", "-q", "-f", "qcow2", "-b", disk.Path, "-F", "raw", overlay)
			}
			test.change(&c)
			vm, err := Start(t.Context(), c)
			if err == nil {
				vm.Close()
				t.Fatal("it started")
			}
			if !regexp.MustCompile(test.want).MatchString(err.Error()) {
				t.Fatalf("got %v, want %s", err, test.want)
			}
			t.Log(err)
		})
	}
}

func qemuImg(t *testing.T, args ...string) {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip(err)
	}
	if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img %v: %v: %s", args, err, out)
	}
}

func TestDeclaredBackingChain(t *testing.T) {
	c := testConfig(t)
	base := rawDisk(t, nil)
	dir := t.TempDir()
	middle, top := filepath.Join(dir, "middle.qcow2"), filepath.Join(dir, "top.qcow2")
	qemuImg(t, "create", "-q", "-f", "qcow2", "-b", base.Path, "-F", "raw", middle)
	qemuImg(t, "create", "-q", "-f", "qcow2", "-b", middle, "-F", "qcow2", top)
	chain := []Image{{middle, "qcow2"}, {base.Path, "raw"}}
	c.Disks = []Disk{
		{Path: top, Format: "qcow2", Backing: chain, Cache: Unsafe},
		{Path: base.Path, Format: "raw", ReadOnly: true, Serial: "seed"},
	}
	vm := startVM(t, c)
	var nodes []struct {
		Name  string `json:"node-name"`
		RO    bool   `json:"ro"`
		Depth int    `json:"backing_file_depth"`
	}
	if err := vm.Monitor().Execute(t.Context(), "query-named-block-nodes", nil, &nodes); err != nil {
		t.Fatal(err)
	}
	readOnly := map[string]bool{}
	for _, n := range nodes {
		readOnly[n.Name] = n.RO
		if n.Name == "disk0" && n.Depth != 2 {
			t.Errorf("disk0 has %d backing files, want 2", n.Depth)
		}
	}
	for node, want := range map[string]bool{"disk0": false, "disk0-backing0": true, "disk0-backing1": true, "disk1": true} {
		if got, ok := readOnly[node]; !ok || got != want {
			t.Errorf("node %s: read-only %v, there %v", node, got, ok)
		}
	}
	vm.Close()
	// A chain that is declared too short is refused too.
	c.Disks[0].Backing = chain[:1]
	if _, err := Start(t.Context(), c); err == nil || !strings.Contains(err.Error(), "middle.qcow2 names the backing file") {
		t.Errorf("short chain: %v", err)
	}
}

func TestCloseIsIdempotentAndConcurrent(t *testing.T) {
	vm := startVM(t, testConfig(t))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := vm.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	err := vm.Await(t.Context(), Wait{Name: "nothing"}, forever)
	wantWaitError(t, err, WaitClosed, "the VM was closed")
	wg.Wait()
	if !errors.Is(vm.Err(), ErrClosed) {
		t.Errorf("Err = %v", vm.Err())
	}
	if _, err := vm.PowerDown(t.Context(), Wait{Name: "the guest to power off"}); !errors.Is(err, ErrMonitorClosed) {
		t.Errorf("PowerDown after Close: %v", err)
	}
	if _, err := vm.Console().Expect(t.Context(), regexp.MustCompile("never")); err == nil {
		t.Error("Expect after Close succeeded")
	}
}

func TestContextEndsVM(t *testing.T) {
	c := testConfig(t)
	ctx, cancel := context.WithCancel(t.Context())
	vm, err := Start(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case <-vm.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the VM outlives its context")
	}
	// The folder is gone without Close: testConfig checks.
	if !errors.Is(vm.Err(), context.Canceled) {
		t.Errorf("Err = %v", vm.Err())
	}
	if err := vm.Close(); err != nil {
		t.Error(err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, c); !errors.Is(err, context.Canceled) {
		t.Errorf("Start with an ended context: %v", err)
	}
}

func TestTwoAtOnceWithForwards(t *testing.T) {
	c := testConfig(t)
	c.Network = &Network{Restrict: true, Forwards: []Forward{{GuestPort: 22}, {GuestPort: 80}}}
	c.Ports = []string{"org.example.a.0", "org.example.b.0"}
	c.SMBIOS = []SMBIOS{{Type: 1, Fields: []Field{{"manufacturer", "A, B"}}}, {Type: 11, Fields: []Field{{"value", "x=y,z"}}}}
	c.FWCfg = []FWCfg{{"opt/org.example/a", "1,2"}}
	seen := map[int]bool{}
	for range 2 {
		vm := startVM(t, c)
		for _, f := range vm.Forwards() {
			if f.HostPort == 0 || f.HostAddress != "127.0.0.1" || seen[f.HostPort] {
				t.Errorf("forward %+v", f)
			}
			seen[f.HostPort] = true
		}
		if _, err := vm.Dial(t.Context(), "org.example.c.0"); err == nil {
			t.Error("dialled a port that is not there")
		}
		conn, err := vm.Dial(t.Context(), "org.example.b.0")
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if err := vm.PortOpen(ctx, "org.example.a.0"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("PortOpen: %v", err)
		}
		cancel()
	}
	if len(seen) != 4 {
		t.Errorf("%d host ports, want 4", len(seen))
	}
}

func TestNoWarnings(t *testing.T) {
	c := testConfig(t)
	vm := startVM(t, c)
	if s := vm.process.stderr.String(); s != "" {
		t.Errorf("QEMU printed %q", s)
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", vm.PID()))
	if err != nil {
		t.Fatal(err)
	}
	if vm.Binary().Sandbox && !regexp.MustCompile(`(?m)^Seccomp:\s+2$`).Match(b) {
		t.Error("QEMU runs without its sandbox")
	}
}
