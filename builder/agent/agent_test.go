package agent

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder/component"
)

// fakeSystem stands for the guest's operating system.
type fakeSystem struct{ power chan bool }

func (f fakeSystem) Info() Info { return Info{BootID: "boot-1", OS: "Test OS"} }
func (f fakeSystem) Ready(ctx context.Context) (Ready, error) {
	return Ready{State: "degraded", FailedUnits: []string{"a.service"}}, nil
}
func (f fakeSystem) BootFiles() (BootFiles, error) {
	return BootFiles{}, errors.New("no kernel here")
}
func (f fakeSystem) Power(reboot bool) error { f.power <- reboot; return nil }
func (f fakeSystem) Environment() []string   { return []string{"PATH=" + os.Getenv("PATH")} }

// port is a virtio-serial port as a guest sees it: a pipe whose host end is replaced with each dial.
type port struct {
	hosts chan net.Conn
}

func (p *port) dial() net.Conn {
	host, guest := net.Pipe()
	p.hosts <- guest
	return host
}

func (p *port) open() (io.ReadWriteCloser, error) {
	guest, ok := <-p.hosts
	if !ok {
		return nil, io.EOF
	}
	return guest, nil
}

func serve(t *testing.T, modules component.Modules) (*port, fakeSystem) {
	t.Helper()
	p := &port{hosts: make(chan net.Conn, 1)}
	system := fakeSystem{power: make(chan bool, 1)}
	server := &Server{Modules: modules, Open: p.open, System: system}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { server.Serve(ctx) })
	t.Cleanup(func() {
		cancel()
		close(p.hosts)
	})
	return p, system
}

func connected(t *testing.T, p *port) *Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	client, err := Connect(ctx, p.dial())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

func TestRequests(t *testing.T) {
	p, system := serve(t, nil)
	c := connected(t, p)
	ctx := t.Context()

	if info, err := c.Info(ctx); err != nil || info.OS != "Test OS" {
		t.Errorf("Info = %+v, %v", info, err)
	}
	if ready, err := c.Ready(ctx); err != nil || ready.State != "degraded" || len(ready.FailedUnits) != 1 {
		t.Errorf("Ready = %+v, %v", ready, err)
	}
	if _, err := c.BootFiles(ctx); err == nil || !strings.Contains(err.Error(), "no kernel here") {
		t.Errorf("BootFiles gave %v, not the guest's error", err)
	}
	if err := c.Reboot(ctx); err != nil || !<-system.power {
		t.Errorf("Reboot: %v", err)
	}
	if err := c.PowerOff(ctx); err != nil || <-system.power {
		t.Errorf("PowerOff: %v", err)
	}
}

func TestExec(t *testing.T) {
	p, _ := serve(t, nil)
	c := connected(t, p)
	out, err := c.Exec(t.Context(), Command{Path: "/bin/sh", Args: []string{"-c", "cat; echo $X"}, Env: []string{"X=1"}, Stdin: "in\n"}, nil)
	if err != nil || string(out) != "in\n1\n" {
		t.Errorf("Exec = %q, %v", out, err)
	}
	_, err = c.Exec(t.Context(), Command{Path: "/bin/sh", Args: []string{"-c", "echo oops >&2; exit 7"}}, nil)
	var exit *ExitError
	if !errors.As(err, &exit) || exit.Code != 7 || exit.Stderr != "oops" {
		t.Errorf("Exec of a failing command gave %v", err)
	}
	if _, err = c.Exec(t.Context(), Command{Path: "/does/not/exist"}, nil); err == nil {
		t.Error("Exec of a missing program gave no error")
	}
	// A guest that floods is cut off, and the session goes on.
	if _, err = c.Exec(t.Context(), Command{Path: "/bin/sh", Args: []string{"-c", "exec yes"}}, nil); err == nil || !strings.Contains(err.Error(), "bytes of output") {
		t.Errorf("Exec of a flood gave %v", err)
	}
	if _, err := c.Info(t.Context()); err != nil {
		t.Errorf("the session did not outlive a flood: %v", err)
	}
}

func TestExecCancelled(t *testing.T) {
	p, _ := serve(t, nil)
	c := connected(t, p)
	pidFile := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for {
			if data, _ := os.ReadFile(pidFile); len(data) > 0 {
				cancel()
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	_, err := c.Exec(ctx, Command{Path: "/bin/sh", Args: []string{"-c", "echo $$ >" + pidFile + "; exec sleep 1000"}}, nil)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("Exec gave %v", err)
	}
	pid, _ := os.ReadFile(pidFile)
	for start := time.Now(); time.Since(start) < 10*time.Second; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat("/proc/" + strings.TrimSpace(string(pid))); err != nil {
			return
		}
	}
	t.Error("the command goes on in the guest after its request was cancelled")
}

func TestGet(t *testing.T) {
	p, _ := serve(t, nil)
	c := connected(t, p)
	path := filepath.Join(t.TempDir(), "file")
	want := bytes.Repeat([]byte("0123456789abcdef"), 300_000)
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := c.Get(t.Context(), path, 1<<30, &got); err != nil || !bytes.Equal(got.Bytes(), want) {
		t.Errorf("Get: %d bytes, %v", got.Len(), err)
	}
	if err := c.Get(t.Context(), path, 10, &got); err == nil || !strings.Contains(err.Error(), "limit of 10") {
		t.Errorf("Get over the limit gave %v", err)
	}
	if err := c.Get(t.Context(), t.TempDir(), 1<<30, &got); err == nil {
		t.Error("Get of a folder gave no error")
	}
}

// TestStaleBytes connects through a pipe in which the remains of an earlier session lie, in both directions.
func TestStaleBytes(t *testing.T) {
	p := &port{hosts: make(chan net.Conn, 1)}
	server := &Server{Open: p.open, System: fakeSystem{}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go server.Serve(ctx)
	defer close(p.hosts)

	host, guest := net.Pipe()
	stale := "\x00\x01junk\n" + agentHello("stale-nonce") + "\n" + strings.Repeat("x", 5000) + "\n"
	p.hosts <- conn{guest, io.MultiReader(strings.NewReader("\x00\x02 half a frame"), guest)}

	// The host answers the stale nonce too; the agent must not take that for its own.
	client, err := Connect(ctx, conn{host, io.MultiReader(strings.NewReader(stale), host)})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Info(ctx); err != nil {
		t.Error(err)
	}
}

// conn is a connection that is read through something else.
type conn struct {
	net.Conn
	r io.Reader
}

func (c conn) Read(p []byte) (int, error) { return c.r.Read(p) }

func TestReconnect(t *testing.T) {
	p, _ := serve(t, nil)
	for range 3 {
		c := connected(t, p)
		if _, err := c.Info(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.Close()
		<-c.Done()
		if _, err := c.Info(t.Context()); !errors.Is(err, ErrSessionEnded) {
			t.Errorf("a request on a closed session gave %v", err)
		}
	}
}

// answered waits for the host's answer to a hello.
func answered(guest io.Reader, nonce string) {
	r := bufio.NewReader(guest)
	for {
		if l, err := handshakeLine(r); err != nil || l == hostHello(nonce) {
			return
		}
	}
}

// line is an end of a connection that its other end does not see closed.
type line struct{ net.Conn }

func (l line) Close() error { return l.SetDeadline(time.Unix(1, 0)) }

func (l line) opened() line { l.SetDeadline(time.Time{}); return l }

// TestReconnectUnnoticed connects to an agent that still serves a session whose end it has not seen.
func TestReconnectUnnoticed(t *testing.T) {
	host, guest := net.Pipe()
	server := &Server{Open: func() (io.ReadWriteCloser, error) { return line{guest}.opened(), nil }, System: fakeSystem{}}
	go server.Serve(t.Context())
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		c, err := Connect(ctx, line{host}.opened())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Info(ctx); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
}

func TestConnectToOtherVersion(t *testing.T) {
	host, guest := net.Pipe()
	defer guest.Close()
	go io.WriteString(guest, "INGOT-AGENT 99 abc\n")
	if _, err := Connect(t.Context(), host); err == nil || !strings.Contains(err.Error(), "protocol 99") {
		t.Errorf("Connect = %v", err)
	}
}

func TestConnectCancelled(t *testing.T) {
	host, guest := net.Pipe()
	defer guest.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Connect(ctx, host); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Connect = %v", err)
	}
}

// FuzzConnect gives the host arbitrary bytes from a hostile guest: it must neither crash nor hang.
func FuzzConnect(f *testing.F) {
	f.Add([]byte(agentHello("n") + "\nINGOT-GO n\n"))
	f.Add([]byte(agentHello("n") + "\nINGOT-GO n\n\x00\x00\x00\x01\x00\x00\x00\x01\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		host, guest := net.Pipe()
		go io.Copy(io.Discard, guest)
		go func() {
			guest.Write(data)
			guest.Close()
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		client, err := Connect(ctx, host)
		if err != nil {
			return
		}
		client.Info(ctx)
		client.Close()
		if ctx.Err() != nil {
			t.Error("a hostile guest held the host up")
		}
	})
}

// TestHostileGuest is about an agent that speaks yamux in ways that ours never does: the session ends, and costs the host
// nothing that grows.
func TestHostileGuest(t *testing.T) {
	frame := func(kind byte, flags byte) []byte {
		return []byte{0, kind, 0, flags, 0, 0, 0, 2, 0, 0, 0, 0}
	}
	for name, hostile := range map[string][]byte{
		"pings": frame(framePing, frameFlagSYN), "ping answers": frame(framePing, 2), "streams": frame(frameData, frameFlagSYN),
		"windows": frame(1, frameFlagSYN),
	} {
		t.Run(name, func(t *testing.T) {
			host, guest := net.Pipe()
			defer guest.Close()
			go func() {
				io.WriteString(guest, agentHello("n")+"\n")
				answered(guest, "n")
				io.WriteString(guest, goLine("n")+"\n")
				for {
					if _, err := guest.Write(hostile); err != nil {
						return
					}
				}
			}()
			client, err := Connect(t.Context(), host)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			select {
			case <-client.Done():
			case <-time.After(10 * time.Second):
				t.Error("the session goes on")
			}
		})
	}
}

// TestDeafGuest is about a guest that opens a session and then reads nothing: requests end with their context.
func TestDeafGuest(t *testing.T) {
	host, guest := net.Pipe()
	defer guest.Close()
	go func() {
		io.WriteString(guest, agentHello("n")+"\n")
		answered(guest, "n")
		io.WriteString(guest, goLine("n")+"\n")
	}()
	client, err := Connect(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		start := time.Now()
		_, err := client.Info(ctx)
		cancel()
		if err == nil || time.Since(start) > 5*time.Second {
			t.Errorf("Info gave %v after %v", err, time.Since(start))
		}
	}
}

func TestCheckResult(t *testing.T) {
	failure, state := &component.Failure{}, &component.State{}
	pausing := component.Request{PauseAfterMS: 1}
	if err := checkResult(component.Request{}, &component.Result{Status: component.StatusPaused, State: state}); err == nil {
		t.Error("a pause that nobody asked for was accepted")
	}
	for _, c := range []struct {
		result component.Result
		ok     bool
	}{
		{component.Result{Status: component.StatusSuccess}, true},
		{component.Result{Status: component.StatusFailed, Failure: failure}, true},
		{component.Result{Status: component.StatusReboot, State: state, RebootDelaySeconds: 5}, true},
		{component.Result{Status: component.StatusPaused, State: state}, true},
		{component.Result{Status: component.StatusSuccess, State: state}, true},
		{component.Result{Status: component.StatusPaused}, false},
		{component.Result{Status: component.StatusPaused, State: state, FailedSteps: 1}, false},
		{component.Result{Status: component.StatusPaused, State: state, Failure: failure}, false},
		{component.Result{}, false},
		{component.Result{Status: "fine"}, false},
		{component.Result{Status: component.StatusFailed}, false},
		{component.Result{Status: component.StatusSuccess, FailedSteps: 1}, false},
		{component.Result{Status: component.StatusReboot}, false},
		{component.Result{Status: component.StatusReboot, State: state, RebootDelaySeconds: -1}, false},
		{component.Result{Status: component.StatusReboot, State: state, RebootDelaySeconds: 1 << 40}, false},
	} {
		if err := checkResult(pausing, &c.result); (err == nil) != c.ok {
			t.Errorf("checkResult(%+v) = %v", c.result, err)
		}
	}
}
