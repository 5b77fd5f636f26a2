package qemu

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// shellUnit runs what comes on its port as a shell does, in one shell for all connections.
const shellUnit = `[Unit]
DefaultDependencies=no
After=systemd-udevd.service systemd-remount-fs.service dev-virtio\x2dports-org.example.shell.0.device
Wants=dev-virtio\x2dports-org.example.shell.0.device
[Service]
ExecStart=/bin/bash -c 'exec 3<>/dev/virtio-ports/org.example.shell.0; while :; do read -r line <&3 || { sleep 0.1; continue; }; eval "$line" >&3; done'
`

const shellPort = "org.example.shell.0"

// say has the guest's shell run a command that prints one line, on a connection of its own.
func say(t *testing.T, vm *VM, command string) string {
	t.Helper()
	var line string
	err := vm.Await(t.Context(), Wait{Name: "the guest's answer", Limit: 10 * time.Second}, func(ctx context.Context) error {
		conn, err := vm.Dial(ctx, shellPort)
		if err != nil {
			return err
		}
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		conn.Write([]byte(command + "\n"))
		line, err = bufio.NewReader(conn).ReadString('\n')
		return err
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(vm.Console().Tail(20), "\n"))
	}
	return strings.TrimSpace(line)
}

// cancelling ends a context with the first bytes that it is given.
type cancelling struct{ cancel func() }

func (c cancelling) Write(p []byte) (int, error) { c.cancel(); return len(p), nil }

// TestSnapshot saves a guest again and again while it goes on, and goes on from what was saved beside it.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	b := needBase(t)
	dir := t.TempDir()
	c := baseConfig(t)
	c.CPUs, c.MemoryMiB = 1, 512
	c.Disks = []Disk{b.overlay(t), {Path: b.kernel, Format: "raw", ReadOnly: true}}
	c.Kernel = &DirectKernel{b.kernel, b.initrdWith(t, shellUnit, "sysinit.target"), b.append}
	c.Ports = []string{shellPort}
	info, err := os.Stat(b.disk)
	if err != nil {
		t.Fatal(err)
	}
	overlay := func(name string, on Disk) Disk {
		path := filepath.Join(dir, name+".qcow2")
		qemuImg(t, "create", "-q", "-f", "qcow2", "-u", "-b", on.Path, "-F", on.Format, path, strconv.FormatInt(info.Size(), 10))
		on.Backing = append([]Image{{on.Path, on.Format}}, on.Backing...)
		on.Path, on.Format = path, "qcow2"
		return on
	}
	vm := startVM(t, c)
	err = vm.Await(t.Context(), Wait{Name: "the shell to open its port", Limit: 20 * time.Second}, func(ctx context.Context) error {
		return vm.PortOpen(ctx, shellPort)
	})
	if err != nil {
		t.Fatal(err)
	}
	write := func(word string) {
		t.Helper()
		if got := say(t, vm, "v="+word+"; echo "+word+" >/root/word; sync; echo $v"); got != word {
			t.Errorf("said %s, heard %s", word, got)
		}
	}
	holds := func(vm *VM, word string) {
		t.Helper()
		if got := say(t, vm, "echo 3 >/proc/sys/vm/drop_caches; echo $v $(</root/word)"); got != word+" "+word {
			t.Errorf("the guest's memory and disk hold %q, want %q", got, word)
		}
	}
	type state struct {
		word, memory string
		disk         Disk
		sum          [sha256.Size]byte
	}
	sum := func(path string) [sha256.Size]byte {
		t.Helper()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return sha256.Sum256(data)
	}
	top := c.Disks[0]
	snapshot := func(ctx context.Context, next Disk, memory io.Writer) error {
		t.Helper()
		switched, err := vm.Snapshot(ctx, next.Path, memory)
		if !switched {
			t.Fatalf("the disk was not switched: %v", err)
		}
		top = next
		if got := vm.Disks()[0]; got.Path != top.Path || len(got.Backing) != len(top.Backing) {
			t.Errorf("the disk is %+v, want %+v", got, top)
		}
		return err
	}
	// save gives the saved image another name, too: nothing opens it by its name again.
	save := func(word string) state {
		t.Helper()
		s := state{word: word, memory: filepath.Join(dir, word+".memory"), disk: top}
		before := top.Path
		s.disk.Path = filepath.Join(dir, word+".qcow2")
		f, err := os.Create(s.memory)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		next, began := overlay("on-"+word, s.disk), time.Now()
		if err := snapshot(t.Context(), next, f); err != nil {
			t.Fatal(err)
		}
		t.Logf("saved in %v", time.Since(began))
		if err := os.Rename(before, s.disk.Path); err != nil {
			t.Fatal(err)
		}
		qemuImg(t, "check", "-q", "-f", "qcow2", s.disk.Path)
		s.sum = sum(s.disk.Path)
		return s
	}

	write("one")
	first := save("one")
	write("two")

	cancelled, cancel := context.WithCancel(t.Context())
	for _, test := range []struct {
		name   string
		ctx    context.Context
		memory io.Writer
		want   error
	}{
		{"full", t.Context(), failingWriter{os.ErrClosed}, os.ErrClosed},
		{"cancelled", cancelled, cancelling{cancel}, context.Canceled},
	} {
		if err := snapshot(test.ctx, overlay(test.name, top), test.memory); !errors.Is(err, test.want) {
			t.Errorf("%s: Snapshot gave %v", test.name, err)
		}
		holds(vm, "two")
	}
	if switched, err := vm.Snapshot(cancelled, filepath.Join(dir, "none"), failingWriter{}); switched || !errors.Is(err, context.Canceled) {
		t.Errorf("Snapshot gave %v, %v", switched, err)
	}
	if switched, err := vm.Snapshot(t.Context(), filepath.Join(dir, "none"), failingWriter{}); switched || err == nil {
		t.Errorf("Snapshot gave %v, %v", switched, err)
	} else {
		t.Log(err)
	}
	second := save("two")
	write("three")

	for i, s := range []state{first, second, first} { // beside the guest, which goes on
		config := c
		config.Disks = []Disk{overlay("resumed-"+strconv.Itoa(i), s.disk), c.Disks[1]}
		memory, err := os.Open(s.memory)
		if err != nil {
			t.Fatal(err)
		}
		resumed, err := Resume(t.Context(), config, memory, nil)
		memory.Close()
		if err != nil {
			t.Fatal(err)
		}
		holds(resumed, s.word)
		if err := resumed.Close(); err != nil {
			t.Error(err)
		}
		if sum(s.disk.Path) != s.sum {
			t.Errorf("%s: the saved image has changed", s.word)
		}
	}
	holds(vm, "three")
	if err := vm.Quit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if switched, err := vm.Snapshot(t.Context(), filepath.Join(dir, "late"), failingWriter{}); switched || !errors.Is(err, ErrMonitorClosed) {
		t.Errorf("of a VM that has ended, Snapshot gave %v, %v", switched, err)
	}
}
