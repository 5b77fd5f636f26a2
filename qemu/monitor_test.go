package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/digitalocean/go-qemu/qmp"
	"github.com/digitalocean/go-qemu/qmp/raw"
	"golang.org/x/sys/unix"
)

func TestMonitorOnQEMU(t *testing.T) {
	vm := startVM(t, testConfig(t))
	m := vm.Monitor()
	ctx := t.Context()
	if v := m.Version(); v.QEMU.Major < 6 || !strings.HasPrefix(vm.Binary().Version, v.String()) {
		t.Errorf("version %v, the binary says %s", v, vm.Binary().Version)
	}

	// The typed commands of go-qemu.
	typed := raw.NewMonitor(m)
	status, err := typed.QueryStatus()
	if err != nil || !status.Running {
		t.Errorf("QueryStatus: %+v, %v", status, err)
	}
	machines, err := typed.QueryMachines()
	if err != nil || len(machines) < 10 {
		t.Errorf("QueryMachines: %d, %v", len(machines), err)
	}

	// A reply of more than 64 KiB.
	var schema []json.RawMessage
	if err := m.Execute(ctx, "query-qmp-schema", nil, &schema); err != nil || len(schema) < 500 {
		t.Errorf("query-qmp-schema: %d entries, %v", len(schema), err)
	}

	// The caller's own id comes back, and a refusal has its class.
	out, err := m.Run([]byte(`{"execute": "query-status", "id": {"mine": 1}}`))
	if err != nil || !strings.Contains(string(out), `"id":{"mine":1}`) || !strings.Contains(string(out), `"running":`) {
		t.Errorf("Run: %s, %v", out, err)
	}
	refused, ok := errors.AsType[*CommandError](m.Execute(ctx, "frobnicate", nil, nil))
	if !ok || refused.Class != "CommandNotFound" || refused.Command != "frobnicate" {
		t.Errorf("unknown command: %v", refused)
	}
	if _, err := m.Run([]byte("not JSON")); err == nil {
		t.Error("Run took what is not JSON")
	}

	// Thousands of commands from several goroutines with one subscriber that never receives and one that does.
	stalledCtx, stop := context.WithCancel(ctx)
	defer stop()
	if _, err := m.Events(stalledCtx); err != nil {
		t.Fatal(err)
	}
	received, err := m.Events(ctx)
	if err != nil {
		t.Fatal(err)
	}
	const goroutines, rounds = 4, 250
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range rounds {
				if err := m.Execute(ctx, "stop", nil, nil); err != nil {
					t.Error(err)
				}
				if err := m.Execute(ctx, "cont", nil, nil); err != nil {
					t.Error(err)
				}
				if out, err := m.Run([]byte(`{"execute": "query-name"}`)); err != nil || string(out) != `{"return":{}}` {
					t.Errorf("%s, %v", out, err)
				}
			}
		})
	}
	wg.Wait()

	// After quit: all events were delivered, in order, and then the channel is closed.
	if err := vm.Quit(ctx); err != nil {
		t.Errorf("Quit: %v", err)
	}
	stopped, last := 0, ""
	for e := range received {
		if e.Event == "STOP" {
			stopped++
		}
		last = e.Event
		if e.Timestamp.Seconds == 0 {
			t.Error("an event has no time")
		}
	}
	if stopped == 0 || last != "SHUTDOWN" {
		t.Errorf("%d STOP events, the last is %s", stopped, last)
	}
	if err := m.Execute(ctx, "query-status", nil, nil); !errors.Is(err, ErrMonitorClosed) {
		t.Errorf("after quit: %v", err)
	}
	if _, err := m.Events(ctx); !errors.Is(err, ErrMonitorClosed) {
		t.Errorf("Events after quit: %v", err)
	}
	if err := m.Disconnect(); err != nil {
		t.Errorf("Disconnect after quit: %v", err)
	}
}

func TestMonitorWhenQEMUIsKilled(t *testing.T) {
	vm := startVM(t, testConfig(t))
	m := vm.Monitor()
	if err := m.Execute(t.Context(), "stop", nil, nil); err != nil {
		t.Fatal(err)
	}
	// A stopped process does not answer: the context counts.
	unix.Kill(vm.PID(), unix.SIGSTOP)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := m.Execute(ctx, "query-status", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	done := make(chan error)
	go func() { done <- m.Execute(t.Context(), "query-status", nil, nil) }()
	time.Sleep(20 * time.Millisecond)
	unix.Kill(vm.PID(), unix.SIGKILL)
	if err := <-done; !errors.Is(err, ErrMonitorClosed) {
		t.Errorf("got %v", err)
	}
}

// qmpServer answers as written; it gets each line the client sends.
func qmpServer(t *testing.T, greeting string, answer func(line string) string) *Monitor {
	t.Helper()
	client, server := net.Pipe()
	t.Cleanup(func() { client.Close(); server.Close() })
	go func() {
		fmt.Fprint(server, greeting)
		for scan := bufio.NewScanner(server); scan.Scan(); {
			if _, err := fmt.Fprint(server, answer(scan.Text())); err != nil {
				return
			}
		}
	}()
	return NewMonitor(client)
}

const greeting = `{"QMP": {"version": {"qemu": {"micro": 1, "minor": 2, "major": 9}, "package": ""}, "capabilities": ["oob"]}}` + "\r\n"

func TestMonitorHandshake(t *testing.T) {
	ok := func(line string) string {
		var c struct{ ID json.RawMessage }
		json.Unmarshal([]byte(line), &c)
		return fmt.Sprintf("{\"return\": {}, \"id\": %s}\r\n", c.ID)
	}
	refuse := func(line string) string {
		return strings.Replace(ok(line), `"return": {}`, `"error": {"class": "GenericError", "desc": "no"}`, 1)
	}
	for _, test := range []struct {
		name, greeting string
		answer         func(string) string
		want           string // "" is success
	}{
		{"good", greeting, ok, ""},
		{"events before the reply and unknown ids", greeting, func(l string) string {
			return `{"event": "X", "timestamp": {"seconds": 1}} {"return": {}, "id": 999}` + "\n" + ok(l)
		}, ""},
		{"not QMP", "SSH-2.0-OpenSSH\r\n", ok, "greeting"},
		{"other JSON", "{}\n", ok, "does not speak QMP"},
		{"refused", greeting, refuse, "qmp qmp_capabilities: no"},
		{"nonsense", greeting, func(string) string { return "]]" }, "connection closed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := qmpServer(t, test.greeting, test.answer)
			if err := m.Execute(t.Context(), "query-status", nil, nil); err == nil {
				t.Error("a command ran before Connect")
			}
			for range 2 { // the result is the same again
				err := m.Connect()
				if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
					t.Fatalf("got %v, want %q", err, test.want)
				}
			}
			if test.want == "" && m.Version().String() != "9.2.1" {
				t.Errorf("version %v", m.Version())
			}
			if err := m.Disconnect(); err != nil {
				t.Error(err)
			}
			if err := m.Disconnect(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestMonitorContexts(t *testing.T) {
	client, server := net.Pipe() // nobody reads or writes
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := NewMonitor(client).ConnectContext(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Connect: %v", err)
	}
	if _, err := DialMonitor(t.Context(), "unix", "/does/not/exist"); err == nil {
		t.Error("dialled nothing")
	}
	// Disconnect before Connect, which then fails.
	m := NewMonitor(client)
	m.Disconnect()
	if err := m.Connect(); err == nil {
		t.Error("Connect after Disconnect succeeded")
	}
}

func TestEventQueue(t *testing.T) {
	q := &eventQueue{wake: make(chan struct{}, 1)}
	const n = 1000
	for i := range n { // nobody receives, nothing blocks
		q.push(qmp.Event{Event: fmt.Sprint(i)})
	}
	out := make(chan qmp.Event)
	go func() {
		q.deliver(t.Context(), out)
		close(out)
	}()
	i := 0
	for e := range out {
		if e.Event != fmt.Sprint(i) {
			t.Fatalf("event %d is %s", i, e.Event)
		}
		if i++; i == n/2 {
			q.push(qmp.Event{Event: fmt.Sprint(n)})
			q.end() // what was queued before the end is delivered
		}
	}
	if i != n+1 {
		t.Errorf("%d events, want %d", i, n+1)
	}
	// The context ends a delivery nobody takes.
	q.push(qmp.Event{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	q.deliver(ctx, make(chan qmp.Event))
}
