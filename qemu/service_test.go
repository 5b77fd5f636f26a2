package qemu

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "test-relay" {
		if err := Relay(os.Args[2], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func TestServiceOption(t *testing.T) {
	s := Service{Address: netip.MustParseAddr("169.254.169.254"), Port: 80}
	got := s.option([]string{"/opt/it's, here", "relay"}, "/run/s0.sock")
	if want := `guestfwd=tcp:169.254.169.254:80-cmd:'/opt/it'\''s,, here' 'relay' '/run/s0.sock'`; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestServiceValidation(t *testing.T) {
	serve := func(net.Listener) error { return nil }
	c := Config{Accelerator: Accelerator{Name: TCG}, MemoryMiB: 64, Network: &Network{
		Subnet: netip.MustParsePrefix("169.254.0.0/30"),
		Services: []Service{
			{Address: netip.MustParseAddr("10.0.2.7"), Port: 80, Serve: serve},
			{Address: netip.MustParseAddr("169.254.0.1"), Port: 0, Serve: serve},
			{Address: netip.MustParseAddr("169.254.0.1"), Port: 80},
		},
	}}
	err := c.Validate()
	for _, want := range []string{"no IPv4 network with room", "10.0.2.7 port 80 is not in the network", "169.254.0.1 port 0", "nothing serves", "no relay"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

// TestServe is the way from a socket's far end to the service, without a VM.
func TestServe(t *testing.T) {
	dir, err := newRuntimeDir(shortDir(t))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.remove()
	ended := make(chan error, 1)
	served, err := serve(&Network{Services: []Service{{Serve: func(l net.Listener) error {
		for {
			conn, err := l.Accept()
			if err != nil {
				ended <- err
				return err
			}
			go func() {
				line, _ := bufio.NewReader(conn).ReadString('\n')
				fmt.Fprint(conn, "got "+line)
				if line != "stay\n" {
					conn.Close()
				}
			}()
		}
	}}}}, dir)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Relay(served.paths[0], strings.NewReader("hello\n"), &out); err != nil || out.String() != "got hello\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
	// An open connection ends with the services.
	in, _ := io.Pipe()
	answer, answered := io.Pipe()
	relayed := make(chan error, 1)
	go func() { relayed <- Relay(served.paths[0], io.MultiReader(strings.NewReader("stay\n"), in), answered) }()
	if line, err := bufio.NewReader(answer).ReadString('\n'); line != "got stay\n" {
		t.Errorf("%q, %v", line, err)
	}
	served.close()
	served.close()
	if err := <-relayed; err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("the listener did not end")
	}
	if err := Relay(served.paths[0], strings.NewReader(""), io.Discard); err == nil {
		t.Error("a service answers after its end")
	}
}

const serviceUnit = `[Unit]
DefaultDependencies=no
After=systemd-udev-settle.service systemd-udev-trigger.service
Wants=systemd-udev-settle.service
[Service]
ExecStart=/bin/bash -c 'ip link set eth0 up; ip addr add 169.254.0.15/16 dev eth0; \
for n in 1 2; do exec 3<>/dev/tcp/169.254.169.254/80; echo -e "GET /$n HTTP/1.0\n" >&3; while read -r line <&3; do echo "answer $n $line"; done; exec 3>&-; done; \
timeout 20 bash -c "exec 5<>/dev/tcp/169.254.0.2/22" 2>/dev/null && echo "host reached" || echo "host hidden"; \
exec 4<>/dev/tcp/169.254.169.254/80; echo -e "GET /hang HTTP/1.0\n" >&4; read -r line <&4'
StandardOutput=tty
TTYPath=/dev/ttyS0
`

// TestService has a guest talk to a service several times, and takes the VM away while a connection is open.
func TestService(t *testing.T) {
	t.Parallel()
	c, hanging := serviceConfig(t, needBase(t))
	vm := startVM(t, c)
	for _, re := range []string{`answer 1 page 1`, `answer 2 page 2`, `host hidden`} {
		if err := await(t, vm, "the guest's "+re, re); err != nil {
			t.Fatal(err)
		}
	}
	err := vm.Await(t.Context(), Wait{Name: "the request that hangs", Limit: 10 * time.Second}, func(ctx context.Context) error {
		select {
		case <-hanging:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := relays(t, vm.dir.path); n != 1 {
		t.Errorf("%d relays run, want 1", n)
	}
	if err := vm.Close(); err != nil {
		t.Fatal(err)
	}
	awaitNoRelay(t, vm.dir.path)
}

// TestKilledService kills a process with SIGKILL while its guest holds a connection to its service: neither QEMU nor the relay outlives it.
func TestKilledService(t *testing.T) {
	const marker = "QEMU_TEST_SERVICE"
	if dir := os.Getenv(marker); dir != "" {
		c, hanging := serviceConfig(t, needBase(t))
		c.RuntimeDir = dir
		vm, err := Start(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		<-hanging
		fmt.Printf("vm %d\n", vm.PID())
		select {}
	}
	t.Parallel()
	needBase(t)
	dir := shortDir(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledService$")
	cmd.Env = append(os.Environ(), marker+"="+dir, "TMPDIR="+t.TempDir()) // what it has no time to remove goes with this test
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(10*time.Minute, func() { cmd.Process.Kill() })
	pid, told := 0, ""
	for scan := bufio.NewScanner(out); pid == 0 && scan.Scan(); {
		told += scan.Text() + "\n"
		fmt.Sscanf(scan.Text(), "vm %d", &pid)
	}
	late.Stop()
	if pid != 0 && (!isQEMU(pid) || relays(t, dir) != 1) {
		t.Errorf("QEMU runs: %v, with %d relays, want 1", isQEMU(pid), relays(t, dir))
	}
	cmd.Process.Kill()
	cmd.Wait()
	if pid == 0 {
		t.Fatalf("the guest did not ask for what hangs:\n%s", told)
	}
	awaitNoRelay(t, dir)
	for began := time.Now(); isQEMU(pid); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			unix.Kill(pid, unix.SIGKILL)
			t.Fatal("QEMU outlives the process that started it")
		}
	}
	d, err := newRuntimeDir(dir) // the next VM removes the folder with the socket
	if err != nil {
		t.Fatal(err)
	}
	if err := d.remove(); err != nil {
		t.Error(err)
	}
}

// serviceConfig is a VM whose guest asks a service for pages, and at last for one that hangs. The channel is closed when it does.
func serviceConfig(t *testing.T, b testBase) (c Config, hanging chan struct{}) {
	c = baseConfig(t)
	hanging = make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/{n}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "page %s\n", r.PathValue("n")) })
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) {
		close(hanging)
		<-r.Context().Done()
	})
	c.Relay = []string{os.Args[0], "test-relay"}
	c.Network = &Network{Subnet: netip.MustParsePrefix("169.254.0.0/16"), Restrict: true, Services: []Service{{
		Address: netip.MustParseAddr("169.254.169.254"), Port: 80,
		Serve: func(l net.Listener) error { return http.Serve(l, mux) },
	}}}
	c.Disks = []Disk{b.overlay(t)}
	c.Kernel = &DirectKernel{b.kernel, b.initrdWith(t, serviceUnit, "sysinit.target"), b.append}
	return c, hanging
}

func awaitNoRelay(t *testing.T, dir string) {
	t.Helper()
	for began := time.Now(); relays(t, dir) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatal("a relay outlives its VM")
		}
	}
}

// relays counts the processes that relay to a VM's sockets.
func relays(t *testing.T, dir string) (n int) {
	t.Helper()
	processes, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	re := regexp.MustCompile(`\x00test-relay\x00` + regexp.QuoteMeta(dir))
	for _, p := range processes {
		if cmdline, err := os.ReadFile(p); err == nil && re.Match(cmdline) {
			n++
		}
	}
	return n
}
